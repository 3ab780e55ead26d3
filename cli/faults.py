"""`pipeline faults`: the faults injected into a stack with `fault_injection`."""

from typing import Any

import botocore.session

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from handlers.api.faults import CACHE_SECONDS, MODES, is_mode
from local.errors import LocalError


def run_show(stack: str, *, as_json: bool) -> int:
    """Print the mode."""
    client, name = _parameter(stack)
    mode = client.get_parameter(Name=name)["Parameter"]["Value"]
    write_json({"mode": mode}) if as_json else write_lines([mode])
    return 0


def run_set(stack: str, mode: str) -> int:
    """Set the mode. Running functions apply it within seconds."""
    if not is_mode(mode):
        raise LocalError(f"{mode!r} is not a mode; it is one of {MODES}")
    client, name = _parameter(stack)
    client.put_parameter(Name=name, Value=mode, Type="String", Overwrite=True)
    write_lines([f"{stack}: {mode}, in all functions within {CACHE_SECONDS} seconds"])
    return 0


def _parameter(stack: str) -> tuple[Any, str]:
    injected = Stack(stack)
    injected.aim_aws_clients()
    return botocore.session.get_session().create_client("ssm"), injected.output("fault_parameter_name")
