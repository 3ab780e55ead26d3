"""A client for AWS's JSON services on the data path, SQS and DynamoDB, without botocore.

Importing botocore and making its clients is most of a cold start. These services take one signed POST of JSON a call.
The client sends what botocore would send, byte for byte, answers and retries as its standard mode does, and raises
botocore's errors, whose module is imported when the first one is raised (tests/handlers/shared/test_aws_json*.py).

It serves the environment that Lambda gives a function. Where that asks for anything else, `json_client` returns None,
and handlers/shared/aws.py takes botocore: docs/decisions/0015.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

import base64
import http.client
import json
import os
import random
import re
import select
import socket
import ssl
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from hmac import digest
from threading import Lock
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from handlers.shared.aws import ATTEMPTS, CALLS_AT_ONCE, CONNECT_SECONDS, READ_SECONDS, tls_context

# https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html
MAXIMUM_BACKOFF_SECONDS = 20
QUOTA, RETRY_COST, TIMEOUT_COST, SUCCESS_GAIN = 500, 5, 10, 1
_BROKEN = (500, 502, 503, 504)
_RETRIED_CODES = """
    RequestTimeout RequestTimeoutException PriorRequestNotComplete Throttling ThrottlingException ThrottledException
    RequestThrottledException TooManyRequestsException ProvisionedThroughputExceededException
    TransactionInProgressException RequestLimitExceeded BandwidthLimitExceeded LimitExceededException
    RequestThrottled SlowDown EC2ThrottledException
"""

# Any other variable of the SDKs may change what botocore does.
_KNOWN_VARIABLES = """
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_REGION AWS_DEFAULT_REGION AWS_CA_BUNDLE
    AWS_ENDPOINT_URL AWS_EXECUTION_ENV AWS_EC2_METADATA_DISABLED AWS_ACCESS_KEY AWS_SECRET_KEY
"""
_KNOWN_PREFIXES = ("AWS_LAMBDA_", "AWS_XRAY_", "AWS_ENDPOINT_URL_")
# Regions whose endpoints end in amazonaws.com.
_is_usual_region = re.compile(r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d").fullmatch


@dataclass(frozen=True)
class Service:
    """A service: its name in hosts, the prefix of its operations, their names, its own headers, its binary members."""

    name: str
    target: str
    operations: str
    headers: Mapping[str, str]
    binary: tuple[str, str]


# Only the operations that tests compare with botocore.
_SQS = "SendMessageBatch DeleteMessageBatch ChangeMessageVisibilityBatch ReceiveMessage GetQueueAttributes"
_DYNAMODB = "BatchGetItem BatchWriteItem BatchExecuteStatement GetItem PutItem UpdateItem Query"
SERVICES = {
    "sqs": Service("sqs", "AmazonSQS", _SQS, {"x-amzn-query-mode": "true"}, ("BinaryValue", "BinaryListValues")),
    "dynamodb": Service("dynamodb", "DynamoDB_20120810", _DYNAMODB, {}, ("B", "BS")),
}


def json_client(name: str, environment: Mapping[str, str] = os.environ) -> "JsonClient | None":
    """Return the client of a service, None where only botocore knows what the environment asks for."""
    service, region = SERVICES.get(name), environment.get("AWS_DEFAULT_REGION", "")
    key, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if service is None or not key or not secret or not _is_usual_region(region) or _is_unusual(environment):
        return None
    given = environment.get(f"AWS_ENDPOINT_URL_{name.upper()}") or environment.get("AWS_ENDPOINT_URL")
    url = urlsplit(given or f"https://{name}.{region}.amazonaws.com")
    if url.scheme not in ("http", "https") or url.path or url.query or {"@", "["} & {*url.netloc}:
        return None
    return JsonClient(service, url, region, (key, secret, environment.get("AWS_SESSION_TOKEN", "")))


def _is_unusual(environment: Mapping[str, str]) -> bool:
    for name in environment.keys() - _KNOWN_VARIABLES.split():
        is_of_the_sdks = name.startswith(("AWS_", "BOTO")) and not name.startswith(_KNOWN_PREFIXES)
        if is_of_the_sdks or name.lower() in ("http_proxy", "https_proxy"):
            return True
    # As strings: pathlib is not worth its import here.
    return any(os.path.exists(os.path.expanduser(f"~/.aws/{name}")) for name in ("config", "credentials"))  # noqa: PTH110, PTH111


@dataclass(frozen=True)
class _Attempt:
    """What one request came to: an answer, or the error of botocore's that says why there was none."""

    answer: dict[str, Any] = field(default_factory=dict)
    is_transient: bool = True
    failure: Exception | None = None
    cost: int = RETRY_COST


