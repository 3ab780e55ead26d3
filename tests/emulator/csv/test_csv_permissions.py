"""Each action of the worker's role is needed: without any one of them something breaks. And it is for there only.

What the redrive function needs: test_csv_redrive.py.

What Lambda does with the role itself, and not our code, cannot be seen in this process: tests/decisions.py.
"""

import gzip
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from unittest.mock import patch

import pytest

from handlers.csv import objects
from tests.decisions import LOGS, NOT_ASKED, POLLER, denied, recorded, unused
from tests.roles import Call, Role, not_refused

from .conftest import HEADER, Files, Time, rows

UNSEEN = POLLER | LOGS | NOT_ASKED

# Every statement of the role, and its actions that can be seen, in the order of components/variants/csv.py.
SEEN = [
    (0, "sqs:ChangeMessageVisibility"),
    (1, "sqs:SendMessage"),
    (2, "dynamodb:UpdateItem"),
    (2, "dynamodb:GetItem"),
    (3, "s3:GetObject"),
    (5, "s3:PutObject"),
    (5, "s3:AbortMultipartUpload"),
    (5, "s3:GetObject"),
    (6, "s3:PutObject"),
    (6, "s3:AbortMultipartUpload"),
    (6, "s3:GetObject"),
    (7, "s3:PutObject"),
    (8, "s3:PutObject"),
    (9, "s3:GetObject"),
    (10, "sns:Publish"),
    (11, "sns:Publish"),
    (13, "s3:DeleteObject"),
]


def role_of(files: Files) -> Role:
    return Role(files.root, files.environment["AWS_LAMBDA_FUNCTION_NAME"])


def it_does_all_it_does(files: Files) -> None:
    """A file of two runs whose second dies once, the same again, one that fails late. Raises AssertionError."""
    # Each output begins as an upload in parts, so that each has one to complete, to find completed, and to give up.
    files.upload("raw/good.csv", HEADER + rows(400))
    with role_of(files).acting():
        records = files.receive()
        assert files.deliver(records, Time(3)) == [records[0]["messageId"]]
        again = files.receive()
        assert again, "its visibility was not set"
        with suppress(KeyboardInterrupt), patch.object(objects, "put_report", side_effect=KeyboardInterrupt):
            files.deliver(again)
        files.show_again(again)
        files.drain(deliveries=6)
        assert files.item()["status"] == "succeeded"
        assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]
        assert len(files.lines("rejected/")) == 57
        assert files.item()["settled"]
        assert len(files.told()) == 1
        files.send(records[0]["body"])
        files.drain(deliveries=6)
        if files.environment["OUTPUT_VERSIONS"] == "latest":
            files.upload("raw/good.csv", HEADER + rows(7))
            files.drain(deliveries=6)
            assert len(files.lines("processed/")) == 6
            assert len(files.told()) == len(files.lines("rejected/")) == 1
        files.upload("raw/bad.csv", gzip.compress((HEADER + rows(4_000)).encode())[:-1_000])
        files.drain(deliveries=6)
    assert files.uploads() == []
    assert len(files.dead_letters()) == len(files.told("alerts")) == len(files.told()) == 1


@pytest.fixture(autouse=True)
def few_attempts(files: Files) -> None:
    files.settings = {"max_attempts": 3}


def test_the_lists_above_are_the_whole_grant(files: Files) -> None:
    assert [(position, action) for position, action in role_of(files).actions if action not in UNSEEN] == SEEN


def test_with_all_its_actions_the_worker_works_all_are_used_and_nothing_is_denied(
    files: Files, decisions: Path
) -> None:
    role = role_of(files)
    with recorded(decisions) as recording:
        it_does_all_it_does(files)
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == UNSEEN
    assert files.items()


@pytest.mark.parametrize(("position", "action"), SEEN)
def test_without_any_one_action_something_breaks(files: Files, position: int, action: str) -> None:
    with role_of(files).without(action, position), pytest.raises(AssertionError):
        it_does_all_it_does(files)


