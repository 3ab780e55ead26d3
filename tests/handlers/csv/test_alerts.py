"""Alerts of a csv stack: few, and without a word of the uploader. The whole worker on moto."""

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote_plus

import pytest

from handlers.csv import file_table
from handlers.csv.columns import Column, FileFormat
from handlers.csv.worker import CsvWorker
from handlers.shared import aws
from tests.handlers.csv.test_run import SETTINGS, Clock

pytestmark = pytest.mark.usefixtures("aws_in_process")

MINUTE = 60
LURE = "your account is locked visit evil.example"


@dataclass
class Stack:
    """A worker, and what its topics delivered."""

    worker: CsvWorker
    queues: dict[str, str]
    now: float = 1_800_000_000
    sent: int = 0

    def send(self, body: str) -> None:
        self.sent += 1
        record = {
            "messageId": f"m{self.sent}",
            "receiptHandle": "r",
            "body": body,
            "attributes": {"ApproximateReceiveCount": "1"},
        }
        assert self.worker.handle([record], Clock(1_000)) == {"batchItemFailures": []}

    def upload(self, key: str, data: bytes) -> None:
        answer = aws.client("s3").put_object(Bucket="inputs", Key=key, Body=data)
        entity = {"key": quote_plus(key), "size": len(data), "eTag": answer["ETag"].strip('"')}
        self.send(json.dumps({"Records": [{"s3": {"bucket": {"name": "inputs"}, "object": entity}}]}))

    def received(self, name: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        sqs = aws.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self.queues[name], MaxNumberOfMessages=10).get("Messages"):
            found += messages
            for message in messages:
                sqs.delete_message(QueueUrl=self.queues[name], ReceiptHandle=message["ReceiptHandle"])
        return found

    def told(self, name: str) -> list[dict[str, Any]]:
        return [json.loads(message["Body"]) for message in self.received(name)]


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    sqs, sns = aws.client("sqs"), aws.client("sns")
    queues = {name: sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("in", "dead", "alerts", "files")}
    topics = {name: sns.create_topic(Name=name)["TopicArn"] for name in ("alerts", "files")}
    for name, topic in topics.items():
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=f"arn:aws:sqs:us-east-1:123456789012:{name}")
    for bucket in ("inputs", "outputs"):
        aws.client("s3").create_bucket(Bucket=bucket)
    aws.client("dynamodb").create_table(
        TableName="t",
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
    )
    settings = replace(
        SETTINGS,
        queue_url=queues["in"],
        dead_letter_queue_url=queues["dead"],
        alerts_topic_arn=topics["alerts"],
        notifications_topic_arn=topics["files"],
    )
    made = Stack(CsvWorker(settings, FileFormat((Column("a", required=True),)), "shop"), queues)
    monkeypatch.setattr(file_table, "time", SimpleNamespace(time=lambda: made.now))
    return made


def test_bad_files_cause_one_alert_a_reason_and_minute_and_all_else_is_for_each_file(stack: Stack) -> None:
    for number in range(3):
        stack.upload(f"raw/{number}.csv", b"")
        stack.upload(f"raw/{number + 10}.csv", b"b\n1\n")
    assert [alert["Subject"] for alert in stack.told("alerts")] == [
        "shop: a file failed: empty_file",
        "shop: a file failed: missing_columns",
    ]
    assert (len(stack.told("files")), len(stack.received("dead"))) == (6, 6)
    stack.now += MINUTE
    stack.upload("raw/later.csv", b"")
    (alert,) = stack.told("alerts")
    assert json.loads(alert["Message"])["file"]["reason"] == "empty_file"


def test_a_file_that_claimed_its_alert_and_died_sends_it_when_it_comes_back(stack: Stack) -> None:
    table = file_table.FileTable("t")
    assert [table.claim_alert("empty_file", claimant) for claimant in "aaba"] == [True, True, False, True]
    assert table.claim_alert("not_text", "b")
    stack.now += MINUTE
    assert [table.claim_alert("empty_file", claimant) for claimant in "ba"] == [True, False]
    # The clock of another machine is behind.
    stack.now -= MINUTE
    assert not table.claim_alert("empty_file", "a")


def test_messages_that_announce_no_file_cause_one_alert_a_minute(stack: Stack) -> None:
    for _ in range(3):
        stack.send(LURE)
    (alert,) = stack.told("alerts")
    assert json.loads(alert["Message"])["message"] == {"id": "m1"}
    assert len(stack.received("dead")) == 3


def test_no_word_of_an_uploader_is_in_an_alert_or_a_mail(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[dict[str, Any]] = []
    sns = aws.client("sns")
    publish = sns.publish

    def noted(**message: Any) -> Any:
        published.append(message)
        return publish(**message)

    monkeypatch.setattr(sns, "publish", noted)
    # In the name of the file, of a column and in a cell; of a file that fails and of one that does not.
    stack.upload(f"raw/{LURE}.csv", f"{LURE}\n{LURE}\n".encode())
    stack.upload(f"raw/{LURE}-2.csv", f"a,{LURE}\n,{LURE}\n".encode())
    stack.send(LURE)
    of_files, alerts = ([each for each in published if each["TopicArn"].endswith(name)] for name in ("files", "alerts"))
    assert (len(of_files), len(alerts)) == (2, 2)
    for message in of_files:
        texts = json.loads(message["Message"])
        assert LURE in texts["default"]
        assert texts["email"] == texts["email-json"] == texts["sms"]
        assert LURE not in message["Subject"] + texts["email"]
        assert json.loads(texts["email"])["file"]["id"] == json.loads(texts["default"])["file"]["id"]
    for message in alerts:
        assert LURE not in json.dumps(message)
    # A program gets the whole notice.
    assert [LURE in notice["Message"] for notice in stack.told("files")] == [True, True]
