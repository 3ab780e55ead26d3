"""Our client of SQS and DynamoDB sends what botocore sends, and reads what botocore reads."""

import base64
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from botocore import auth, parsers, session
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES
from botocore.model import ListShape, MapShape, Shape, StructureShape
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.shared import aws, queues
from handlers.shared.aws_json import SERVICES, JsonClient, json_client, read_answer
from handlers.shared.dead_letters import DeadLetters
from handlers.shared.dynamodb import Table
from handlers.shared.letters import Wanted
from tests.aws_calls import tapped

ENVIRONMENT = {
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "secret",  # pragma: allowlist secret
    "AWS_SESSION_TOKEN": "token",
    "HOME": "/nowhere",
}
NOW = datetime(2026, 11, 27, 6, 30)  # noqa: DTZ001  as botocore's own
OPERATIONS = sorted(
    f"{name}:{operation}" for name, service in SERVICES.items() for operation in service.operations.split()
)
ROOT = Path(__file__).parents[3]

# Neither is signed: what a client says about itself, and botocore's note about the call and its attempt, for support.
NOT_COMPARED = {"user-agent", "amz-sdk-invocation-id", "amz-sdk-request"}
Sent = tuple[str, str, dict[str, str], bytes]


def botocores(name: str, environment: Mapping[str, str]) -> Any:
    with patch.dict(os.environ, environment, clear=True):
        return session.get_session().create_client(name, config=Config(parameter_validation=False))


BOTOCORES = {name: botocores(name, ENVIRONMENT) for name in SERVICES}
OURS = {name: json_client(name, ENVIRONMENT) for name in SERVICES}


def sent_by_botocore(client: Any, operation: str, parameters: Mapping[str, Any]) -> Sent:
    seen: list[Sent] = []

    def before_send(request: Any, **_: Any) -> AWSResponse:
        headers = {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in request.headers.items()
        }
        seen.append((request.method, request.url, headers, request.body))
        return AWSResponse(request.url, 200, HTTPHeaders(), Raw(b"{}"))

    client.meta.events.register("before-send", before_send)
    try:
        with patch.object(auth, "get_current_datetime", lambda: NOW):
            client._make_api_call(operation, parameters)
    finally:
        client.meta.events.unregister("before-send", before_send)
    ((method, url, headers, body),) = seen
    return method, url, compared(headers), body


class Raw:
    """An answer that has not been read."""

    def __init__(self, content: bytes) -> None:
        self.stream = lambda: iter([content])


class Connection:
    """Takes down a request, and answers it with an empty object."""

    will_close, status = True, 200
    sock = property(lambda self: self)

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes, Mapping[str, str]]] = []

    def request(self, *request: Any) -> None:
        self.requests.append(request)

    def getresponse(self) -> "Connection":
        return self

    def read(self) -> bytes:
        return b"{}"

    def getheaders(self) -> list[tuple[str, str]]:
        return []

    def connect(self) -> None: ...
    def close(self) -> None: ...
    def settimeout(self, seconds: float) -> None: ...
    def setsockopt(self, *option: int) -> None: ...


def sent_by_us(client: Any, operation: str, parameters: Mapping[str, Any]) -> Sent:
    connection = Connection()
    gmtime = time.gmtime
    with (
        patch.object(JsonClient, "_new", lambda _: connection),
        patch.object(time, "gmtime", lambda *given: gmtime(*given) if given else NOW.timetuple()),
    ):
        client.call(operation, parameters)
    ((method, path, body, headers),) = connection.requests
    # These two are http.client's and urllib3's; the bytes on the wire are compared in test_aws_json_faults.py.
    lengths = {"content-length": str(len(body))}
    return method, f"{client._url.rstrip('/')}{path}", compared({**headers, **lengths}), body


def compared(headers: Mapping[str, str]) -> dict[str, str]:
    """Those that count. botocore leaves `Host` to its HTTP library; a different one would change the signature."""
    return {name: value for name, value in headers.items() if name not in NOT_COMPARED | {"host"}}