class JsonClient:
    """The client of one service. It has botocore's methods for the operations of its service.

    Threads may share it. Raises botocore's ClientError for a refusal, and its other errors where there is no answer.
    """

    def __init__(self, service: Service, url: SplitResult, region: str, keys: tuple[str, str, str]) -> None:
        self.service, self._service, self._region = service.name, service, region
        self._access_key, self._secret_key, self._token = keys
        self._is_tls = url.scheme == "https"
        host, usual_port = str(url.hostname), 443 if self._is_tls else 80
        self._address = (host, url.port or usual_port)
        self._host = host if self._address[1] == usual_port else f"{host}:{url.port}"
        self._url = f"{url.scheme}://{url.netloc}/"
        self._idle: list[http.client.HTTPConnection] = []
        self._quota, self._lock = QUOTA, Lock()
        self._operations = {re.sub("(?<=.)([A-Z])", r"_\1", each).lower(): each for each in service.operations.split()}

    def __getattr__(self, method: str) -> Any:
        """Return the method of an operation, anew: a client that kept it would refer to itself, and need collecting."""
        if operation := vars(self).get("_operations", {}).get(method):
            return lambda **parameters: self.call(operation, parameters)
        raise AttributeError(method)

    def __del__(self) -> None:
        """Close the connections."""
        for connection in self._idle:
            connection.close()

    def call(self, operation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to an operation, retried as botocore's standard mode does."""
        body = json.dumps(parameters).encode()
        gained = SUCCESS_GAIN
        for number in range(1, ATTEMPTS + 1):
            attempt = self._attempt(operation, body)
            metadata = attempt.answer.setdefault("ResponseMetadata", {})
            metadata["RetryAttempts"] = number - 1
            if number == ATTEMPTS:
                metadata["MaxAttemptsReached"] = True
            elif attempt.is_transient:
                with self._lock:
                    has_quota = attempt.cost <= self._quota
                    self._quota -= attempt.cost if has_quota else 0
                if has_quota:
                    gained = attempt.cost
                    time.sleep(random.random() * min(2 ** (number - 1), MAXIMUM_BACKOFF_SECONDS))  # noqa: S311
                    continue
                metadata["RetryQuotaReached"] = True
            break
        if attempt.failure:
            raise attempt.failure
        if metadata["HTTPStatusCode"] >= http.client.MULTIPLE_CHOICES:
            from botocore.exceptions import ClientError  # noqa: PLC0415  not before there is one

            raise ClientError(attempt.answer, operation)  # type: ignore[arg-type]  # the shape is botocore's
        with self._lock:
            self._quota = min(QUOTA, self._quota + gained)
        return attempt.answer

    def _attempt(self, operation: str, body: bytes) -> _Attempt:
        kept, connected, reusable = self._kept(), False, False
        connection = kept or self._new()
        try:
            if kept is None:
                connection.connect()
                connection.sock.settimeout(READ_SECONDS)
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connected = True
            # A service may answer, and close, before it has read all of a request.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.request("POST", "/", body, self._headers(operation, body))
            response = connection.getresponse()
            content = response.read()
            reusable = not response.will_close and len(self._idle) < CALLS_AT_ONCE
        except (OSError, http.client.HTTPException) as error:
            return self._failed(error, connected=connected)
        finally:
            if reusable:
                self._idle.append(connection)
            else:
                connection.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        answer = read_answer(self._service, response.status, headers, content)
        code = answer["Error"]["Code"] if "Error" in answer else ""
        checksum = headers.get("x-amz-crc32") if self.service == "dynamodb" else None
        is_corrupt = checksum is not None and int(checksum) != zlib.crc32(content)
        return _Attempt(answer, response.status in _BROKEN or code in _RETRIED_CODES.split() or is_corrupt)

    def _kept(self) -> http.client.HTTPConnection | None:
        """Return a connection that is kept, and that the service has not closed meanwhile."""
        with suppress(IndexError):  # there is none
            while True:
                kept, poll = self._idle.pop(), select.poll()
                poll.register(kept.sock, select.POLLIN)
                # Nothing is expected before a request: whatever can be read is the end of the connection.
                if not poll.poll(0):
                    return kept
                kept.close()
        return None

    def _new(self) -> http.client.HTTPConnection:
        if not self._is_tls:
            return http.client.HTTPConnection(*self._address, timeout=CONNECT_SECONDS)
        context = tls_context(os.environ.get("AWS_CA_BUNDLE"))
        return http.client.HTTPSConnection(*self._address, timeout=CONNECT_SECONDS, context=context)

    def _failed(self, error: Exception, *, connected: bool) -> _Attempt:
        from botocore import exceptions  # noqa: PLC0415  not before there is one

        if isinstance(error, TimeoutError):
            kind = exceptions.ReadTimeoutError if connected else exceptions.ConnectTimeoutError
            return _Attempt(failure=kind(endpoint_url=self._url, error=error), cost=TIMEOUT_COST)
        lost = exceptions.ConnectionClosedError if connected else exceptions.EndpointConnectionError
        reason = exceptions.SSLError if isinstance(error, ssl.SSLError) else lost
        return _Attempt(failure=reason(endpoint_url=self._url, error=error))

    def _headers(self, operation: str, body: bytes) -> dict[str, str]:
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        signed = {
            "content-type": "application/x-amz-json-1.0",
            "host": self._host,
            "x-amz-date": now,
            "x-amz-target": f"{self._service.target}.{operation}",
            **self._service.headers,
        }
        if self._token:
            signed["x-amz-security-token"] = self._token
        headers = {**signed, "authorization": self._authorization(now, signed, body), "user-agent": "datapipeline"}
        # For Lambda's recursion detection and for X-Ray.
        if "AWS_LAMBDA_FUNCTION_NAME" in os.environ and (trace := os.environ.get("_X_AMZN_TRACE_ID")):
            headers["x-amzn-trace-id"] = quote(trace, safe="-=;:+&[]{}\"',")
        return headers

    def _authorization(self, now: str, headers: Mapping[str, str], body: bytes) -> str:
        names = sorted(headers)
        listed = ";".join(names)
        lines = "".join(f"{name}:{headers[name]}\n" for name in names)
        request = f"POST\n/\n\n{lines}\n{listed}\n{sha256(body).hexdigest()}"
        scope = f"{now[:8]}/{self._region}/{self.service}/aws4_request"
        key = f"AWS4{self._secret_key}".encode()
        for part in scope.split("/"):
            key = digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{sha256(request.encode()).hexdigest()}"
        signature = digest(key, text.encode(), "sha256").hex()
        credential = f"{self._access_key}/{scope}"
        return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={listed}, Signature={signature}"


def read_answer(service: Service, status: int, headers: Mapping[str, str], content: bytes) -> dict[str, Any]:
    """Return an answer as botocore's clients do; that of an error as `ClientError.response` has it."""
    try:
        # Most answers have neither null nor bytes, and a hook makes reading slower.
        special = any(mark in content for mark in (b"null", *(f'"{name}"'.encode() for name in service.binary)))
        read = json.loads(content or b"{}", object_hook=partial(_botocores, service.binary) if special else None)
    except ValueError:
        read = None  # a page, or half an answer
    if status > http.client.MULTIPLE_CHOICES:
        members = read if isinstance(read, dict) else {"message": content.decode(errors="replace")}
        answer: dict[str, Any] = {"Error": _error(status, headers, content.strip(), members)}
    else:
        answer = read if isinstance(read, dict) else {}
    answer["ResponseMetadata"] = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    if "x-amzn-requestid" in headers:
        answer["ResponseMetadata"]["RequestId"] = headers["x-amzn-requestid"]
    return answer


def _botocores(binary: tuple[str, str], members: dict[str, Any]) -> dict[str, Any]:
    """Return the members of an object, without those that are null, and with binary values as bytes."""
    read = {name: value for name, value in members.items() if value is not None}
    for name, value in read.items():
        # An attribute of a user's may have such a name, but its value is an object.
        if name == binary[0] and isinstance(value, str):
            read[name] = base64.b64decode(value)
        elif name == binary[1] and isinstance(value, list):
            read[name] = [base64.b64decode(each) for each in value]
    return read


def _error(status: int, headers: Mapping[str, str], content: bytes, members: Mapping[str, Any]) -> dict[str, str]:
    if status >= http.client.INTERNAL_SERVER_ERROR and (not content or content.startswith(b"<html>")):
        return {"Code": str(status), "Message": http.client.responses.get(status, "")}
    code = str(members.get("__type", status)).partition(":")[0].rpartition("#")[2]
    error = {"Message": members.get("message", members.get("Message", "")), "Code": code}
    former = headers.get("x-amzn-query-error", "").split(";")
    if len(former) == 2 and former[0]:  # noqa: PLR2004  the code that SQS had before it spoke JSON, and who is at fault
        error |= {"QueryErrorCode": code, "Type": former[1], "Code": former[0]}
    return error
