"""Resource policies that more than one component needs."""

from collections.abc import Mapping, Sequence
from typing import Any

from pulumi import Input, Output


def deny_plain_http(
    actions: str,
    *resources: Input[str],
    also: Sequence[Mapping[str, Any]] = (),
) -> Output[str]:
    """A resource policy that refuses every request not made over TLS, whoever asks. `also`: further statements.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html (aws:SecureTransport)
    """
    return Output.json_dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "DenyPlainHttp",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": actions,
                    "Resource": list(resources),
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
                *also,
            ],
        },
    )
