"""The api variant from request to stored result."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest

from tests.graphs import SAMPLES

from .conftest import Client, Start


def test_an_event_goes_from_the_request_to_its_stored_result(dev: Client) -> None:
    status, answer = dev.post({"data": "test payload"})
    assert (status, answer["status"], answer["duplicate"]) == (202, "queued", False)
    shown = dev.finished(answer["id"])
    assert (shown["status"], shown["attempts"]) == ("succeeded", 1)
    with urllib.request.urlopen(shown["result_url"]) as result:
        assert json.load(result) == {"echo": {"data": "test payload"}, "fields": 1}
    assert dev.request("GET", "/events?limit=1")[1]["events"][0]["id"] == answer["id"]
    assert dev.request("GET", "/health") == (200, {"status": "ok"})


def test_every_accepted_event_of_a_load_succeeds_and_none_twice(dev: Client) -> None:
    before = set(dev.items())

    def batch(number: int) -> list[str]:
        status, answer = dev.post([{"batch": number, "event": event} for event in range(100)])
        assert (status, answer["accepted"]) == (202, 100)
        return [result["id"] for result in answer["results"]]

    def single(number: int) -> list[str]:
        status, answer = dev.post({"single": number})
        assert status == 202
        return [answer["id"]]

    with ThreadPoolExecutor(8) as pool:
        sent = [*pool.map(batch, range(20)), *pool.map(single, range(500))]
    ids = {event_id for part in sent for event_id in part}
    assert len(ids) == 2_500

    def states() -> Counter[str]:
        return Counter(item["status"] for event_id, item in dev.items().items() if event_id in ids)

    dev.until(lambda: not states().keys() - {"succeeded", "failed"})
    assert states() == {"succeeded": 2_500}
    assert set(dev.items()) - before == ids
    results = Counter(key.rsplit("/", 1)[1].removesuffix(".json") for key in dev.objects("results/"))
    assert {event_id: results[event_id] for event_id in ids} == dict.fromkeys(ids, 1)


def test_one_key_from_twenty_threads_is_one_event_with_one_result(dev: Client) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: dev.post({"n": 1}, {"Idempotency-Key": "twenty"}), range(20)))
    assert {status for status, _ in answers} == {202}
    (event_id,) = {answer["id"] for _, answer in answers}
    assert [answer["duplicate"] for _, answer in answers].count(False) == 1
    assert dev.finished(event_id)["status"] == "succeeded"
    assert len([key for key in dev.objects("results/") if event_id in key]) == 1


def test_a_poison_message_ends_with_the_dead_letters_its_neighbours_succeed_and_one_alert_is_published(
    dev: Client,
) -> None:
    inbox = dev.inbox()
    ids = [result["id"] for result in dev.post([{"n": n} for n in range(5)])[1]["results"]]
    dev.aws("sqs").send_message(QueueUrl=dev.outputs["queue_url"], MessageBody="poison")
    ids += [result["id"] for result in dev.post([{"n": n} for n in range(5)])[1]["results"]]
    assert {dev.finished(event_id)["status"] for event_id in ids} == {"succeeded"}
    dev.until(lambda: dev.depth(dev.outputs["dead_letter_queue_url"]) == 1)
    (letter,) = dev.aws("sqs").receive_message(
        QueueUrl=dev.outputs["dead_letter_queue_url"],
        AttributeNames=["ApproximateReceiveCount"],
    )["Messages"]
    assert letter["Body"] == "poison"
    (alert,) = dev.aws("sqs").receive_message(QueueUrl=inbox, MaxNumberOfMessages=10)["Messages"]
    assert json.loads(json.loads(alert["Body"])["Message"])["failed"] == 1


def test_a_report_on_demand_counts_what_was_sent(dev: Client) -> None:
    results = dev.post([{"event_type": "counted", "n": n} for n in range(7)])[1]["results"]
    for result in results:
        dev.finished(result["id"])
    environment = {**os.environ, **dev.up.environment(), "PIPELINE_OUTPUTS": json.dumps(dev.outputs)}
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", "report", "--json", "--since", "2h"]
    done = subprocess.run(command, env=environment, cwd=SAMPLES, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    assert report["by_type"]["counted"] == {"queued": 0, "retrying": 0, "succeeded": 7, "failed": 0}
    assert report["latency_ms"]["p50"] > 0
    assert report["complete"] is True


def test_workers_that_are_killed_at_random_lose_and_double_nothing(start: Start) -> None:
    with start(worker={"max_attempts": 100}) as client:
        # A dead function's messages come back after the visibility timeout: three minutes are long for a test.
        client.aws("sqs").set_queue_attributes(
            QueueUrl=client.outputs["queue_url"], Attributes={"VisibilityTimeout": "2"}
        )
        ids: list[str] = []
        killed: list[int] = []
        chance = random.Random(7)  # noqa: S311  a seed, so that the times are the same each time
        for number in range(12):
            answer = client.post([{"n": number, "m": m} for m in range(30)])[1]
            ids += [result["id"] for result in answer["results"]]
            time.sleep(chance.uniform(0.05, 0.4))
            killed += kill_workers(client, "pipeline-worker")
        assert killed, "no worker was there to be killed"
        assert {client.finished(event_id)["status"] for event_id in ids} == {"succeeded"}
        results = Counter(key.rsplit("/", 1)[1].removesuffix(".json") for key in client.objects("results/"))
        assert results == dict.fromkeys(ids, 1)
        client.until(lambda: client.depth(client.outputs["queue_url"]) == 0)


def kill_workers(client: Client, function: str) -> list[int]:
    """Ends the processes that run a function, as hard as can be."""
    folder = client.up.emulator.folder
    listing = subprocess.run(["ps", "-ewwo", "pid,args"], capture_output=True, text=True, check=True).stdout
    killed = []
    for line in listing.splitlines():
        if f"{folder}/tmp/ministack-lambda-{function}" in line:
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)
                killed.append(int(line.split()[0]))
    return killed


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (None, 400),
        (b"null", 400),
        (b"[]", 400),
        (b'"text"', 400),
        (b'{"a": ', 400),
        (b'{"a": NaN}', 400),
        (b"[" * 10_000 + b"]" * 10_000, 400),
        (b"\xff\xfe", 400),
        (json.dumps({"a": "x" * 2_000_000}).encode(), 413),
        (json.dumps([{}] * 501).encode(), 413),
        (b'{"idempotency_key": 5}', 400),
    ],
)
def test_bad_bodies_are_refused_with_the_documented_body(dev: Client, raw: bytes | None, status: int) -> None:
    answered, body = dev.request("POST", "/events", raw=raw)
    assert answered == status
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "details"}


def test_a_route_that_is_none_is_answered_by_the_gateway(dev: Client) -> None:
    assert dev.request("GET", "/nowhere") == (404, {"message": "Not Found"})
    assert dev.request("DELETE", "/events") == (404, {"message": "Not Found"})


def test_a_long_key_and_a_header_with_control_characters_are_refused(dev: Client) -> None:
    assert dev.post({"a": 1}, {"Idempotency-Key": "k" * 10_000})[0] == 400
    url = urlsplit(dev.outputs["api_url"])
    assert url.hostname
    request = (
        f"POST {url.path}/events HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n"
        "X-Correlation-Id: a\x01b\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    )
    with socket.create_connection((url.hostname, url.port or 80)) as connection:
        connection.sendall(request.encode("latin-1"))
        answer = connection.makefile("rb").readline()
    assert answer.split()[1] == b"400"


EMPTY = {
    "messages": [],
    "not_matching": 0,
    "by_error": {},
    "remaining": 0,
    "complete": True,
    "hidden": 0,
    "held_back": False,
}


def test_a_rest_api_with_keys_serves_the_same_events_and_nobody_without_a_key(start: Start) -> None:
    with start(api={"kind": "rest", "auth": "api_key"}, queue={"redrive_api": {}}) as client:
        assert client.outputs["api_url"].endswith("/v1")
        assert client.request("GET", "/health")[0] == 200
        assert client.post({"n": 1})[0] == 403
        key = client.aws("apigateway").get_api_key(apiKey=client.outputs["api_key_id"], includeValue=True)["value"]
        headers = {"x-api-key": key}
        status, answer = client.post({"n": 1}, headers)
        assert status == 202

        def done() -> Any:
            return client.request("GET", f"/events/{answer['id']}", headers=headers)[1]["status"] == "succeeded"

        client.until(done)
        assert len(client.request("GET", "/events", headers=headers)[1]["events"]) == 1
        assert client.post([1], headers)[0] == 400
        status, refusal = client.request("GET", "/nowhere", headers=headers)
        assert (status, refusal["error"]["code"]) == (403, "MISSING_AUTHENTICATION_TOKEN")
        # Redrive wants a signature and no key.
        assert client.request("GET", "/redrive/preview", headers=headers)[0] == 403
        assert client.request("POST", "/redrive/start", {}, headers)[0] == 403
        assert client.signed("GET", "/redrive/preview?max_messages=1") == (200, EMPTY)


def test_untracked_events_with_inline_results_and_an_archive_flow_too(start: Start) -> None:
    config = {
        "api": {"track": False, "schemas": "schemas/order.json"},
        "worker": {"processor": "processors.orders:process"},
        "storage": {"results": "inline", "archive": {}, "time_index": False},
    }
    with start(**config) as client:
        order = {"orderId": "A-17", "lines": [{"sku": "tea", "quantity": 2, "unit_price": "3.50"}]}
        status, answer = client.post(order, {"Idempotency-Key": "A-17"})
        assert status == 202
        shown = client.until(lambda: (now := client.shown(answer["id"])).get("status") == "succeeded" and now)
        repeat = client.post(order, {"Idempotency-Key": "A-17"})
        assert repeat == (202, {"id": answer["id"], "status": "succeeded", "duplicate": True})
        assert shown["result"] == {"order_id": "A-17", "net": "7.00", "tax": "1.33", "total": "8.33", "lines": 1}
        client.until(lambda: client.objects("archive/"))
        assert client.post({"orderId": "", "amount": "nan"})[0] == 400
        assert client.request("GET", "/events")[0] == 404
        assert client.objects("results/") == []


def test_functions_that_are_kept_ready_run_as_the_version_that_their_alias_names(start: Start) -> None:
    with start(api={"snap_start": True}, worker={"provisioned_concurrency": 2}) as client:
        broken = BytesIO()
        with ZipFile(broken, "w") as archive:
            archive.writestr("handlers/none.py", "")
        for function in client.up.engine.functions:
            # What is not published is not run.
            client.aws("lambda").update_function_code(FunctionName=function.name, ZipFile=broken.getvalue())
        status, answer = client.post({"n": 1})
        assert status == 202
        assert client.finished(answer["id"])["status"] == "succeeded"
