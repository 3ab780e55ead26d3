"""Options that name secrets."""

import re
from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from components.options.common import Options

# Names: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (secrets managed by other
# services contain a `!`), https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-su-create.html
# Secrets Manager appends a hyphen and six characters. `my-secret` without them looks like `my` with them, so a missing
# suffix cannot always be detected.
_secret_arn = re.compile(
    r"arn:aws[a-z-]*:(?:"
    r"secretsmanager:(?P<region>[a-z0-9-]+):[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]+-[A-Za-z0-9]{6}"
    r"|ssm:(?P<parameter_region>[a-z0-9-]+):[0-9]{12}:parameter(?:/[A-Za-z0-9_.-]+)+"
    r")"
).fullmatch
_key_arn = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):[0-9]{12}:key/[A-Za-z0-9-]+").fullmatch

# Names and ARNs of all secrets together. With the most secrets, each under a customer key, the policies of the worker's
# role stay below 10,240 characters and its environment below 4 KB (tests/components/test_secrets.py):
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
SECRETS_CHARACTERS = 1_800


def _arn_of_a_secret(value: str, info: ValidationInfo) -> str:
    match = _secret_arn(value)
    if match is None:
        raise ValueError(
            "must be the whole ARN of a secret, arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX, or of an SSM "
            "parameter, arn:aws:ssm:REGION:ACCOUNT:parameter/NAME; never the secret itself"
        )
    # Both services look up an ARN in the caller's region only.
    region, stack_region = match["region"] or match["parameter_region"], (info.context or {}).get("region")
    if stack_region not in (None, region):
        raise ValueError(
            f"is in {region}, and the stack in {stack_region} (aws:region): a function reads secrets of its own region"
        )
    return value


class SecretOptions(Options):
    """An existing secret, and the customer key that encrypts it, if any."""

    arn: Annotated[str, AfterValidator(_arn_of_a_secret)]
    """ARN of a Secrets Manager secret, including its six-character suffix, or of an SSM SecureString parameter."""
    key_arn: str | None = None
    """ARN of the customer key that encrypts the secret: arn:aws:kms:REGION:ACCOUNT:key/ID. Default: an AWS key."""

    @property
    def service(self) -> str:
        """`secretsmanager` or `ssm`."""
        return self.arn.split(":")[2]

    @property
    def region(self) -> str:
        """The region of the secret and of its key."""
        return self.arn.split(":")[3]

    @model_validator(mode="after")
    def _key_is_in_the_region_of_the_secret(self) -> Self:
        if self.key_arn is not None:
            match = _key_arn(self.key_arn)
            if match is None or match[1] != self.region:
                raise ValueError(f"key_arn must be the ARN of a key, arn:aws:kms:{self.region}:ACCOUNT:key/ID")
        return self


def _secret_from_arn(value: object) -> object:
    return value if isinstance(value, Mapping | SecretOptions) else {"arn": value}


# Every word starts with a letter, so two names never become the same statement id in a policy.
SecretName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(_[a-z][a-z0-9]*)*$", max_length=64)]
Secret = Annotated[SecretOptions, BeforeValidator(_secret_from_arn, json_schema_input_type=str | SecretOptions)]


def _distinct_and_short(secrets: Mapping[str, SecretOptions]) -> Mapping[str, SecretOptions]:
    names: dict[str, str] = {}
    for name, secret in secrets.items():
        if (other := names.setdefault(secret.arn, name)) != name:
            raise ValueError(f"{other} and {name} are the same secret; give it one name")
    check_characters(secrets)
    return secrets


def check_characters(secrets: Mapping[str, SecretOptions]) -> None:
    """Raise ValueError for secrets that one function cannot have together."""
    taken = sum(len(name + secret.arn + (secret.key_arn or "")) for name, secret in secrets.items())
    if taken > SECRETS_CHARACTERS:
        raise ValueError(
            f"names and ARNs have {taken} characters together, and {SECRETS_CHARACTERS} fit into a role's policies and "
            "a function's environment: use fewer secrets or shorter names; one secret can hold several values as JSON"
        )


Secrets = Annotated[Mapping[SecretName, Secret], Field(max_length=10), AfterValidator(_distinct_and_short)]
