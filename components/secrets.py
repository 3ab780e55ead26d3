"""Rights and network routes for reading secrets that exist already and belong to another team."""

import json
from collections.abc import Iterator, Mapping

from components.grants import Grant
from components.options.secrets import SecretOptions
from components.part import Part

# The action, and the key of the encryption context that the secret's ARN is the value of.
# https://docs.aws.amazon.com/secretsmanager/latest/userguide/security-encryption.html
# https://docs.aws.amazon.com/systems-manager/latest/userguide/secure-string-parameter-kms-encryption.html
_READ: Mapping[str, tuple[str, str]] = {
    "secretsmanager": ("secretsmanager:GetSecretValue", "SecretARN"),
    "ssm": ("ssm:GetParameter", "PARAMETER_ARN"),
}


def grants_read(secrets: Mapping[str, SecretOptions]) -> Iterator[Grant]:
    """To read each secret, and to have its own key decrypt it, for nothing else."""
    for name, secret in secrets.items():
        action, context = _READ[secret.service]
        yield Grant((action,), (secret.arn,), why=f"read the secret {name}")
        if secret.key_arn is not None:
            condition = {
                "kms:ViaService": f"{secret.service}.{secret.region}.amazonaws.com",
                f"kms:EncryptionContext:{context}": secret.arn,
            }
            yield Grant(
                ("kms:Decrypt",),
                (secret.key_arn,),
                condition={"StringEquals": condition},
                why=f"decrypt the secret {name}",
                used_by_lambda=True,
            )


def secrets_part(secrets: Mapping[str, SecretOptions]) -> Part:
    """The rights to read secrets, and where the processor finds them."""
    if not secrets:
        return Part()
    where = json.dumps({name: secret.arn for name, secret in secrets.items()})
    return Part(worker_grants=[*grants_read(secrets), Grant((), (), {"SECRETS": where})])
