"""Secrets that a stack names, put into the emulator's own Secrets Manager and Parameter Store.

A stack file names a secret of a real account. Its value here comes from whoever starts the pipeline, and the program is
given the ARN that the secret has in the emulator: so functions really read it, with no rights but their roles'.
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

# The option `worker.secrets`: names, and an ARN or `{arn, key_arn}` for each.
_GROUP, _OPTION = f"{NAMESPACE}:worker", "secrets"

_arn = re.compile(
    r"arn:[a-z-]+:(?:secretsmanager|ssm):(?P<region>[^:]+):[0-9]{12}:"
    r"(?:secret:(?P<secret>.+)-[A-Za-z0-9]{6}|parameter/(?P<parameter>.+))"
).fullmatch


def taken_from(environment: MutableMapping[str, str]) -> dict[str, str]:
    """The values of variables like PIPELINE_SECRET_PAYMENTS_TOKEN, by the secret's name (`payments_token`).

    They are gone from the environment then: no process that is started later has them in its own.
    """
    variables = [variable for variable in environment if variable.startswith(VARIABLE_PREFIX)]
    return {variable.removeprefix(VARIABLE_PREFIX).lower(): environment.pop(variable) for variable in variables}


def put_into(emulator: Emulator, project: Project, values: Mapping[str, str]) -> Project:
    """The project with secrets of the emulator in place of those that it names; they have these `values`, by name.

    Waits for the emulator if there are any. Raises LocalError when a value is missing.
    """
    options = _read(project.config.get(_GROUP, ""))
    named = {name: found for name, given in options.get(_OPTION, {}).items() if (found := _found(given, project))}
    if missing := [f"{VARIABLE_PREFIX}{name.upper()}" for name in named if not values.get(name)]:
        raise LocalError(
            f"stack {project.stack!r} has secrets that have no value on this machine; set {', '.join(missing)}, "
            "to something that is none elsewhere"
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
        # The emulator asks no key: that stays as it is.
        options[_OPTION][name] = {**(given if isinstance(given, dict) else {}), "arn": stored[match[0]]}
    return project.with_config({_GROUP: options})


def _read(text: str) -> dict[str, Any]:
    """What is no object, or has none of secrets, is for the program to refuse."""
    try:
        options = json.loads(text)
    except ValueError:
        return {}
    return options if isinstance(options, dict) and isinstance(options.get(_OPTION), dict) else {}


def _found(given: object, project: Project) -> re.Match[str] | None:
    """The ARN's parts; None for what is no ARN, or of another region than the stack says, which the program refuses."""
    arn = given.get("arn") if isinstance(given, dict) else given
    match = _arn(arn) if isinstance(arn, str) else None
    return match if match and match["region"] == project.region else None


def _stored(aws: Clients, name: str, match: re.Match[str], value: str) -> str:
    """The ARN in the emulator."""
    try:
        if match["secret"]:
            return str(aws("secretsmanager").create_secret(Name=match["secret"], SecretString=value)["ARN"])
        # `parameter/a/b` is called /a/b, and `parameter/a` is called a, or /a: by its ARN either is found.
        path = match["parameter"]
        aws("ssm").put_parameter(Name=f"/{path}" if "/" in path else path, Type="SecureString", Value=value)
        return aws.arn("ssm", f"parameter/{path}")
    except (ClientError, BotoCoreError) as error:
        raise LocalError(f"the secret {name!r} could not be put into the emulator: {error}") from error
