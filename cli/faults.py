"""`pipeline faults`: what goes wrong on purpose in a stack with `fault_injection`."""

import sys
from typing import Any

import botocore.session

from cli.outputs import aim_at, output
from handlers.api.faults import CACHE_SECONDS, MODES, is_mode
from local.errors import LocalError


def run_show(stack: str) -> int:
    """Prints the mode."""
    client, name = _parameter(stack)
    sys.stdout.write(f"{client.get_parameter(Name=name)['Parameter']['Value']}\n")
    return 0


def run_set(stack: str, mode: str) -> int:
    """Sets the mode. Functions that run know it within seconds."""
    if not is_mode(mode):
        raise LocalError(f"{mode!r} is not a mode; it is one of {MODES}")
    client, name = _parameter(stack)
    client.put_parameter(Name=name, Value=mode, Type="String", Overwrite=True)
    sys.stdout.write(f"{stack}: {mode}, in all functions within {CACHE_SECONDS} seconds\n")
    return 0


def _parameter(stack: str) -> tuple[Any, str]:
    aim_at(stack)
    return botocore.session.get_session().create_client("ssm"), output(stack, "fault_parameter_name")
