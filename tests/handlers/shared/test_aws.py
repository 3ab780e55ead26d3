"""Errors of AWS's clients."""

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from handlers.shared import aws


def test_the_code_of_an_error_is_what_the_service_said() -> None:
    refused = ClientError({"Error": {"Code": "ThrottlingException", "Message": "slow"}}, "Query")
    assert aws.code(refused) == "ThrottlingException"


@pytest.mark.parametrize("kind", [ReadTimeoutError, ConnectTimeoutError, EndpointConnectionError])
def test_a_service_that_did_not_answer_has_said_nothing(kind: type[Exception]) -> None:
    assert aws.code(kind(endpoint_url="http://127.0.0.1:9/")) == ""  # type: ignore[call-arg]
    assert aws.code(OSError("broken")) == ""