# Requests

texts = st.text(max_size=20)
numbers = st.one_of(st.integers(), st.decimals(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False))
plain_values = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), numbers),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
items = st.dictionaries(texts, plain_values, max_size=4)
keys = st.fixed_dictionaries({"id": texts})
conditions = st.lists(st.tuples(texts, st.sampled_from(["=", "<>", "<="]), plain_values), max_size=2)
urls = st.from_regex(r"https://sqs\.[a-z0-9-]+\.amazonaws\.com/[0-9]{12}/[\w-]{1,20}(\.fifo)?", fullmatch=True)
messages = st.builds(queues.Outgoing, texts, st.dictionaries(texts, texts, max_size=2), texts, texts)

Draw = Callable[[st.SearchStrategy[Any]], Any]


def query(draw: Draw) -> object:
    request = {"IndexName": draw(texts), "Limit": draw(st.integers(1, 100)), "ScanIndexForward": draw(st.booleans())}
    return list(a_table(draw).query(KeyConditionExpression=draw(texts), values=draw(items), **request))


def execute(draw: Draw) -> object:
    table, key, item = a_table(draw), draw(keys), draw(items)
    removed = st.lists(texts, max_size=2)
    return table.execute(
        [
            table.insert_statement(item),
            table.update_statement(key, item, *draw(conditions), removed=draw(removed)),
            table.delete_statement(key, *draw(conditions)),
        ]
    )


def receive(draw: Draw) -> object:
    return DeadLetters(draw(urls), lambda _: []).look(Wanted(), 1, draw(st.integers(10, 900)))


def a_table(draw: Draw) -> Table:
    return Table(draw(texts))


handles = st.lists(texts, min_size=1, max_size=12, unique=True)
# The functions of the handlers that make each operation.
USES: Mapping[str, Callable[[Draw], object]] = {
    "dynamodb:BatchExecuteStatement": execute,
    "dynamodb:BatchGetItem": lambda draw: a_table(draw).get(
        draw(st.lists(keys, min_size=1, max_size=3)), draw(st.lists(texts, max_size=3)), consistent=draw(st.booleans())
    ),
    "dynamodb:BatchWriteItem": lambda draw: a_table(draw).put([draw(items), draw(keys)], lambda each: each),
    "dynamodb:GetItem": lambda draw: a_table(draw).item(draw(keys)),
    "dynamodb:PutItem": lambda draw: a_table(draw).put_if(draw(items), draw(texts), draw(items)),
    "dynamodb:Query": query,
    "dynamodb:UpdateItem": lambda draw: a_table(draw).update(
        draw(keys), draw(texts), draw(texts), draw(items), draw(items)
    ),
    "sqs:ChangeMessageVisibilityBatch": lambda draw: queues.return_after(
        draw(urls), draw(st.dictionaries(texts, st.integers(0, 43_200), min_size=1))
    ),
    "sqs:DeleteMessageBatch": lambda draw: queues.delete(draw(urls), draw(handles)),
    "sqs:GetQueueAttributes": lambda draw: queues.depth(draw(urls)),
    "sqs:ReceiveMessage": receive,
    "sqs:SendMessageBatch": lambda draw: queues.send(draw(urls), draw(st.lists(messages, min_size=1, max_size=12))),
}


# What each operation answers at least.
ANSWERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "BatchGetItem": lambda _: {"Responses": {}},
    "BatchExecuteStatement": lambda asked: {"Responses": [{} for _ in asked["Statements"]]},
    "Query": lambda _: {"Items": []},
    "UpdateItem": lambda _: {"Attributes": {}},
    "ReceiveMessage": lambda _: {"ResponseMetadata": {"HTTPHeaders": {"date": "Fri, 27 Nov 2026 06:30:00 GMT"}}},
    "SendMessageBatch": lambda asked: {"Successful": asked["Entries"]},
    "DeleteMessageBatch": lambda asked: {"Successful": asked["Entries"]},
    "GetQueueAttributes": lambda asked: {"Attributes": dict.fromkeys(asked["AttributeNames"], "0")},
}


