"""The rooms' tables in memory, and their retries of throttled entries."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from handlers.csv.file_table import FileTable
from handlers.csv.files import DAY_INDEX
from handlers.iot.alerting import DeviceState
from handlers.iot.table import ReadingTable, StoredState
from handlers.shared import aws, dynamodb
from handlers.shared.dynamodb import TableError, plain, typed
from tests.memory_table import MemoryDynamoDB, MemoryTable
from tests.table_scenarios import (
    EVENTS,
    FILES,
    READINGS,
    SCENARIOS,
    claimed,
    envelopes,
    events,
    of_key,
    readings,
    succeeded,
)


@pytest.fixture
def memory(aws_in_process: None) -> Iterator[MemoryDynamoDB]:  # noqa: ARG001  credentials and a region
    made = MemoryDynamoDB(
        **{
            EVENTS: MemoryTable(("id",), {"by-time": ("day_shard", "time_key")}),
            FILES: MemoryTable(("id",), {DAY_INDEX: ("day", "status_time")}),
            READINGS: MemoryTable(
                ("device_id", "time_key"),
                {"by-device": ("device_shard", "device_id"), "by-due-at": ("device_shard", "due_at")},
            ),
        }
    )
    with made.answering():
        yield made


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between retries, which take no time here."""
    made: list[float] = []
    monkeypatch.setattr(time, "sleep", made.append)
    # One call at a time, so that calls have an order.
    monkeypatch.setattr(aws, "CALLS_AT_ONCE", 1)
    return made


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
@pytest.mark.usefixtures("memory")
def test_in_memory(scenario: Callable[[], None]) -> None:
    scenario()


# Throttling


class Throttled:
    """Throttles an operation: `left` entries of its first calls, or, with None, these calls as a whole."""

    def __init__(self, memory: MemoryDynamoDB, operation: str, *left: int | None) -> None:
        self._operation, self._whole = operation, getattr(memory, operation)
        self._left = list(left)
        self.entries: list[int] = []
        setattr(memory, operation, self)

    def __call__(self, **request: Any) -> Any:
        name, entries = next(self._found(request))
        self.entries.append(len(entries))
        if not self._left:
            return self._whole(**request)
        left = self._left.pop(0)
        if left is None:
            raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException", "Message": ""}}, name)
        taken, refused = entries[: len(entries) - left], entries[len(entries) - left :]
        match self._operation:
            case "batch_get_item":
                wanted = request["RequestItems"][name]
                answer = self._whole(RequestItems={name: {**wanted, "Keys": taken}}) if taken else {"Responses": {}}
                return {**answer, "UnprocessedKeys": {name: {**wanted, "Keys": refused}}}
            case "batch_write_item":
                if taken:
                    self._whole(RequestItems={name: taken})
                return {"UnprocessedItems": {name: refused}}
        answers = self._whole(Statements=taken)["Responses"] if taken else []
        return {
            "Responses": [*answers, *({"Error": {"Code": "ThrottlingError", "Message": "slow down"}} for _ in refused)]
        }

    def _found(self, request: Any) -> Iterator[tuple[str, list[Any]]]:
        if "Statements" in request:
            yield "", request["Statements"]
        for name, entries in request.get("RequestItems", {}).items():
            yield name, entries["Keys"] if isinstance(entries, dict) else entries
        yield "", [None]


def test_events_that_are_throttled_are_written_after_a_pause(memory: MemoryDynamoDB, pauses: list[float]) -> None:
    sent = envelopes(5)
    throttled = Throttled(memory, "batch_execute_statement", 2, 2, 1)
    assert events().complete([succeeded(each) for each in sent], known=[]) == [None] * 5
    assert throttled.entries == [5, 2, 2, 1]
    assert len(pauses) == 3
    assert len(memory.tables[EVENTS].items) == 5


def test_events_that_are_throttled_are_read_after_a_pause(memory: MemoryDynamoDB, pauses: list[float]) -> None:
    sent = envelopes(5)
    events().record_queued(sent)
    throttled = Throttled(memory, "batch_get_item", 3)
    assert len(events().read(each.id for each in sent)) == 5
    assert throttled.entries == [5, 3]
    assert len(pauses) == 1


