"""Attacks on a local pipeline: by a web page in the developer's browser, and by another user of the machine."""

import hashlib
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import urlencode

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local.emulator import HOST, Emulator, Keys
from local.errors import LocalError
from local.services import Clients

PAGE = "https://shop.example"
NOBODY = 65_534

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")


def _send(
    emulator: Emulator,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    *,
    host: str | None = None,
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request as it is; nothing is added but the Host header."""
    connection = http.client.HTTPConnection(HOST, emulator.port, timeout=30)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in {"Host": host or f"{HOST}:{emulator.port}", **(headers or {})}.items():
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def _query(access_key: str, service: str) -> str:
    """A query string that names an access key, with a signature that nobody computed."""
    return urlencode(
        {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{access_key}/20261126/us-east-1/{service}/aws4_request",
            "X-Amz-Date": "20261126T000000Z",
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": "0" * 64,
        }
    )


def _signed(emulator: Emulator, method: str, path: str, service: str, keys: Keys | None = None) -> dict[str, str]:
    """The headers of a request with a valid signature."""
    keys = keys or emulator.keys
    request = AWSRequest(method, f"{emulator.endpoint}{path}")
    SigV4Auth(Credentials(keys.access_key, keys.secret_key), service, emulator.region).add_auth(request)
    return dict(request.headers.items())


@pytest.fixture(scope="module")
def archive() -> bytes:
    """The code of a function that answers `ok`."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as code:
        code.writestr("code.py", "def handler(event, context):\n    return {'statusCode': 200, 'body': 'ok'}")
    return packed.getvalue()


@pytest.fixture
def function(aws: Clients, archive: bytes) -> Mapping[str, Any]:
    """A deployed function."""
    service = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    name = f"function-{uuid.uuid4().hex}"
    role = aws("iam").create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [service]}))
    answer: Mapping[str, Any] = aws("lambda").create_function(
        FunctionName=name,
        Runtime="python3.13",
        Handler="code.handler",
        Role=role["Role"]["Arn"],
        Code={"ZipFile": archive},
    )
    return answer


@pytest.fixture
def api(aws: Clients, function: Mapping[str, Any]) -> str:
    """The path of an HTTP API that only PAGE may call from a browser."""
    gateway = aws("apigatewayv2")
    cors = {"AllowOrigins": [PAGE], "AllowMethods": ["POST"], "AllowHeaders": ["content-type"]}
    name = f"api-{uuid.uuid4().hex}"
    api_id: str = gateway.create_api(Name=name, ProtocolType="HTTP", CorsConfiguration=cors)["ApiId"]
    integration = gateway.create_integration(
        ApiId=api_id,
        IntegrationType="AWS_PROXY",
        IntegrationUri=function["FunctionArn"],
        PayloadFormatVersion="2.0",
    )["IntegrationId"]
    gateway.create_route(ApiId=api_id, RouteKey="POST /events", Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=api_id, StageName="$default", AutoDeploy=True)
    return f"/_aws/execute-api/{api_id}/events"


A_KEY = "AKIAIOSFODNN7EXAMPLE"  # pragma: allowlist secret


