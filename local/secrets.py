"""The secrets of a stack, stored in the emulator's own Secrets Manager and Parameter Store.

A stack file names a secret of a real account. Its local value comes from the environment, and the program gets its ARN
in the emulator. So functions really read it, with the rights of their roles.
"""

import json
import re
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from components.config import NAMESPACE
from local.emulator import Emulator
from local.errors import LocalError
from local.project import Project
from local.services import Clients

VARIABLE_PREFIX = "PIPELINE_SECRET_"

_WORKER, _WEBHOOKS = f"{NAMESPACE}:worker", f"{NAMESPACE}:webhooks"

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
    groups = {group: _read(project.config.get(group, "")) for group in (_WORKER, _WEBHOOKS)}
    places = [*_of_the_worker(groups[_WORKER]), *_of_webhooks(groups[_WEBHOOKS])]
    named = [(place, match) for place in places if (match := _found(place.given, project))]
    missing = [f"{VARIABLE_PREFIX}{place.name.upper()}" for place, _ in named if not values.get(place.name)]
    if missing:
        raise LocalError(
            f"stack {project.stack!r} has secrets that have no value on this machine; set {', '.join(missing)}, "
            "to dummy local values"
        )
    if not named:
        return project
    emulator.wait()
    aws = Clients(emulator)
    stored: dict[str, str] = {}
    for place, match in named:
        if match[0] not in stored:
            stored[match[0]] = _stored(aws, place.name, match, values[place.name])
        # The emulator ignores keys, so `key_arn` stays.
        other = place.given if isinstance(place.given, dict) else {}
        place.holder[place.key] = {**other, "arn": stored[match[0]]}
    return project.with_config({group: options for group, options in groups.items() if options})


@dataclass(frozen=True)
class _Place:
    """Where the config names a secret; `name` is that of its variable."""

    name: str
    holder: Any
    key: str | int

    @property
    def given(self) -> object:
        return self.holder[self.key]


def _of_the_worker(options: Mapping[str, Any]) -> Iterator[_Place]:
    """Yield the secrets in `worker.secrets`, which maps names to an ARN or `{arn, key_arn}`."""
    secrets = options.get("secrets")
    for name in secrets if isinstance(secrets, dict) else ():
        yield _Place(name, secrets, name)


def _of_webhooks(webhooks: Mapping[str, Any]) -> Iterator[_Place]:
    """Yield the secrets of `webhooks`: PIPELINE_SECRET_WEBHOOK_GITHUB, then _2 and so on; _TOKEN of a challenge."""
    for webhook, options in webhooks.items():
        name = webhook_secret_name(webhook)
        secrets = options.get("secrets") if isinstance(options, dict) else None
        for number, _ in enumerate(secrets if isinstance(secrets, list) else ()):
            yield _Place(name if number == 0 else f"{name}_{number + 1}", secrets, number)
        challenge = options.get("challenge") if isinstance(options, dict) else None
        if isinstance(challenge, dict) and "token" in challenge:
            yield _Place(f"{name}_token", challenge, "token")


def webhook_secret_name(webhook: str) -> str:
    """Return the name of a webhook's first secret, as `taken_from` knows it."""
    return f"webhook_{webhook.replace('-', '_')}"


def _read(text: str) -> dict[str, Any]:
    """Return the options; empty if they are malformed, which the program itself refuses."""
    try:
        options = json.loads(text)
    except ValueError:
        return {}
    return options if isinstance(options, dict) else {}


def _found(given: object, project: Project) -> re.Match[str] | None:
    """Return the parts of an ARN, or None for one that the program refuses: malformed, or of another region."""
    arn = given.get("arn") if isinstance(given, dict) else given
    match = _arn(arn) if isinstance(arn, str) else None
    return match if match and match["region"] == project.region else None


def local_id(arn: str) -> str:
    """Return the name under which a secret is stored in the emulator. Raises LocalError for what is no ARN of one."""
    match = _arn(arn)
    if match is None:
        raise LocalError(f"{arn!r} is not the ARN of a secret or parameter")
    return _name(match)


def _name(match: re.Match[str]) -> str:
    # The ARN ends with `parameter/a/b` for /a/b, and with `parameter/a` for both a and /a.
    path = match["parameter"]
    return match["secret"] or (f"/{path}" if "/" in path else path)


def _stored(aws: Clients, name: str, match: re.Match[str], value: str) -> str:
    """Store a secret and return its ARN in the emulator."""
    try:
        if match["secret"]:
            return str(aws("secretsmanager").create_secret(Name=_name(match), SecretString=value)["ARN"])
        aws("ssm").put_parameter(Name=_name(match), Type="SecureString", Value=value)
        return aws.arn("ssm", f"parameter/{match['parameter']}")
    except (ClientError, BotoCoreError) as error:
        raise LocalError(f"the emulator did not store the secret {name!r}: {error}") from error