def a_file_whose_upload_is_lost(files: Files) -> None:
    """A file of two runs. When the second one is to complete the uploads that the first one began, they are gone.

    Only then S3 is asked whether the object is there, as an earlier run may have completed it.
    """
    complete = objects.ObjectWriter.finish
    lost: list[str] = []

    def finish(writer: objects.ObjectWriter, end: bytes = b"") -> bool:
        for upload in files.uploads() if not lost else ():
            lost.append(upload["Key"])
            files.root("s3").abort_multipart_upload(
                Bucket=files.outputs["output_bucket"], Key=upload["Key"], UploadId=upload["UploadId"]
            )
        return complete(writer, end)

    files.upload("raw/good.csv", HEADER + rows(400))
    records = files.receive()
    assert files.deliver(records, Time(3)) == [records[0]["messageId"]]
    files.show_again(records)
    with patch.object(objects.ObjectWriter, "finish", finish):
        files.drain(deliveries=8)
    assert lost


def test_with_these_rights_a_file_whose_upload_is_lost_is_read_again_from_its_start(files: Files) -> None:
    with role_of(files).acting():
        a_file_whose_upload_is_lost(files)
    assert files.item()["status"] == "succeeded"
    assert [row["quantity"] for row in files.lines("processed/")] == [n for n in range(400) if n % 7 != 6]
    assert len(files.lines("rejected/")) == 57
    assert files.uploads() == []


def test_without_the_right_to_list_the_bucket_s3_answers_403_and_the_file_is_given_up(files: Files) -> None:
    outputs = f":::{files.outputs['output_bucket']}"
    (position,) = (
        number
        for number, each in enumerate(role_of(files).document["Statement"])
        if each["Action"] == ["s3:ListBucket"] and each["Resource"][0].endswith(outputs)
    )
    with role_of(files).without("s3:ListBucket", position), role_of(files).acting():
        a_file_whose_upload_is_lost(files)
    assert (files.item()["status"], files.item()["reason"]) == ("failed", "gave_up")


@pytest.fixture
def elsewhere(files: Files) -> Iterator[Mapping[str, str]]:
    """Resources outside the stack: a bucket with an object, a table, a queue, a topic."""
    root, name = files.root, "test-elsewhere"
    root("s3").create_bucket(Bucket=name)
    root("s3").put_object(Bucket=name, Key="raw/a.csv", Body=b"theirs")
    root("dynamodb").create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    queue_url = root("sqs").create_queue(QueueName=name)["QueueUrl"]
    topic_arn = root("sns").create_topic(Name=name)["TopicArn"]
    yield {"bucket": name, "table": name, "queue_url": queue_url, "topic_arn": topic_arn}
    for found in root("s3").list_objects_v2(Bucket=name).get("Contents", []):
        root("s3").delete_object(Bucket=name, Key=found["Key"])
    root("s3").delete_bucket(Bucket=name)
    root("dynamodb").delete_table(TableName=name)
    root("sqs").delete_queue(QueueUrl=queue_url)
    root("sns").delete_topic(TopicArn=topic_arn)


def item(table: str) -> dict[str, object]:
    return {"TableName": table, "Key": {"id": {"S": "a"}}}


def reading(url: str) -> list[Call]:
    """What takes messages from a queue, and away."""
    return [
        ("sqs", "receive_message", {"QueueUrl": url}),
        ("sqs", "delete_message", {"QueueUrl": url, "ReceiptHandle": "a"}),
        ("sqs", "change_message_visibility", {"QueueUrl": url, "ReceiptHandle": "a", "VisibilityTimeout": 0}),
        ("sqs", "get_queue_attributes", {"QueueUrl": url}),
        ("sqs", "purge_queue", {"QueueUrl": url}),
    ]