# MiniStack takes the first three for root's. The last was never issued.
@pytest.mark.parametrize("key", ["test", "000000000000", "123456789012", "", A_KEY])
def test_a_web_page_cannot_create_a_function_with_a_key_that_everybody_knows(
    emulator: Emulator, aws: Clients, key: str
) -> None:
    name = f"intruder-{uuid.uuid4().hex}"
    body = json.dumps({"FunctionName": name, "Role": "arn:aws:iam::000000000000:role/r", "Code": {"ZipFile": ""}})
    # A form or fetch(..., {mode: "no-cors"}) sends exactly this, without a preflight.
    status, headers, _ = _send(
        emulator,
        "POST",
        f"/2015-03-31/functions?{_query(key, 'lambda')}",
        {"Content-Type": "text/plain"},
        body.encode(),
    )
    assert status == 403
    assert "access-control-allow-origin" not in headers
    assert name not in [each["FunctionName"] for each in aws("lambda").list_functions()["Functions"]]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body"),
    [
        ("GET", "/{bucket}/secret", {}, None),
        ("PUT", "/{bucket}/intruder", {}, b"x"),
        ("GET", "/", {}, None),
        ("POST", "/", {"X-Amz-Target": "AmazonSQS.ListQueues", "Content-Type": "text/plain"}, b"{}"),
        ("POST", "/?Action=ListUsers&Version=2010-05-08", {}, b""),
        ("POST", "/?Action=AssumeRoleWithSAML&RoleArn=arn:aws:iam::000000000000:role/r", {}, b""),
        ("GET", "/v2/_catalog", {}, None),
        ("GET", "/oauth2/authorize", {}, None),
    ],
)
def test_an_unsigned_request_reaches_nothing_but_apis(
    emulator: Emulator, aws: Clients, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> None:
    bucket = f"bucket-{uuid.uuid4().hex}"
    aws("s3").create_bucket(Bucket=bucket)
    aws("s3").put_object(Bucket=bucket, Key="secret", Body=b"secret")
    status, _, _ = _send(emulator, method, path.format(bucket=bucket), headers, body)
    assert status == 403
    assert [each["Key"] for each in aws("s3").list_objects_v2(Bucket=bucket)["Contents"]] == ["secret"]


def test_the_root_key_without_its_secret_is_refused(emulator: Emulator) -> None:
    access_key = emulator.keys.access_key
    wrong = Clients(emulator, Keys(access_key, "wrong"))
    for refused in (wrong("sqs").list_queues, wrong("s3").list_buckets, wrong("lambda").list_functions):
        with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|InvalidSignature"):
            refused()
    assert _send(emulator, "GET", f"/2015-03-31/functions?{_query(access_key, 'lambda')}")[0] in (400, 403)
    assert _send(emulator, "GET", f"/?{_query(access_key, 's3')}")[0] in (400, 403)


def test_the_keys_of_a_function_cannot_be_computed_from_its_name(
    emulator: Emulator, aws: Clients, function: Mapping[str, Any]
) -> None:
    aws("lambda").invoke(FunctionName=function["FunctionName"])
    # Names are the same in every run of a stack, and MiniStack derives the keys of functions from them.
    digest = hashlib.sha256(f"{function['FunctionArn']}:{function['Role']}".encode()).hexdigest()
    secret = hashlib.sha256(f"secret:{digest}".encode()).hexdigest()
    token = hashlib.sha256(f"token:{digest}".encode()).hexdigest()
    path = "/?Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("POST", f"{emulator.endpoint}{path}")
    credentials = Credentials(f"ASIA{digest[:16].upper()}", secret, token)
    SigV4Auth(credentials, "sts", emulator.region).add_auth(request)
    assert _send(emulator, "POST", path, dict(request.headers.items()))[0] == 403


FOREIGN = [
    {"Origin": PAGE},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    # Pages of other ports of this machine, which may be another user's, are of the same site.
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("foreign", FOREIGN)
def test_a_request_of_a_foreign_page_is_refused_even_with_a_valid_signature(
    emulator: Emulator, foreign: dict[str, str]
) -> None:
    signature = _signed(emulator, "GET", "/2015-03-31/functions", "lambda")
    assert _send(emulator, "GET", "/2015-03-31/functions", signature)[0] == 200
    status, headers, _ = _send(emulator, "GET", "/2015-03-31/functions", {**signature, **foreign})
    assert status == 403
    assert [name for name in headers if name.startswith("access-control-")] == []
    assert _send(emulator, "GET", "/_ministack/health", foreign)[0] == 403


@pytest.mark.parametrize(
    "host", ["attacker.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.example:{port}", ""]
)
@pytest.mark.parametrize("path", ["/2015-03-31/functions", "/_ministack/health", "{api}"])
def test_a_foreign_host_is_refused(emulator: Emulator, api: str, host: str, path: str) -> None:
    path = path.format(api=api)
    # DNS rebinding: the page's own name resolves to 127.0.0.1, so its requests are of one origin.
    headers = _signed(emulator, "GET", path, "lambda")
    status, _, _ = _send(emulator, "GET", path, headers, host=host.format(port=emulator.port) or " ")
    assert status == 403
    assert _send(emulator, "GET", "/_ministack/health", host=f"localhost:{emulator.port}")[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/_ministack/sqs/messages"),
        ("POST", "/_ministack/config"),
        ("POST", "/_ministack/reset"),
        ("GET", "/_ministack/ses/messages"),
        ("GET", "/_ministack/ready"),
        ("GET", "/_ministack/lambda-code/anything"),
        ("GET", "/_localstack/health"),
        ("GET", "/health"),
    ],
)
def test_no_internal_path_but_health_is_served(emulator: Emulator, method: str, path: str) -> None:
    for headers in ({}, _signed(emulator, method, path, "sqs")):
        if path != "/health" or not headers:
            assert _send(emulator, method, path, headers, b"{}" if method == "POST" else None)[0] == 403


def test_the_emulator_itself_allows_no_origin(emulator: Emulator, api: str) -> None:
    own = {"Origin": emulator.endpoint}
    preflight = {**own, "Access-Control-Request-Method": "POST"}
    answers = [
        _send(
            emulator, "GET", "/2015-03-31/functions", {**_signed(emulator, "GET", "/2015-03-31/functions", "lambda")}
        ),
        _send(emulator, "GET", "/", _signed(emulator, "GET", "/", "s3")),
        _send(emulator, "GET", "/_ministack/health", own),
        _send(emulator, "OPTIONS", "/2015-03-31/functions", preflight),
        _send(emulator, "POST", api, {}, b"{}"),
    ]
    assert [status for status, _, _ in answers] == [200, 200, 200, 403, 200]
    assert [headers for _, headers, _ in answers if "access-control-allow-origin" in headers] == []


def test_an_api_answers_the_pages_that_its_own_cors_allows_and_no_others(emulator: Emulator, api: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}
    status, headers, _ = _send(emulator, "OPTIONS", api, {"Origin": PAGE, **asked})
    assert (status, headers["access-control-allow-origin"]) == (204, PAGE)
    status, headers, body = _send(emulator, "POST", api, {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}, b"{}")
    assert (status, headers["access-control-allow-origin"], body) == (200, PAGE, b"ok")
    for other in ({"Origin": "https://other.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for method in ("OPTIONS", "POST"):
            status, headers, _ = _send(emulator, method, api, {**asked, **other}, b"{}")
            assert (status, "access-control-allow-origin" in headers) == (403, False)


def test_an_api_does_not_open_the_way_to_anything_else(emulator: Emulator, api: str) -> None:
    aside = {
        f"{api}/../../../../2015-03-31/functions": 404,
        f"{api}/%2e%2e/%2e%2e/%2e%2e/%2e%2e/_ministack/config": 404,
        "/_aws/execute-api//2015-03-31/functions": 403,
        "/_aws/execute-api/": 403,
        "/restapis/x/prod/_user_request_/../../../../2015-03-31/functions": 403,
        "/restapis": 403,
    }
    assert {path: _send(emulator, "GET", path, {"Origin": PAGE})[0] for path in aside} == aside


def test_a_web_socket_is_refused(emulator: Emulator) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "Origin": PAGE,
    }
    assert _send(emulator, "GET", "/_aws/execute-api/x/y", upgrade)[0] == 403


@contextmanager
def _squatter(port: int) -> Iterator[list[str]]:
    """Another user's server on a port; it answers everything with 200. Yields the paths that it was asked for."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer((HOST, port), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_takes_the_port_first_is_not_taken_for_the_emulator() -> None:
    emulator = Emulator()
    with _squatter(emulator.port) as asked:
        with pytest.raises(LocalError, match="the emulator ended while starting"), emulator:
            pass
        assert set(asked) == {"/_ministack/health"}


OTHER_USER = """
import encodings.idna, json, os, pathlib, sys, urllib.error, urllib.request

os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))

