"""The patches: policies have the same effect in the emulator as on AWS."""

import io
import json
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from local.emulator import Emulator, Keys
from local.services import Clients
from tests.processes import happens

Allow = list[tuple[str, str]]


@pytest.fixture
def client_that_may(emulator: Emulator, aws: Clients) -> Callable[..., Any]:
    """`client_that_may("sqs", [(action, resource)])`: a client of a user with this policy."""
    return lambda service, allowed: _client(emulator, aws, service, allowed)


def _client(emulator: Emulator, aws: Clients, service: str, allowed: Allow) -> Any:
    user = f"user-{uuid.uuid4().hex}"
    aws("iam").create_user(UserName=user)
    if allowed:
        statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in allowed]
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        aws("iam").put_user_policy(UserName=user, PolicyName="own", PolicyDocument=document)
    key = aws("iam").create_access_key(UserName=user)["AccessKey"]
    return Clients(emulator, Keys(key["AccessKeyId"], key["SecretAccessKey"]))(service)


@contextmanager
def _denied() -> Iterator[None]:
    with pytest.raises(ClientError) as raised:
        yield
    assert raised.value.response["Error"]["Code"] in ("AccessDenied", "AccessDeniedException")


@pytest.fixture
def table(aws: Clients) -> str:
    name = f"table-{uuid.uuid4().hex}"
    aws("dynamodb").create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    return name


@pytest.fixture
def queue(aws: Clients) -> str:
    url: str = aws("sqs").create_queue(QueueName=f"queue-{uuid.uuid4().hex}")["QueueUrl"]
    return url


STATEMENTS = {
    "dynamodb:PartiQLInsert": """INSERT INTO "{table}" VALUE {{'id': 'x'}}""",
    "dynamodb:PartiQLUpdate": """UPDATE "{table}" SET "status" = 'a' WHERE "id" = 'one' AND "status" <> 'b'""",
    "dynamodb:PartiQLDelete": """DELETE FROM "{table}" WHERE "id" = 'one'""",
    "dynamodb:PartiQLSelect": """SELECT * FROM "{table}" WHERE "id" = 'one'""",
}


@pytest.mark.parametrize("action", STATEMENTS)
@pytest.mark.parametrize("batch", [False, True])
def test_a_statement_needs_the_action_of_its_kind_on_its_table(
    client_that_may: Callable[..., Any],
    aws: Clients,
    table: str,
    action: str,
    batch: bool,  # noqa: FBT001
) -> None:
    aws("dynamodb").put_item(TableName=table, Item={"id": {"S": "one"}, "status": {"S": "a"}})
    arn = aws.arn("dynamodb", f"table/{table}")
    statement = STATEMENTS[action].format(table=table)

    def run(client: Any) -> None:
        if batch:
            answer = client.batch_execute_statement(Statements=[{"Statement": statement}])
            assert "Error" not in answer["Responses"][0]
        else:
            client.execute_statement(Statement=statement)

    others = [(other, arn) for other in STATEMENTS if other != action]
    with _denied():
        run(client_that_may("dynamodb", others))
    with _denied():
        run(client_that_may("dynamodb", [(action, f"{arn}-other")]))
    run(client_that_may("dynamodb", [(action, arn)]))


def test_each_statement_of_a_batch_is_authorised(client_that_may: Callable[..., Any], aws: Clients, table: str) -> None:
    may_insert = client_that_may("dynamodb", [("dynamodb:PartiQLInsert", aws.arn("dynamodb", f"table/{table}"))])
    statements = [
        {"Statement": STATEMENTS[f"dynamodb:PartiQL{kind}"].format(table=table)} for kind in ("Insert", "Delete")
    ]
    with _denied():
        may_insert.batch_execute_statement(Statements=statements)
    assert aws("dynamodb").scan(TableName=table)["Items"] == []


