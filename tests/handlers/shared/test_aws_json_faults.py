"""Our client of SQS and DynamoDB copes with faults as botocore does: both meet a server that injects them."""

import gc
import json
import os
import random
import socket
import ssl
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import pytest
from botocore import session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, SSLError
from botocore.retries.quota import RetryQuota
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from handlers.shared import aws, aws_json
from handlers.shared.aws_json import json_client

REGION = "eu-central-1"
READ_SECONDS = 0.3
CALLS = {"sqs": ("ReceiveMessage", {"QueueUrl": "q"}), "dynamodb": ("GetItem", {"TableName": "t", "Key": {}})}
ANSWERS: dict[str, Any] = {"sqs": {"Messages": [{"Body": "b"}]}, "dynamodb": {"Item": {"id": {"S": "a"}}}}

# What a server does with one request; returns True if it goes on to the next one on the connection.
Step = Callable[[socket.socket], bool]


class Server:
    """Answers each request with the next step, and the last step from then on. Keeps what was sent."""

    def __init__(self, *steps: Step, tls: ssl.SSLContext | None = None) -> None:
        self._steps, self._tls = list(steps), tls
        self.requests: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # `close` alone does not wake a thread that waits for a connection.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            # A client that keeps its connection opens none meanwhile.
            threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        self.connections += 1
        try:
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while request := _request(connection):
                    self.requests.append(request)
                    step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
                    if not step(connection):
                        return
        except OSError:
            connection.close()


def _request(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (part := connection.recv(65_536)):
            return b""
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


# Steps


def answer(status: int, body: bytes | dict[str, Any], *headers: str, length: int | None = None) -> Step:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} Reason", f"Content-Length: {len(content) if length is None else length}", *headers]

    def step(connection: socket.socket) -> bool:
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + content)
        return length is None and "Connection: close" not in headers

    return step


def raw(data: bytes) -> Step:
    def step(connection: socket.socket) -> bool:
        connection.sendall(data)
        return False

    return step


def reset(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def hang(connection: socket.socket) -> bool:
    connection.settimeout(READ_SECONDS * 20)
    return bool(connection.recv(1))


def refused(code: str, status: int = 400, *headers: str) -> Step:
    return answer(status, {"__type": f"com.amazonaws#{code}", "message": "no"}, "x-amzn-RequestId: r", *headers)


def chunked(body: bytes) -> Step:
    parts = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:3], body[3:]))
    return raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n")


# Clients


@contextmanager
def ours(service: str, environment: dict[str, str]) -> Iterator[Any]:
    client = json_client(service, environment)
    assert client is not None
    yield client.call


@contextmanager
def botocores(service: str, environment: dict[str, str]) -> Iterator[Any]:
    """Botocore as handlers/shared/aws.py configures it, but for the time it waits for an answer."""
    client: Any = SESSION.create_client(
        service,
        REGION,
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        config=aws._config(service).merge(Config(read_timeout=READ_SECONDS)),
        verify=os.environ.get("AWS_CA_BUNDLE"),
    )
    yield client._make_api_call
    client.close()


CLIENTS = (ours, botocores)
SESSION: Any = session.get_session()


def environment_of(server: Server, scheme: str = "http", host: str = "127.0.0.1") -> dict[str, str]:
    return {
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",  # pragma: allowlist secret
        "AWS_ENDPOINT_URL": f"{scheme}://{host}:{server.port}",
    }


@dataclass
class Outcome:
    """What a caller and the server see of some calls."""

    results: list[Any] = field(default_factory=list)
    sleeps: list[float] = field(default_factory=list)
    requests: int = 0
    connections: int = 0


def outcome(make: Callable[..., Any], service: str, steps: tuple[Step, ...], calls: int = 1) -> Outcome:
    """Make calls, with the same random numbers each time and without waiting."""
    seen, ours, sleep = Outcome(), threading.current_thread(), time.sleep

    def slept(seconds: float) -> None:
        # Threads that other tests left behind, such as the emulator's, sleep for real.
        (seen.sleeps.append if threading.current_thread() is ours else sleep)(seconds)

    random.seed(17)
    with (
        Server(*steps) as server,
        patch.object(time, "sleep", slept),
        patch.object(aws_json, "READ_SECONDS", READ_SECONDS),
    ):
        with make(service, environment_of(server)) as call:
            for _ in range(calls):
                seen.results.append(result(lambda: call(*CALLS[service])))
        seen.requests, seen.connections = len(server.requests), server.connections
    return seen


def result(call: Callable[[], Any]) -> Any:
    try:
        found = call()
    except ClientError as error:
        return ClientError, str(error), error.response["Error"], _metadata(error.response)
    except BotoCoreError as error:
        # Their texts name the library's own error.
        return type(error)
    return _metadata(found), {name: value for name, value in found.items() if name != "ResponseMetadata"}