@pytest.mark.parametrize("operation", ["update_item", "get_item"])
def test_a_file_that_is_throttled_is_retried_after_a_pause(
    memory: MemoryDynamoDB, pauses: list[float], operation: str
) -> None:
    Throttled(memory, operation, None, None)
    table, file = FileTable(FILES), of_key("throttled")
    assert claimed(table, file, "one")["owner"] == "one"
    assert table.read(file.id) is not None
    assert len(pauses) == 2


def test_readings_that_are_throttled_are_written_after_a_pause(memory: MemoryDynamoDB, pauses: list[float]) -> None:
    throttled = Throttled(memory, "batch_write_item", 20, 10)
    ReadingTable(READINGS).put(readings("d", 30), "a#1", 1, 9_999)
    assert throttled.entries == [25, 20, 10, 5]
    assert len(pauses) == 2
    assert len(memory.tables[READINGS].items) == 30


def test_states_that_are_throttled_are_written_and_read_after_a_pause(
    memory: MemoryDynamoDB, pauses: list[float]
) -> None:
    table, new = ReadingTable(READINGS), StoredState(DeviceState())
    Throttled(memory, "batch_execute_statement", 1)
    Throttled(memory, "batch_get_item", 2, 2)
    written = table.replace_states({device: (new, DeviceState()) for device in ("a", "b")}, 9_999)
    assert set(written) == {"a", "b"}
    assert table.states(["a", "b"]) == written
    assert len(pauses) == 3


def test_pauses_double_with_jitter_until_the_attempts_are_used_up(memory: MemoryDynamoDB, pauses: list[float]) -> None:
    Throttled(memory, "batch_execute_statement", *[1] * 100)
    with pytest.raises(TableError, match="events: DynamoDB throttled 1 entries at each of 5 attempts"):
        events().complete([succeeded(*envelopes())], known=[])
    assert len(pauses) == dynamodb.ATTEMPTS - 1
    for attempt, pause in enumerate(pauses):
        assert 0.5 <= pause / (dynamodb.PAUSE_SECONDS * 2**attempt) <= 1
    assert len({pause / 2**attempt for attempt, pause in enumerate(pauses)}) > 1


def test_a_call_that_is_throttled_as_a_whole_is_given_up_with_its_own_error(
    memory: MemoryDynamoDB, pauses: list[float]
) -> None:
    Throttled(memory, "update_item", *[None] * 100)
    with pytest.raises(ClientError):
        claimed(FileTable(FILES), of_key("throttled"), "one")
    assert len(pauses) == dynamodb.ATTEMPTS - 1


def test_a_batch_that_makes_progress_is_not_given_up(memory: MemoryDynamoDB) -> None:
    throttled = Throttled(memory, "batch_write_item", *range(24, 0, -1))
    ReadingTable(READINGS).put(readings("d", 25), "a#1", 1, 9_999)
    assert len(throttled.entries) == 25


def test_another_error_is_raised_at_once(memory: MemoryDynamoDB, pauses: list[float]) -> None:
    def refuse(**_request: Any) -> Any:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": ""}}, "BatchGetItem")

    memory.batch_get_item = refuse  # type: ignore[method-assign]
    with pytest.raises(ClientError, match="AccessDenied"):
        events().read(["a"])
    assert pauses == []


# Values


def test_values_come_back_as_they_were() -> None:
    values = {
        "a": None,
        "b": True,
        "c": -7,
        "d": 0.1,
        "e": "text",
        "f": {"g": 10**30, "h": "x"},
        "i": False,
        "j": [1, "y", None],
    }
    assert plain(typed(values)) == values
    assert [type(value) for value in plain(typed(values)).values()] == [type(value) for value in values.values()]


def test_a_value_of_an_unsupported_type_is_an_error() -> None:
    with pytest.raises(TypeError, match="a value of type bytes"):
        typed({"a": b"bytes"})
