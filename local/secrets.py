"""The secrets of a stack, stored in the emulator's own Secrets Manager and Parameter Store.

A stack file names a secret of a real account. Its local value comes from the environment, and the program gets its ARN
in the emulator. So functions really read it, with the rights of their roles.
"""

import json
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from components.config import NAMESPACE
from local.emulator import Emulator
from local.errors import LocalError
from local.project import Project
from local.services import Clients

VARIABLE_PREFIX = "PIPELINE_SECRET_"

# The option `worker.secrets` maps names to an ARN or `{arn, key_arn}`.
_GROUP, _OPTION = f"{NAMESPACE}:worker", "secrets"

_arn = re.compile(
    r"arn:[a-z-]+:(?:secretsmanager|ssm):(?P<region>[^:]+):[0-9]{12}:"
    r"(?:secret:(?P<secret>.+)-[A-Za-z0-9]{6}|parameter/(?P<parameter>.+))"
).fullmatch


def taken_from(environment: MutableMapping[str, str]) -> dict[str, str]:
    """Return the values of variables like PIPELINE_SECRET_PAYMENTS_TOKEN by the secret's name (`payments_token`).

    The variables are removed from the environment, so processes started later do not inherit them.
    """
    variables = [variable for variable in environment if variable.startswith(VARIABLE_PREFIX)]
    return {variable.removeprefix(VARIABLE_PREFIX).lower(): environment.pop(variable) for variable in variables}


def put_into(emulator: Emulator, project: Project, values: Mapping[str, str]) -> Project:
    """Store the project's secrets in the emulator and return the project with their ARNs there.

    `values` are by name. Waits for the emulator if there are secrets. Raises LocalError when a value is missing.
    """
    options = _read(project.config.get(_GROUP, ""))
    named = {name: found for name, given in options.get(_OPTION, {}).items() if (found := _found(given, project))}
    if missing := [f"{VARIABLE_PREFIX}{name.upper()}" for name in named if not values.get(name)]:
        raise LocalError(
            f"stack {project.stack!r} has secrets that have no value on this machine; set {', '.join(missing)}, "
            "to dummy local values"
        )
    if not named:
        return project
    emulator.wait()
    aws = Clients(emulator)
    stored: dict[str, str] = {}
    for name, match in named.items():
        if match[0] not in stored:
            stored[match[0]] = _stored(aws, name, match, values[name])
        given = options[_OPTION][name]
        # The emulator ignores keys, so `key_arn` stays.
        options[_OPTION][name] = {**(given if isinstance(given, dict) else {}), "arn": stored[match[0]]}
    return project.with_config({_GROUP: options})


def _read(text: str) -> dict[str, Any]:
    """Return the options; empty if they are malformed or have no secrets, which the program itself refuses."""
    try:
        options = json.loads(text)
    except ValueError:
        return {}
    return options if isinstance(options, dict) and isinstance(options.get(_OPTION), dict) else {}


def _found(given: object, project: Project) -> re.Match[str] | None:
    """Return the parts of an ARN, or None for one that the program refuses: malformed, or of another region."""
    arn = given.get("arn") if isinstance(given, dict) else given
    match = _arn(arn) if isinstance(arn, str) else None
    return match if match and match["region"] == project.region else None


def _stored(aws: Clients, name: str, match: re.Match[str], value: str) -> str:
    """Store a secret and return its ARN in the emulator."""
    try:
        if match["secret"]:
            return str(aws("secretsmanager").create_secret(Name=match["secret"], SecretString=value)["ARN"])
        # The ARN ends with `parameter/a/b` for /a/b, and with `parameter/a` for both a and /a.
        path = match["parameter"]
        aws("ssm").put_parameter(Name=f"/{path}" if "/" in path else path, Type="SecureString", Value=value)
        return aws.arn("ssm", f"parameter/{path}")
    except (ClientError, BotoCoreError) as error:
        raise LocalError(f"the emulator did not store the secret {name!r}: {error}") from error