def test_a_batch_of_messages_needs_the_action_of_one(
    client_that_may: Callable[..., Any],
    aws: Clients,
    queue: str,
) -> None:
    arn = aws.arn("sqs", queue.rpartition("/")[2])
    entries = [{"Id": "1", "MessageBody": "x"}]
    with _denied():
        client_that_may("sqs", [("sqs:ReceiveMessage", arn)]).send_message_batch(QueueUrl=queue, Entries=entries)
    sent = client_that_may("sqs", [("sqs:SendMessage", arn)]).send_message_batch(QueueUrl=queue, Entries=entries)
    assert [each["Id"] for each in sent["Successful"]] == ["1"]
    message = aws("sqs").receive_message(QueueUrl=queue)["Messages"][0]
    entry = {"Id": "1", "ReceiptHandle": message["ReceiptHandle"]}
    may_change = client_that_may("sqs", [("sqs:ChangeMessageVisibility", arn)])
    changed = may_change.change_message_visibility_batch(QueueUrl=queue, Entries=[{**entry, "VisibilityTimeout": 30}])
    assert [each["Id"] for each in changed["Successful"]] == ["1"]
    with _denied():
        may_change.delete_message_batch(QueueUrl=queue, Entries=[entry])
    deleted = client_that_may("sqs", [("sqs:DeleteMessage", arn)]).delete_message_batch(QueueUrl=queue, Entries=[entry])
    assert [each["Id"] for each in deleted["Successful"]] == ["1"]


@pytest.mark.parametrize("action", ["Get", "Update", "Delete"])
def test_an_event_source_mapping_needs_the_action_of_its_kind_on_that_mapping(
    client_that_may: Callable[..., Any],
    aws: Clients,
    queue: str,
    action: str,
) -> None:
    source = aws.arn("sqs", queue.rpartition("/")[2])
    function = _function(aws, "def handler(event, context): ...")
    mapping = aws("lambda").create_event_source_mapping(EventSourceArn=source, FunctionName=function, Enabled=False)[
        "UUID"
    ]

    def act(client: Any) -> Any:
        return getattr(client, f"{action.lower()}_event_source_mapping")(UUID=mapping)["UUID"]

    name = f"lambda:{action}EventSourceMapping"
    others = [(f"lambda:{each}EventSourceMapping", "*") for each in ("Get", "Update", "Delete") if each != action]
    for allowed in (others, [(name, aws.arn("lambda", "event-source-mapping:another"))]):
        with _denied():
            act(client_that_may("lambda", allowed))
    assert act(client_that_may("lambda", [(name, aws.arn("lambda", f"event-source-mapping:{mapping}"))])) == mapping


def test_a_layer_comes_before_the_sdk_of_the_runtime(aws: Clients, tmp_path: Path) -> None:
    (tmp_path / "six.py").write_text("__version__ = 'of the layer'")
    link = f"python/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages/own.pth"
    layer = aws("lambda").publish_layer_version(LayerName="own", Content={"ZipFile": _zip(link, str(tmp_path))})
    code = "import six, urllib3\ndef handler(event, context):\n    return six.__version__"
    function = _function(aws, code, Layers=[layer["LayerVersionArn"]])
    assert json.load(aws("lambda").invoke(FunctionName=function)["Payload"]) == "of the layer"


# Waits until five have begun, so that as many run at once as may.
CROWD = """
import os, time
def handler(event, context):
    name = event["Records"][0]["messageId"]
    begun = f"{folder}/{{name}}.running"
    open(begun, "w").close()
    until = time.monotonic() + 30
    while len(os.listdir("{folder}")) < 5 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    running = sum(each.endswith(".running") for each in os.listdir("{folder}"))
    os.rename(begun, f"{folder}/{{name}}.beside-{{running}}")
"""


def test_five_batches_of_a_queue_are_processed_at_once_whatever_its_mapping_allows(
    aws: Clients, queue: str, tmp_path: Path
) -> None:
    """The circuit breaker changes what the mapping allows while the pipeline runs."""
    function = _function(aws, CROWD.format(folder=tmp_path), Timeout=60)
    source = aws.arn("sqs", queue.rpartition("/")[2])
    mapping = aws("lambda").create_event_source_mapping(FunctionName=function, EventSourceArn=source, BatchSize=1)
    aws("lambda").update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": 50})
    for name in range(12):
        aws("sqs").send_message(QueueUrl=queue, MessageBody=str(name))

    def done() -> list[int]:
        return [int(path.suffix.rpartition("-")[2]) for path in tmp_path.glob("*.beside-*")]

    assert happens(lambda: len(done()) == 12, 60)
    assert max(done()) == 5


FRAIL = """
import os, time
if os.path.exists("{folder}/busy"):
    os._exit(1)
def handler(event, context):
    open("{folder}/busy", "w").close()
    while not os.path.exists("{folder}/go"):
        time.sleep(0.05)
    return "done"
"""