@pytest.fixture(scope="module", autouse=True)
def our_clients() -> Iterator[None]:
    with patch.object(aws, "client", lambda name: OURS[name]):
        yield


@pytest.mark.parametrize("name", USES)
@settings(deadline=None)
@given(st.data())
def test_whatever_the_handlers_ask_for_is_sent_as_botocore_sends_it(name: str, data: st.DataObject) -> None:
    calls: list[tuple[str, Mapping[str, Any]]] = []

    def note(called: str, parameters: Mapping[str, Any], _make: object) -> Any:
        calls.append((called, parameters))
        answer = ANSWERS.get(called.partition(":")[2])
        return answer(parameters) if answer else {}

    with tapped(note), patch.object(aws, "CALLS_AT_ONCE", 1):
        USES[name](data.draw)
    assert calls[0][0] == name
    for called, parameters in calls:
        service, _, operation = called.partition(":")
        ours = sent_by_us(OURS[service], operation, parameters)
        assert ours == sent_by_botocore(BOTOCORES[service], operation, parameters)


def test_every_operation_of_the_client_is_compared_and_the_handlers_make_no_other() -> None:
    assert sorted(USES) == OPERATIONS
    found = set()
    for file in (ROOT / "handlers").rglob("*.py"):
        found |= set(re.findall(r'\bclient\("(?:sqs|dynamodb)"\)\.(\w+)', file.read_text()))
        if file.name in ("dynamodb.py", "queues.py", "dead_letters.py"):
            found |= set(re.findall(r"\b_?client\.(\w+)", file.read_text()))
    assert {name.partition(":")[2] for name in USES} == {each.title().replace("_", "") for each in found}


SAMPLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sqs": ("ReceiveMessage", {"QueueUrl": "q"}),
    "dynamodb": ("GetItem", {"TableName": "t", "Key": {}}),
}


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "given",
    [
        {},
        {"AWS_SESSION_TOKEN": ""},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SQS": "https://sqs.example.com:8443"},
        {"AWS_ENDPOINT_URL_DYNAMODB": "https://vpce-1.dynamodb.eu-central-1.vpce.amazonaws.com:443"},
        {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_REGION": "us-west-2", "AWS_LAMBDA_RUNTIME_API": "x"},
    ],
)
def test_the_environment_is_understood_as_botocore_understands_it(given: Mapping[str, str], service: str) -> None:
    environment = {name: value for name, value in {**ENVIRONMENT, **given}.items() if value}
    ours = json_client(service, environment)
    assert ours is not None
    assert sent_by_us(ours, *SAMPLES[service]) == sent_by_botocore(botocores(service, environment), *SAMPLES[service])


@pytest.mark.parametrize("service", SERVICES)
def test_a_trace_reaches_the_service(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "ingest")
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=a:1|b:2")
    ours = sent_by_us(OURS[service], *SAMPLES[service])
    assert ours == sent_by_botocore(BOTOCORES[service], *SAMPLES[service])
    assert ours[2]["x-amzn-trace-id"].startswith("Root=1-5759e988")


@pytest.mark.parametrize("service", SERVICES)
def test_every_region_of_the_usual_partition_has_botocores_endpoint(service: str) -> None:
    one: Any = session.get_session()
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    regions = one.get_available_regions(service, allow_non_regional=False)
    assert len(regions) > 20
    for region in regions:
        ours = json_client(service, {**ENVIRONMENT, "AWS_DEFAULT_REGION": region})
        assert ours is not None
        assert ours._url == one.create_client(service, region, **keys).meta.endpoint_url + "/"


# Fallback