def test_the_worker_may_do_nothing_elsewhere_than_where_it_is_granted(
    files: Files, elsewhere: Mapping[str, str]
) -> None:
    """Other prefixes, another bucket, table, queue and topic; and of its own what others do with them."""
    inputs, outputs, theirs = files.outputs["input_bucket"], files.outputs["output_bucket"], elsewhere["bucket"]
    queue, tables = files.outputs["queue_url"], (files.outputs["table_name"], elsewhere["table"])
    kept = [(inputs, "raw/a.csv"), (inputs, "other/a.csv"), (inputs, "rawer/a.csv"), (inputs, "a.csv")]
    kept += [(outputs, "reports/a"), (outputs, "other/a"), (outputs, "processed.csv"), (outputs, "raw/a.csv")]
    kept += [(theirs, "raw/a.csv")]
    for bucket, key in kept[1:]:
        files.root("s3").put_object(Bucket=bucket, Key=key, Body=b"theirs")
    files.upload("raw/a.csv", HEADER)
    objects = [{"Bucket": bucket, "Key": key} for bucket, key in kept]
    calls: list[Call] = [
        *(("s3", "get_object", each) for each in objects[1:]),
        # Its report it may write, and nothing that starts it.
        *(("s3", "put_object", {**each, "Body": b"mine"}) for each in objects if each["Key"] != "reports/a"),
        *(("s3", "create_multipart_upload", each) for each in objects if each["Key"] != "reports/a"),
        *(("s3", "abort_multipart_upload", {**each, "UploadId": "a"}) for each in objects),
        *(("s3", "delete_object", each) for each in [*objects, {"Bucket": outputs, "Key": "state/a"}]),
        ("s3", "list_objects_v2", {"Bucket": theirs}),
        *(("dynamodb", method, item(elsewhere["table"])) for method in ("get_item", "update_item")),
        *(("dynamodb", "delete_item", item(table)) for table in tables),
        *(("dynamodb", "put_item", {"TableName": table, "Item": {"id": {"S": "a"}}}) for table in tables),
        *(("dynamodb", "scan", {"TableName": table}) for table in tables),
        *(("sqs", "send_message", {"QueueUrl": url, "MessageBody": "a"}) for url in (queue, elsewhere["queue_url"])),
        *reading(files.outputs["dead_letter_queue_url"]),
        *reading(elsewhere["queue_url"]),
        ("sqs", "purge_queue", {"QueueUrl": queue}),
        ("sns", "publish", {"TopicArn": elsewhere["topic_arn"], "Message": "a"}),
        ("lambda", "invoke", {"FunctionName": files.redrive_environment["AWS_LAMBDA_FUNCTION_NAME"]}),
    ]
    with role_of(files).acting():
        assert not_refused(calls) == []
    for each in objects[1:]:
        assert files.root("s3").get_object(**each)["Body"].read() == b"theirs"


def test_the_redrive_function_may_do_nothing_elsewhere_than_where_it_is_granted(
    files: Files, elsewhere: Mapping[str, str]
) -> None:
    """It takes from the dead letters and gives to the queue, not the other way round, and touches no file."""
    inputs, outputs, dead_letters = (
        files.outputs[name] for name in ("input_bucket", "output_bucket", "dead_letter_queue_url")
    )
    tables = files.outputs["table_name"], elsewhere["table"]
    topics = *(files.outputs[f"{name}_topic_arn"] for name in ("alerts", "notifications")), elsewhere["topic_arn"]
    objects = [
        *({"Bucket": inputs, "Key": key} for key in ("raw/a.csv", "a")),
        *({"Bucket": outputs, "Key": key} for key in ("processed/a", "rejected/a", "reports/a", "state/a")),
        {"Bucket": elsewhere["bucket"], "Key": "raw/a.csv"},
    ]
    calls: list[Call] = [
        *reading(files.outputs["queue_url"]),
        *reading(elsewhere["queue_url"]),
        *(
            ("sqs", "send_message", {"QueueUrl": url, "MessageBody": "a"})
            for url in (dead_letters, elsewhere["queue_url"])
        ),
        ("sqs", "purge_queue", {"QueueUrl": dead_letters}),
        ("dynamodb", "get_item", item(elsewhere["table"])),
        *(("dynamodb", method, item(name)) for method in ("update_item", "delete_item") for name in tables),
        *(("dynamodb", "scan", {"TableName": name}) for name in tables),
        *(("s3", "get_object", each) for each in objects),
        *(("s3", "put_object", {**each, "Body": b"mine"}) for each in objects),
        *(("s3", "delete_object", each) for each in objects),
        *(("s3", "list_objects_v2", {"Bucket": bucket}) for bucket in (inputs, outputs, elsewhere["bucket"])),
        *(("sns", "publish", {"TopicArn": arn, "Message": "a"}) for arn in topics),
        ("lambda", "invoke", {"FunctionName": files.environment["AWS_LAMBDA_FUNCTION_NAME"]}),
    ]
    with Role(files.root, files.redrive_environment["AWS_LAMBDA_FUNCTION_NAME"]).acting():
        assert not_refused(calls) == []