def opened(path):
    try:
        return pathlib.Path(path).read_bytes() != b""
    except OSError:
        return False

def answered(path):
    try:
        with urllib.request.urlopen(sys.argv[2] + path, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code

scope = "test/20261126/us-east-1/lambda/aws4_request"
paths = ["/2015-03-31/functions?X-Amz-Credential=" + scope, "/_ministack/sqs/messages"]
print(json.dumps([[opened(path) for path in sys.argv[3:]], [answered(path) for path in paths]]))
"""


@as_root
def test_another_user_of_the_machine_learns_and_runs_nothing(emulator: Emulator) -> None:
    files = [f"/proc/{emulator.pid}/environ", str(emulator.log)]
    result = subprocess.run(
        [sys.executable, "-I", "-c", OTHER_USER, str(NOBODY), emulator.endpoint, *files],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == [[False, False], [403, 403]]
    arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert emulator.keys.secret_key not in arguments
    assert emulator.keys.access_key not in arguments


def test_every_run_has_keys_and_a_port_of_its_own() -> None:
    emulators = [Emulator(), Emulator()]
    try:
        assert emulators[0].keys != emulators[1].keys
        assert all(len(each.keys.secret_key) >= 40 for each in emulators)
        assert emulators[0].port != emulators[1].port
        assert emulators[0].keys.secret_key not in repr(emulators[0].keys)
    finally:
        for each in emulators:
            each.stop()


def test_a_request_with_two_hosts_is_refused(emulator: Emulator) -> None:
    own = f"Host: {HOST}:{emulator.port}\r\n"
    with socket.create_connection((HOST, emulator.port), timeout=10) as connection:
        connection.sendall(f"GET /_ministack/health HTTP/1.1\r\n{own}Host: attacker.example\r\n\r\n".encode())
        assert connection.recv(1_000).split()[1] in (b"400", b"403")
