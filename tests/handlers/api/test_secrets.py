"""Secrets: when they are read, how long they are cached, and the errors that a processor sees."""

import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectTimeoutError

from handlers.api.processing import ProcessingTimeoutError, is_outage, time_limit
from handlers.api.secrets import CACHE_SECONDS, CACHE_SECONDS_AFTER_ERROR, CACHE_SECONDS_IN_AN_OUTAGE, Secrets
from handlers.processor import Context, SecretError, UnknownSecretError, given_secrets, secret
from handlers.shared import aws
from tests.roles import forget_clients

ACCOUNT = "us-east-1:123456789012"
ARNS = {
    "payments_token": f"arn:aws:secretsmanager:{ACCOUNT}:secret:shop/payments-AbC123",
    "signing_key": f"arn:aws:ssm:{ACCOUNT}:parameter/shop/signing",
}


def refused(code: str, status: int = 400) -> ClientError:
    error = {"Code": code, "Message": f"arn:aws:sts::{ACCOUNT}:assumed-role/worker may not"}
    return ClientError({"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}, "Read")  # type: ignore[typeddict-item]


class Services:
    """Secrets Manager, Parameter Store and a clock."""

    def __init__(self) -> None:
        self.values = {"payments_token": "one", "signing_key": "two"}
        self.type = "SecureString"
        self.binary = False
        self.error: Exception | None = None
        self.reads: list[str] = []
        self.now = 1_000.0

    def _read(self, name: str) -> str:
        self.reads.append(name)
        if self.error:
            raise self.error
        return self.values[name]

    def get_secret_value(self, **request: Any) -> Mapping[str, Any]:
        assert request == {"SecretId": ARNS["payments_token"]}
        value = self._read("payments_token")
        return {"SecretBinary": value.encode()} if self.binary else {"SecretString": value}

    def get_parameter(self, **request: Any) -> Mapping[str, Any]:
        assert request == {"Name": ARNS["signing_key"], "WithDecryption": True}
        return {"Parameter": {"Type": self.type, "Value": self._read("signing_key")}}


@pytest.fixture
def services(monkeypatch: pytest.MonkeyPatch) -> Services:
    services = Services()
    monkeypatch.setattr(aws, "client", {"ssm": services, "secretsmanager": services}.__getitem__)
    return services


@pytest.fixture
def secrets(services: Services) -> Secrets:
    return Secrets(ARNS, clock=lambda: services.now)


def test_a_secret_is_read_on_first_use_and_once_for_many_events(services: Services, secrets: Secrets) -> None:
    process = secrets.around(lambda event, _context: [secret(name) for name in event["names"]])
    assert services.reads == []
    for seconds in (0, 100, CACHE_SECONDS - 1):
        services.now = 1_000.0 + seconds
        assert process({"names": ["payments_token"]}, Context()) == ["one"]
    assert services.reads == ["payments_token"]
    assert process({"names": ["signing_key", "payments_token"]}, Context()) == ["two", "one"]
    assert services.reads == ["payments_token", "signing_key"]


def test_a_rotated_value_is_read_when_the_cached_one_is_too_old(services: Services, secrets: Secrets) -> None:
    assert secrets["payments_token"] == "one"
    services.values["payments_token"] = "rotated"
    services.now += CACHE_SECONDS - 1
    assert secrets["payments_token"] == "one"
    services.now += 1
    assert secrets["payments_token"] == "rotated"
    assert len(services.reads) == 2


OUTAGES = [
    ConnectTimeoutError(endpoint_url="https://secretsmanager"),
    refused("InternalServiceError", 500),
    refused("ThrottlingException"),
]
REFUSALS = [refused("AccessDeniedException"), refused("ResourceNotFoundException"), refused("DecryptionFailure")]


@pytest.mark.parametrize("error", OUTAGES, ids=str)
def test_in_an_outage_the_known_value_is_used_and_read_again_soon(
    services: Services, secrets: Secrets, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    assert secrets["payments_token"] == "one"
    services.error = error
    services.now += CACHE_SECONDS
    with caplog.at_level(logging.WARNING):
        assert [secrets["payments_token"] for _ in range(3)] == ["one"] * 3
    assert len(services.reads) == 2
    assert "is used" in caplog.text
    services.error, services.values["payments_token"] = None, "rotated"
    services.now += CACHE_SECONDS_AFTER_ERROR
    assert secrets["payments_token"] == "rotated"


def test_in_a_long_outage_the_known_value_is_used_for_an_hour_at_most(services: Services, secrets: Secrets) -> None:
    assert secrets["payments_token"] == "one"
    read_at, services.error = services.now, refused("InternalServiceError", 500)
    for seconds in (CACHE_SECONDS, CACHE_SECONDS_IN_AN_OUTAGE / 2, CACHE_SECONDS_IN_AN_OUTAGE - 1):
        services.now = read_at + seconds
        assert secrets["payments_token"] == "one"
    services.now += 1
    for _ in range(2):
        with pytest.raises(SecretError, match="could not be read: InternalServiceError"):
            secrets["payments_token"]
    services.error = None
    assert secrets["payments_token"] == "one"


def refuse(services: Services) -> None:
    services.error = REFUSALS[0]


def make_plain(services: Services) -> None:
    services.type, services.binary = "String", True


@pytest.mark.parametrize("name", ARNS)
@pytest.mark.parametrize("end", [refuse, make_plain])
@pytest.mark.parametrize("outage", OUTAGES, ids=str)
def test_a_refused_value_is_not_used_in_a_later_outage(
    services: Services, secrets: Secrets, name: str, end: Callable[[Services], None], outage: Exception
) -> None:
    assert secrets[name]
    services.now += CACHE_SECONDS
    end(services)
    with pytest.raises(SecretError):
        secrets[name]
    services.error = outage
    with pytest.raises(SecretError):
        secrets[name]


@pytest.mark.parametrize("error", REFUSALS, ids=str)
def test_a_known_value_is_not_used_when_the_service_refuses_it(
    services: Services, secrets: Secrets, error: Exception
) -> None:
    assert secrets["payments_token"] == "one"
    services.error = error
    services.now += CACHE_SECONDS
    with pytest.raises(SecretError):
        secrets["payments_token"]


@pytest.mark.parametrize("error", [*OUTAGES, *REFUSALS], ids=str)
def test_a_failed_read_shows_only_name_and_code_and_counts_as_an_outage(
    services: Services, secrets: Secrets, error: Exception
) -> None:
    services.error = error
    with pytest.raises(SecretError) as raised:
        secrets["signing_key"]
    code = error.response["Error"]["Code"] if isinstance(error, ClientError) else "ConnectTimeoutError"
    assert str(raised.value) == f"the secret 'signing_key' could not be read: {code}"
    assert raised.value.__cause__ is error
    assert is_outage(raised.value)
    services.error = None
    assert secrets["signing_key"] == "two"


def test_an_unknown_name_is_an_error_that_lists_the_known_ones_and_no_outage(
    services: Services, secrets: Secrets
) -> None:
    with pytest.raises(
        UnknownSecretError, match=r"'token'; worker\.secrets names payments_token, signing_key$"
    ) as raised:
        secrets.around(lambda _event, _context: secret("token"))({}, Context())
    assert not is_outage(raised.value)
    assert services.reads == []


def test_secrets_exist_only_within_an_event_and_the_innermost_block_counts() -> None:
    with pytest.raises(UnknownSecretError, match="no secret 'signing_key' here: the stack names none"):
        secret("signing_key")
    with given_secrets({"signing_key": "a"}):
        with given_secrets({"signing_key": "b"}):
            assert secret("signing_key") == "b"
        assert secret("signing_key") == "a"
        with pytest.raises(UnknownSecretError, match=r"'token'; worker\.secrets names signing_key$"):
            secret("token")
    with given_secrets({}), pytest.raises(UnknownSecretError, match=r"worker\.secrets names none$"):
        secret("signing_key")
    with pytest.raises(UnknownSecretError, match="as while a module is imported"):
        secret("signing_key")


def test_a_plain_parameter_or_a_binary_secret_is_refused_without_showing_its_value(
    services: Services, secrets: Secrets
) -> None:
    services.type, services.binary, services.values = "String", True, dict.fromkeys(ARNS, "hunter2")
    for name, words in (("signing_key", "type String, not a SecureString"), ("payments_token", "is binary")):
        with pytest.raises(SecretError, match=words) as raised:
            secrets[name]
        assert "hunter2" not in "".join(traceback.format_exception(raised.value))


class Answers(BaseHTTPRequestHandler):
    """Answer any request with a secret, as Secrets Manager and Parameter Store do."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        parameter = {"Type": "SecureString", "Value": "hunter2"}
        body = json.dumps({"SecretString": "hunter2", "Parameter": parameter}).encode()  # pragma: allowlist secret
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing: the test reads the log lines of botocore."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that answers the clients."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        own = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}", "AWS_DEFAULT_REGION": "us-east-1"}
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}  # pragma: allowlist secret
        for variable, value in (own | keys).items():
            monkeypatch.setenv(variable, value)
        forget_clients()
        yield
        forget_clients()
        server.shutdown()


@pytest.mark.usefixtures("answering")
@pytest.mark.parametrize("name", ARNS)
def test_no_log_line_shows_a_value_even_at_debug_level(caplog: pytest.LogCaptureFixture, name: str) -> None:
    # The root logger's level, as logging.basicConfig(level=logging.DEBUG, force=True) sets it.
    with caplog.at_level(logging.DEBUG):
        assert Secrets(ARNS)[name] == "hunter2"
    assert "127.0.0.1" in caplog.text
    assert "hunter2" not in caplog.text


def test_no_repr_shows_a_value(services: Services, secrets: Secrets) -> None:
    services.values["signing_key"] = "hunter2"
    assert secrets["signing_key"] == "hunter2"
    shown = f"{secrets} {secrets!r} {vars(secrets)}"
    assert "good_until" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("service", ["secretsmanager", "ssm"])
def test_a_processor_waits_at_most_seven_seconds_for_a_service_that_hangs(
    monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    config = aws.client(service).meta.config
    assert config.retries["mode"] == "standard"
    attempts = config.retries["total_max_attempts"]
    # Before the second attempt, up to a second; it doubles:
    # https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
    pauses = sum(2**retry for retry in range(attempts - 1))
    assert attempts * (config.connect_timeout + config.read_timeout) + pauses == 7


@pytest.mark.parametrize("refusal", [None, refused("AccessDeniedException")], ids=["answered", "refused"])
def test_a_time_limit_that_passes_while_a_secret_is_read_is_not_lost(
    services: Services, secrets: Secrets, refusal: Exception | None
) -> None:
    def slow(**_request: Any) -> Mapping[str, Any]:
        # As in botocore: any error while it waits counts as a broken connection, and is retried.
        for _ in range(2):
            try:
                time.sleep(0.1)
            except Exception:  # noqa: BLE001, S112
                continue
        if refusal:
            raise refusal
        return {"SecretString": "one"}  # pragma: allowlist secret

    services.get_secret_value = slow  # type: ignore[method-assign]
    after = []
    with pytest.raises(ProcessingTimeoutError), time_limit(0.05):
        after.append(secrets["payments_token"])
    assert after == []


def test_a_refusal_counts_even_if_a_time_limit_passes_at_that_moment(services: Services, secrets: Secrets) -> None:
    assert secrets["payments_token"] == "one"
    services.now += CACHE_SECONDS
    services.error = REFUSALS[0]
    answer = services.get_secret_value

    def slow(**request: Any) -> Mapping[str, Any]:
        time.sleep(0.1)
        return answer(**request)

    services.get_secret_value = slow  # type: ignore[method-assign]
    with pytest.raises(ProcessingTimeoutError), time_limit(0.05):
        secrets["payments_token"]
    services.error = OUTAGES[0]
    with pytest.raises(SecretError):
        secrets["payments_token"]


def test_a_thread_that_reads_a_secret_does_not_delay_the_main_thread_s_time_limit(
    services: Services, secrets: Secrets
) -> None:
    reading, ended = threading.Event(), threading.Event()

    def slow(**_request: Any) -> Mapping[str, Any]:
        reading.set()
        ended.wait(5)
        return {"SecretString": "one"}  # pragma: allowlist secret

    services.get_secret_value = slow  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(secrets.__getitem__, "payments_token")
        assert reading.wait(5)
        with pytest.raises(ProcessingTimeoutError), time_limit(0.05):
            time.sleep(5)
        ended.set()
        assert read.result() == "one"


def test_both_services_answer_with_a_value_or_a_reason_to_refuse_it(aws_in_process: None) -> None:  # noqa: ARG001  moto answers
    kept, parameters = aws.client("secretsmanager"), aws.client("ssm")
    arns = {
        "token": kept.create_secret(Name="shop/token", SecretString="one")["ARN"],
        "binary": kept.create_secret(Name="shop/binary", SecretBinary=b"two")["ARN"],
        "key": f"arn:aws:ssm:{ACCOUNT}:parameter/shop/key",
        "plain": f"arn:aws:ssm:{ACCOUNT}:parameter/shop/plain",
        "none": f"arn:aws:ssm:{ACCOUNT}:parameter/shop/none",
    }
    parameters.put_parameter(Name="/shop/key", Value="three", Type="SecureString")
    parameters.put_parameter(Name="/shop/plain", Value="four", Type="String")
    found = Secrets(arns)
    assert (found["token"], found["key"]) == ("one", "three")
    for name, reason in {
        "binary": "is binary",
        "plain": "is a parameter of type String",
        "none": "could not be read: ParameterNotFound",
    }.items():
        with pytest.raises(SecretError, match=reason):
            found[name]
