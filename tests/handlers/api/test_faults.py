"""Faults by mode, with a parameter store in memory."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.api.faults import Faults, InjectedFaultError, is_mode, kills
from handlers.processor import Context
from handlers.shared import aws


class Switch:
    """A parameter store and a clock."""

    def __init__(self, value: str) -> None:
        self.value = value
        self.reads = 0
        self.now = 1_000.0
        self.out = False

    def get_parameter(self, **request: str) -> Mapping[str, Any]:
        assert request == {"Name": "the-switch"}
        self.reads += 1
        if self.out:
            raise ClientError({"Error": {"Code": "ThrottlingException", "Message": ""}}, "GetParameter")
        return {"Parameter": {"Value": self.value}}


@pytest.fixture
def switch(monkeypatch: pytest.MonkeyPatch) -> Switch:
    switch = Switch("none")
    monkeypatch.setattr(aws, "client", {"ssm": switch}.__getitem__)
    return switch


def made(switch: Switch, mode: str = "none") -> Faults:
    switch.value = mode
    return Faults(
        "the-switch",
        chance=random.Random(7),  # noqa: S311
        clock=lambda: switch.now,
    )


def test_the_parameter_is_read_every_five_seconds(switch: Switch) -> None:
    injected = made(switch)
    for seconds in (0, 2, 4.9):
        switch.now = 1_000 + seconds
        assert injected.mode == "none"
    assert switch.reads == 1
    switch.value = "slow_downstream"
    switch.now = 1_005
    assert injected.mode == "slow_downstream"
    assert switch.reads == 2


@pytest.mark.parametrize(
    "value", ["", "slow", "random_fail_p", "random_fail_p0", "random_fail_p00", "random_fail_p101", "NONE"]
)
def test_an_invalid_mode_counts_as_none_and_is_logged(
    switch: Switch, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert not is_mode(value)
    assert made(switch, value).mode == "none"
    assert "not a mode" in caplog.text


@pytest.mark.parametrize(
    "value",
    [
        "none",
        "poison_payload",
        "slow_downstream",
        "out_of_memory",
        "duplicate_submit",
        "random_fail_p01",
        "random_fail_p99",
        "random_fail_p100",
    ],
)
def test_modes_are_recognised(value: str) -> None:
    assert is_mode(value)


def test_if_ssm_fails_nothing_is_injected_and_it_is_asked_again_after_a_minute(
    switch: Switch, caplog: pytest.LogCaptureFixture
) -> None:
    injected = made(switch, "random_fail_p100")
    switch.out = True
    assert injected.around(lambda event, _context: event)({"n": 1}, Context()) == {"n": 1}
    assert "could not be read" in caplog.text
    switch.now += 59
    assert (injected.mode, switch.reads) == ("none", 1)
    switch.out = False
    switch.now += 1
    assert injected.mode == "random_fail_p100"


def test_one_message_in_ten_is_poisoned_and_the_same_ones_each_time(switch: Switch) -> None:
    body = '{"id": "whole"}'
    ids = [f"message-{n}" for n in range(1_000)]
    injected = made(switch, "poison_payload")
    poisoned = [each for each in ids if injected.received(each, body) != body]
    assert 70 < len(poisoned) < 130
    assert poisoned == [each for each in ids if made(switch, "poison_payload").received(each, body) != body]
    assert [made(switch).received(each, body) for each in poisoned] == [body] * len(poisoned)


@pytest.mark.parametrize(("mode", "least", "most"), [("random_fail_p30", 250, 350), ("random_fail_p01", 1, 30)])
def test_the_given_share_of_attempts_fails(switch: Switch, mode: str, least: int, most: int) -> None:
    process = made(switch, mode).around(lambda event, _context: event["n"])
    failed = 0
    for number in range(1_000):
        try:
            assert process({"n": number}, Context()) == number
        except InjectedFaultError:
            failed += 1
    assert least <= failed <= most


def test_an_injected_failure_counts_as_an_outage() -> None:
    assert issubclass(InjectedFaultError, OSError)


def test_at_a_hundred_percent_every_attempt_fails(switch: Switch) -> None:
    process = made(switch, "random_fail_p100").around(lambda event, _context: event)
    for _ in range(200):
        with pytest.raises(InjectedFaultError, match="injected by random_fail_p100"):
            process({}, Context())


def test_one_event_in_a_hundred_kills_its_process_and_the_same_ones_each_time(
    switch: Switch, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))
    process = made(switch, "out_of_memory").around(lambda event, _context: event)
    ids = [f"event-{n}" for n in range(5_000)]
    for event_id in ids:
        before = len(killed)
        process({}, Context(id=event_id))
        assert (len(killed) > before) == kills(event_id)
    assert 25 < len(killed) < 75
    assert set(killed) == {(os.getpid(), signal.SIGKILL)}
    made(switch, "none").around(lambda event, _context: event)({}, Context(id=next(filter(kills, ids))))
    assert len(killed) == sum(map(kills, ids))


def test_a_slow_downstream_delays_every_answer(switch: Switch, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    process = made(switch, "slow_downstream").around(lambda event, _context: event["n"])
    assert [process({"n": number}, Context()) for number in range(100)] == list(range(100))
    assert len(slept) == 100
    assert 0.5 <= min(slept) < 0.7
    assert 2.8 < max(slept) <= 3
    made(switch, "none").around(lambda event, _context: event)({}, Context())
    assert len(slept) == 100


def test_only_duplicate_submit_sends_twice(switch: Switch) -> None:
    assert made(switch, "duplicate_submit").sends_twice
    assert not made(switch, "slow_downstream").sends_twice


def test_where_faults_are_off_their_code_is_not_even_imported() -> None:
    program = """
import sys
from handlers.api import ingest, worker
from handlers.api.settings import IngestSettings, WorkerSettings

common = dict(table_name="t", queue_url="q", results="inline", time_index_shards=1, items_expire_after_days=1)
own = dict(type_field="t", max_batch=1, max_depth=1, track=True, lost_after_seconds=1, deduplicate="key")
ingest.Ingest(IngestSettings(**common, **own), {})
limits = dict(max_attempts=1, backoff_base_seconds=1, backoff_maximum_seconds=1)
names = dict(dead_letter_queue_url="d", alerts_topic_arn="a", alerts_runbook="r", processor="p")
worker.Worker(WorkerSettings(**common, **limits, **names, archive=False), print, "s")
sys.exit("handlers.api.faults" in sys.modules)
"""
    environment = {"AWS_DEFAULT_REGION": "us-east-1", "PATH": ""}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=60)