def test_a_process_that_does_not_start_leaves_the_others_alone(aws: Clients, tmp_path: Path) -> None:
    function = _function(aws, FRAIL.format(folder=tmp_path), Timeout=60)

    def invoke() -> Any:
        return json.load(aws("lambda").invoke(FunctionName=function)["Payload"])

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(invoke)
        try:
            assert happens((tmp_path / "busy").exists, 30)
            assert "exited immediately" in invoke()["errorMessage"]
        finally:
            (tmp_path / "go").touch()
        assert first.result() == "done"


def _function(aws: Clients, code: str, **more: Any) -> str:
    role = aws("iam").create_role(RoleName=f"role-{uuid.uuid4().hex}", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    name: str = aws("lambda").create_function(
        FunctionName=f"function-{uuid.uuid4().hex}",
        Runtime="python3.13",
        Handler="code.handler",
        Role=role,
        Code={"ZipFile": _zip("code.py", code)},
        **more,
    )["FunctionName"]
    return name


def _zip(name: str, text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr(name, text)
    return archive.getvalue()


def test_a_queue_that_requires_tls_accepts_messages_from_this_machine(
    client_that_may: Callable[..., Any],
    aws: Clients,
    queue: str,
) -> None:
    arn = aws.arn("sqs", queue.rpartition("/")[2])

    def refuse(value: str) -> None:
        statement = {
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sqs:*",
            "Resource": arn,
            "Condition": {"Bool": {"aws:SecureTransport": value}},
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        aws("sqs").set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})

    client = client_that_may("sqs", [("sqs:SendMessage", arn)])
    refuse("false")
    client.send_message(QueueUrl=queue, MessageBody="x")
    assert [message["Body"] for message in aws("sqs").receive_message(QueueUrl=queue)["Messages"]] == ["x"]
    # The opposite policy shows that it is evaluated.
    refuse("true")
    with _denied():
        client.send_message(QueueUrl=queue, MessageBody="x")


def test_an_object_that_is_gone_is_forbidden_to_who_may_not_list_the_bucket(
    client_that_may: Callable[..., Any], aws: Clients
) -> None:
    bucket = f"bucket-{uuid.uuid4().hex}"
    aws("s3").create_bucket(Bucket=bucket)
    aws("s3").put_object(Bucket=bucket, Key="there")
    reads = [("s3:GetObject", f"arn:aws:s3:::{bucket}/*")]
    lists = [("s3:ListBucket", f"arn:aws:s3:::{bucket}")]
    for allowed, code in ((reads, "403"), (reads + lists, "404")):
        client = client_that_may("s3", allowed)
        client.head_object(Bucket=bucket, Key="there")
        with pytest.raises(ClientError) as raised:
            client.head_object(Bucket=bucket, Key="gone")
        assert raised.value.response["Error"]["Code"] == code
        with pytest.raises(ClientError) as raised:
            client.get_object(Bucket=bucket, Key="gone")
        assert raised.value.response["Error"]["Code"] == {"403": "AccessDenied", "404": "NoSuchKey"}[code]


def test_wildcards_match_line_breaks_in_keys(client_that_may: Callable[..., Any], aws: Clients) -> None:
    bucket = f"bucket-{uuid.uuid4().hex}"
    aws("s3").create_bucket(Bucket=bucket)

    def put(key: str, pattern: str) -> None:
        client = client_that_may("s3", [("s3:PutObject", f"arn:aws:s3:::{bucket}/{pattern}")])
        client.put_object(Bucket=bucket, Key=key)

    put("a/b\nc", "a/*")
    put("a/b\nc", "a/b?c")
    for key, pattern in (("a/b\n", "a/b"), ("a/b\nc\n", "a/b?c"), ("\na/b", "a/*")):
        with _denied():
            put(key, pattern)
    assert [each["Key"] for each in aws("s3").list_objects_v2(Bucket=bucket)["Contents"]] == ["a/b\nc"]


def test_decisions_are_recorded_when_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "decisions.jsonl"
    with Emulator(iam_log=log) as emulator:
        aws = Clients(emulator)
        url = aws("sqs").create_queue(QueueName="main")["QueueUrl"]
        client = _client(emulator, aws, "sqs", [("sqs:SendMessage", aws.arn("sqs", "main"))])
        client.send_message(QueueUrl=url, MessageBody="x")
        with _denied():
            client.receive_message(QueueUrl=url)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    decisions = [(line["action"], line["resource"], line["allowed"]) for line in lines if ":user/" in line["principal"]]
    arn = "arn:aws:sqs:us-east-1:000000000000:main"
    assert decisions == [("sqs:SendMessage", arn, True), ("sqs:ReceiveMessage", arn, False)]


def test_the_target_of_a_schedule_gets_the_scheduled_time(aws: Clients, queue: str) -> None:
    arn = aws("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    moment = datetime.now(UTC)
    aws("scheduler").create_schedule(
        Name=f"schedule-{uuid.uuid4().hex}",
        ScheduleExpression=f"at({moment:%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target={
            "Arn": arn,
            "RoleArn": "arn:aws:iam::000000000000:role/any",
            "Input": '{"at": "<aws.scheduler.scheduled-time>"}',
        },
    )
    (message,) = aws("sqs").receive_message(QueueUrl=queue, WaitTimeSeconds=20)["Messages"]
    scheduled = datetime.fromisoformat(json.loads(message["Body"])["at"])
    assert abs(scheduled - moment) < timedelta(seconds=5)


def test_a_request_for_a_parameter_by_arn_is_authorised_on_that_arn(
    aws: Clients, client_that_may: Callable[..., Any]
) -> None:
    name = uuid.uuid4().hex
    own, other = (aws.arn("ssm", f"parameter/{name}/{which}") for which in ("own", "other"))
    for which in ("own", "other"):
        aws("ssm").put_parameter(Name=f"/{name}/{which}", Type="SecureString", Value=which)
    reader = client_that_may("ssm", [("ssm:GetParameter", own)])
    assert reader.get_parameter(Name=own, WithDecryption=True)["Parameter"]["Value"] == "own"
    assert reader.get_parameter(Name=f"/{name}/own", WithDecryption=True)["Parameter"]["Value"] == "own"
    for refused in (other, f"/{name}/other"):
        with _denied():
            reader.get_parameter(Name=refused, WithDecryption=True)


def test_a_query_of_an_index_answers_as_if_it_had_looked_at_all_items(aws: Clients) -> None:
    client, name = aws("dynamodb"), f"table-{uuid.uuid4().hex}"
    key = [{"AttributeName": "day", "KeyType": "HASH"}, {"AttributeName": "time", "KeyType": "RANGE"}]
    client.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": each, "AttributeType": "S"} for each in ("id", "day", "time")],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        GlobalSecondaryIndexes=[
            {"IndexName": "by-day", "KeySchema": key, "Projection": {"ProjectionType": "KEYS_ONLY"}}
        ],
    )
    # In no order, with equal times, of two days, and one that is not in the index.
    items = [
        {"id": f"{number * 7 % 40:02}", "day": f"d{number % 2}", "time": f"{number // 3:02}"} for number in range(40)
    ]
    for item in [*items, {"id": "bare"}]:
        client.put_item(TableName=name, Item={each: {"S": value} for each, value in item.items()})

    def asked(**more: Any) -> list[str]:
        values = {":d": {"S": "d0"}, ":a": {"S": "02"}, ":b": {"S": "11"}}
        condition = "#d = :d AND #t BETWEEN :a AND :b"
        names = {"#d": "day", "#t": "time"}
        found: list[str] = []
        while True:
            answer = client.query(
                TableName=name,
                IndexName="by-day",
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ExpressionAttributeNames=names,
                **more,
            )
            found += [each["id"]["S"] for each in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return found
            more["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    wanted = sorted(
        (each["time"], each["id"]) for each in items if each["day"] == "d0" and "02" <= each["time"] <= "11"
    )
    ids = [each for _, each in wanted]
    for limit in (1, 2, 7, len(ids), 100):
        assert asked(Limit=limit) == ids, limit
        assert asked(Limit=limit, ScanIndexForward=False) == ids[::-1], limit
    # The sorted members follow what is put, moved to another partition or time, and deleted.
    first, second, third = ({"id": {"S": each}} for each in ids[:3])
    client.delete_item(TableName=name, Key=first)
    client.put_item(TableName=name, Item={**second, "day": {"S": "d1"}, "time": {"S": "05"}})
    client.update_item(
        TableName=name,
        Key=third,
        UpdateExpression="SET #t = :t",
        ExpressionAttributeNames={"#t": "time"},
        ExpressionAttributeValues={":t": {"S": "11"}},
    )
    client.put_item(TableName=name, Item={"id": {"S": "new"}, "day": {"S": "d0"}, "time": {"S": "02"}})
    changed = [("02", "new"), *((time, each) for time, each in wanted[3:]), ("11", ids[2])]
    assert asked(Limit=3) == [each for _, each in sorted(changed)]