@pytest.mark.parametrize(
    "given",
    [
        {"AWS_ACCESS_KEY_ID": ""},  # SnapStart: the credentials are in a container of their own
        {"AWS_SECRET_ACCESS_KEY": ""},
        {"AWS_DEFAULT_REGION": ""},
        {"AWS_DEFAULT_REGION": "cn-north-1"},
        {"AWS_DEFAULT_REGION": "us-gov-west-1"},
        {"AWS_DEFAULT_REGION": "us-iso-east-1"},
        {"HTTPS_PROXY": "http://proxy:3128"},
        {"https_proxy": "http://proxy:3128"},
        {"HTTP_PROXY": "http://proxy:3128"},
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566/path"},
        {"AWS_ENDPOINT_URL": "http://user@127.0.0.1:4566"},
        {"AWS_ENDPOINT_URL": "http://[::1]:4566"},
        {"AWS_ENDPOINT_URL": "ftp://127.0.0.1"},
    ],
)
def test_what_only_botocore_understands_is_left_to_botocore(given: Mapping[str, str]) -> None:
    environment = {name: value for name, value in {**ENVIRONMENT, **given}.items() if value}
    assert [json_client(service, environment) for service in SERVICES] == [None, None]


def test_any_setting_of_botocore_but_region_and_ca_bundle_is_left_to_botocore() -> None:
    settings = {"AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION", "AWS_ACCOUNT_ID"}
    for _, variables, _, _ in BOTOCORE_DEFAUT_SESSION_VARIABLES.values():
        settings |= {variables} if isinstance(variables, str) else set(variables or ())
    assert len(settings) > 20
    for name in settings - {"AWS_DEFAULT_REGION", "AWS_CA_BUNDLE"}:
        assert json_client("sqs", {**ENVIRONMENT, name: "x"}) is None, name