def _metadata(answer: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = answer["ResponseMetadata"]
    return {name: value for name, value in metadata.items() if name != "HTTPHeaders"}


def good(service: str) -> Step:
    content = json.dumps(ANSWERS[service]).encode()
    return answer(200, content, f"x-amz-crc32: {zlib.crc32(content)}", "x-amzn-RequestId: r")


FAULTS: dict[str, Step] = {
    "500": answer(500, {"__type": "InternalServerError"}),
    "502 with a page": answer(502, b"<html>bad gateway</html>"),
    "503 without a body": answer(503, b""),
    "503 with text": answer(503, b"upstream connect error"),
    "504": answer(504, {"message": "slow"}),
    "501": answer(501, {"message": "never"}),
    "throttled": refused("ThrottlingException"),
    "throttled by a table": refused("ProvisionedThroughputExceededException"),
    "throttled by an account": refused("RequestLimitExceeded"),
    "throttled with 429": refused("TooManyRequestsException", 429),
    "throttled by SQS": refused("RequestThrottled", 403, "x-amzn-query-error: RequestThrottled;Sender"),
    "429 without a code": answer(429, b""),
    "a timeout that the service reports": refused("RequestTimeout", 408),
    "a clock that is wrong": refused("RequestTimeTooSkewed", 403),
    "a signature that has expired": refused("InvalidSignatureException", 403),
    "an expired token": refused("ExpiredTokenException"),
    "no such queue": refused("QueueDoesNotExist", 400, "x-amzn-query-error: AWS.NonExistentQueue;Sender"),
    "a condition": refused("ConditionalCheckFailedException"),
    "an invalid request": refused("ValidationException"),
    "a redirect": answer(301, b"", "Location: http://127.0.0.1:9/"),
    "a truncated body": answer(200, b'{"Messages": [', length=500),
    "a truncated chunk": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n{"),
    "an end without an answer": raw(b""),
    "an end within the headers": raw(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a reset": reset,
    "silence": hang,
    "a wrong checksum": answer(200, {}, "x-amz-crc32: 1"),
    "a page with 200": answer(200, b"<html>maintenance</html>"),
    "nothing with 200": answer(200, b""),
    "half an answer with 200": answer(200, b'{"Messages": ['),
    "a connection that ends after the answer": answer(200, {}, "Connection: close"),
    "chunks": chunked(b"{      }"),
}


@pytest.mark.parametrize("service", CALLS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_ends_as_with_botocore(fault: str, service: str) -> None:
    for steps in ((FAULTS[fault], good(service)), (FAULTS[fault],)):
        one, other = (outcome(make, service, steps) for make in CLIENTS)
        assert one == other


def test_faults_are_retried_at_all() -> None:
    seen = outcome(ours, "sqs", (FAULTS["500"], FAULTS["throttled"], FAULTS["a reset"], good("sqs")))
    assert (seen.requests, len(seen.sleeps)) == (4, 3)
    assert seen.results[0][1] == ANSWERS["sqs"]
    assert all(0 <= seconds <= limit for seconds, limit in zip(seen.sleeps, (1, 2, 4), strict=True))
    assert outcome(ours, "sqs", (FAULTS["an invalid request"],)).requests == 1


@contextmanager
def small_quota(amount: int) -> Iterator[None]:
    with (
        patch.object(aws_json, "QUOTA", amount),
        patch("botocore.retries.quota.RetryQuota", partial(RetryQuota, amount)),
    ):
        yield


@pytest.mark.parametrize(("fault", "calls", "quota"), [("500", 12, 100), ("silence", 3, 20)])
def test_a_service_that_is_down_uses_up_the_quota_of_retries_as_with_botocore(
    fault: str, calls: int, quota: int
) -> None:
    with small_quota(quota):
        one, other = (outcome(make, "sqs", (FAULTS[fault],), calls) for make in CLIENTS)
    assert one == other
    assert one.requests < calls * 4


def test_successes_fill_the_quota_again_as_with_botocore() -> None:
    steps = tuple(step for _ in range(8) for step in (*[FAULTS["500"]] * 4, good("sqs"), FAULTS["500"], good("sqs")))
    with small_quota(20):
        one, other = (outcome(make, "sqs", steps, 40) for make in CLIENTS)
    assert one == other


@pytest.mark.parametrize("service", CALLS)
def test_a_connection_is_kept(service: str) -> None:
    one, other = (outcome(make, service, (good(service),), 5) for make in CLIENTS)
    assert one == other
    assert (one.connections, one.requests) == (1, 5)


@pytest.mark.parametrize("make", CLIENTS)
def test_a_connection_that_the_service_has_closed_is_renewed_and_nothing_is_sent_twice(make: Any) -> None:
    closed = threading.Event()

    def close_later(connection: socket.socket) -> bool:
        good("sqs")(connection)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()
        return False

    with Server(close_later) as server, make("sqs", environment_of(server)) as call:
        for _ in range(3):
            found = call(*CALLS["sqs"])
            assert found["ResponseMetadata"]["RetryAttempts"] == 0
            assert closed.wait(5)
            closed.clear()
        assert (len(server.requests), server.connections) == (3, 3)


def test_a_client_closes_its_connections_when_nobody_holds_it_any_more() -> None:
    """At once: sockets that wait for the garbage collector stay open, and warn when it finds them first."""
    with Server(good("sqs")) as server, patch.object(aws_json, "READ_SECONDS", READ_SECONDS):
        client: Any = json_client("sqs", environment_of(server))
        assert client.receive_message(QueueUrl="q")["Messages"] == ANSWERS["sqs"]["Messages"]
        (connection,) = client._idle
        gc.disable()
        try:
            del client
            assert connection.sock is None
        finally:
            gc.enable()


def test_a_client_has_no_methods_but_the_operations_of_its_service() -> None:
    with Server(good("sqs")) as server:
        client: Any = json_client("sqs", environment_of(server))
        with pytest.raises(AttributeError, match="get_item"):
            client.get_item(TableName="t")


def test_threads_share_a_client_and_its_connections() -> None:
    with Server(good("sqs")) as server, ours("sqs", environment_of(server)) as call:
        found = aws.each(lambda _: call(*CALLS["sqs"]), range(200))
        assert all(each["Messages"] == ANSWERS["sqs"]["Messages"] for each in found)
        assert server.connections <= aws.CALLS_AT_ONCE


def test_no_service_at_the_endpoint_is_an_endpoint_error_as_with_botocore() -> None:
    with Server(good("sqs")) as server:
        environment = environment_of(server)
    seen = []
    with patch.object(time, "sleep"):
        for make in CLIENTS:
            with make("sqs", environment) as call:
                seen.append(result(partial(call, *CALLS["sqs"])))
    assert seen == [EndpointConnectionError] * 2


@pytest.mark.parametrize("service", CALLS)
def test_the_bytes_of_a_request_are_botocores(service: str) -> None:
    heads = []
    for make in CLIENTS:
        with Server(good(service)) as server, make(service, environment_of(server)) as call:
            call(*CALLS[service])
        (request,) = server.requests
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        headers["host"] = headers["host"].partition(":")[0]
        # The first two depend on time and port; the others are not signed.
        for name in ("authorization", "x-amz-date", "user-agent", "amz-sdk-invocation-id", "amz-sdk-request"):
            headers.pop(name, None)
        heads.append((first, headers, body))
    assert heads[0] == heads[1]


# TLS


def certificate(folder: Path, host: str) -> ssl.SSLContext:
    """A server's context, with a certificate for `host` that is its own authority: `authority.pem`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "authority.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "server.pem").write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")
    return context


@contextmanager
def tls_server(folder: Path, host: str) -> Iterator[Server]:
    with Server(good("sqs"), tls=certificate(folder, host)) as server, patch.object(time, "sleep"):
        yield server


@pytest.mark.parametrize("make", CLIENTS)
def test_a_private_authority_is_trusted_where_the_environment_names_it(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tls_server(tmp_path, "localhost") as server:
        environment = environment_of(server, "https", "localhost")
        with make("sqs", environment) as call, pytest.raises(SSLError):
            call(*CALLS["sqs"])
        assert server.requests == []
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        with make("sqs", environment) as call:
            assert call(*CALLS["sqs"])["Messages"] == ANSWERS["sqs"]["Messages"]


@pytest.mark.parametrize("make", CLIENTS)
def test_a_certificate_of_another_host_is_refused(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tls_server(tmp_path, "example.com") as server:
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "authority.pem"))
        with make("sqs", environment_of(server, "https", "localhost")) as call, pytest.raises(SSLError):
            call(*CALLS["sqs"])
        assert server.requests == []


def test_clients_load_the_authorities_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str | None] = []

    def load(cafile: str | None) -> ssl.SSLContext:
        loaded.append(cafile)
        return original(cafile=cafile)

    original = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", load)
    authorities = str(tmp_path / "authority.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", authorities)
    with tls_server(tmp_path, "localhost") as server:
        for _ in range(2):
            with ours("sqs", environment_of(server, "https", "localhost")) as call:
                assert call(*CALLS["sqs"])["Messages"] == ANSWERS["sqs"]["Messages"]
    assert loaded == [authorities]