def test_a_shared_configuration_file_is_left_to_botocore(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert json_client("sqs", ENVIRONMENT) is not None
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").touch()
    assert json_client("sqs", ENVIRONMENT) is None


# https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
SET_BY_LAMBDA = (
    "_HANDLER _X_AMZN_TRACE_ID AWS_DEFAULT_REGION AWS_REGION AWS_EXECUTION_ENV AWS_LAMBDA_FUNCTION_NAME "
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE AWS_LAMBDA_FUNCTION_VERSION AWS_LAMBDA_INITIALIZATION_TYPE "
    "AWS_LAMBDA_LOG_GROUP_NAME AWS_LAMBDA_LOG_STREAM_NAME AWS_ACCESS_KEY AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY "
    "AWS_SESSION_TOKEN AWS_LAMBDA_RUNTIME_API LAMBDA_TASK_ROOT LAMBDA_RUNTIME_DIR LANG PATH LD_LIBRARY_PATH NODE_PATH "
    "PYTHONPATH AWS_XRAY_CONTEXT_MISSING AWS_XRAY_DAEMON_ADDRESS TZ"
)


def test_what_lambda_sets_is_all_known() -> None:
    environment = {**dict.fromkeys(SET_BY_LAMBDA.split(), "x"), **ENVIRONMENT}
    assert None not in [json_client(service, environment) for service in SERVICES]


def test_every_other_service_is_left_to_botocore() -> None:
    assert json_client("s3", ENVIRONMENT) is None


# Answers


def wire(shape: Shape, depth: int = 3) -> st.SearchStrategy[Any]:
    """What a service may send for a shape of botocore's model."""
    if isinstance(shape, StructureShape):
        members = {name: st.none() | wire(member, depth - 1) for name, member in shape.members.items() if depth > 0}
        if shape.name == "AttributeValue":
            # It has exactly one.
            kinds_left = shape.members if depth > 0 else ("S", "N", "B")
            members = {name: wire(shape.members[name], depth - 1) for name in kinds_left}
            return st.sampled_from(sorted(members)).flatmap(lambda name: st.fixed_dictionaries({name: members[name]}))
        return st.fixed_dictionaries({}, optional=members)
    if isinstance(shape, ListShape):
        return st.lists(wire(shape.member, depth - 1), max_size=2)
    if isinstance(shape, MapShape):
        # An attribute may be called as a kind of value is; a table has a name of three characters at least.
        tricky = ["B", "BS", "M", "BinaryValue", "BinaryListValues"]
        names = st.sampled_from(["orders", *(tricky if isinstance(shape.value, StructureShape) else [])])
        return st.dictionaries(names, wire(shape.value, depth - 1), max_size=3)
    kinds: Mapping[str, st.SearchStrategy[Any]] = {
        "blob": st.binary(max_size=5).map(lambda each: base64.b64encode(each).decode()),
        "boolean": st.booleans(),
        "integer": st.integers(),
        "double": st.floats(allow_nan=False, allow_infinity=False),
        "timestamp": st.nothing(),
    }
    return kinds.get(shape.type_name, texts)


def parsed_by_botocore(name: str, status: int, headers: Mapping[str, str], content: bytes) -> Any:
    service, _, operation = name.partition(":")
    shape = BOTOCORES[service].meta.service_model.operation_model(operation).output_shape
    response = {"status_code": status, "headers": headers, "body": content}
    return parsers.create_parser("json").parse(response, shape or StructureShape("None", {"type": "structure"}))


@pytest.mark.parametrize("name", OPERATIONS)
@settings(deadline=None)
@given(st.data())
def test_an_answer_is_read_as_botocore_reads_it(name: str, data: st.DataObject) -> None:
    service, _, operation = name.partition(":")
    shape = BOTOCORES[service].meta.service_model.operation_model(operation).output_shape
    content = json.dumps(data.draw(wire(shape) if shape else st.just({}))).encode()
    headers = {"x-amzn-requestid": "r", "content-type": "application/x-amz-json-1.0"}
    assert read_answer(SERVICES[service], 200, headers, content) == parsed_by_botocore(name, 200, headers, content)


error_bodies = st.fixed_dictionaries(
    {},
    optional={
        "__type": st.sampled_from(
            ["ThrottlingException", "com.amazonaws.dynamodb.v20120810#ValidationException", "A#B:http://internal/"]
        ),
        "message": texts,
        "Message": texts,
        "Item": st.just({"id": {"S": "a"}}),
    },
).map(lambda body: json.dumps(body).encode())
pages = st.sampled_from([b"", b" ", b"<html>503</html>", b"<!DOCTYPE html>", b"upstream timed out", b'{"__type": "Thr'])
errors_of_sqs = st.sampled_from(["", "AWS.SimpleQueueService.NonExistentQueue;Sender", "A;", ";B", "A;B;C", "A"])


@settings(deadline=None)
@given(st.sampled_from([301, 400, 403, 404, 413, 429, 500, 502, 503]), error_bodies | pages, errors_of_sqs)
def test_an_error_is_read_as_botocore_reads_it(status: int, content: bytes, of_sqs: str) -> None:
    headers = {"x-amzn-requestid": "r", **({"x-amzn-query-error": of_sqs} if of_sqs else {})}
    ours = read_answer(SERVICES["sqs"], status, headers, content)
    theirs = parsed_by_botocore("sqs:SendMessageBatch", status, headers, content)
    # botocore forgets the id of a request that was answered with a page.
    theirs["ResponseMetadata"].setdefault("RequestId", "r")
    assert ours == theirs


@pytest.mark.parametrize("content", [b"", b"<html>maintenance</html>", b'{"Successful": [', b"null"])
def test_an_answer_that_is_no_json_has_no_members_as_in_botocore(content: bytes) -> None:
    ours = read_answer(SERVICES["sqs"], 200, {}, content)
    assert ours == {"ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}
    if content != b"null":  # which botocore raises an AttributeError for
        assert ours == parsed_by_botocore("sqs:SendMessageBatch", 200, {}, content)


def test_numbers_keep_their_digits() -> None:
    digits = "1234567890123456789012345678901234567.8"
    answer = read_answer(SERVICES["dynamodb"], 200, {}, json.dumps({"Item": {"n": {"N": digits}}}).encode())
    assert Decimal(answer["Item"]["n"]["N"]) == Decimal(digits)


def test_the_client_stays_small() -> None:
    assert len((ROOT / "handlers/shared/aws_json.py").read_text().splitlines()) <= 300
