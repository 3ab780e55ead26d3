"""`GET /events` over a table in memory: every event once and newest first, with any filter and page size."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.api.listing import DEFAULT_DAYS, DEFAULT_LIMIT, LOOKS_A_PAGE, MAXIMUM_LIMIT, STATUSES, list_events
from handlers.shared.errors import BadRequestError
from handlers.shared.times import timestamp

if TYPE_CHECKING:
    from handlers.api.reader import EventReader

NOW = datetime.now(UTC)
KEPT_DAYS = 90
LONG_AGO = "2020-01-01T00:00:00Z"
TYPES = ("order", "page_view")

Item = dict[str, Any]


@dataclass
class MemoryTable:
    """The part of EventReader that `list_events` uses, as strict as DynamoDB. `looks` counts reads of the index."""

    items: Sequence[Item]
    looks: int = 0
    read: int = 0
    days: set[date] = field(default_factory=set)

    def newest(self, shard_day: date, before: str, since: str, limit: int) -> list[Item]:
        """See EventReader.newest."""
        assert since <= before, "DynamoDB refuses BETWEEN with its ends the wrong way round"
        self.looks += 1
        self.days.add(shard_day)
        found = [
            {name: item[name] for name in ("id", "type", "time_key")}
            for item in self.items
            if item["time_key"].startswith(shard_day.isoformat()) and since <= item["time_key"] < before
        ]
        return sorted(found, key=lambda entry: str(entry["time_key"]), reverse=True)[:limit]

    def listed(self, ids: Iterable[str]) -> dict[str, Item]:
        """See EventReader.listed. An item that is `expired` is left out."""
        wanted = list(ids)
        self.read += len(wanted)
        assert len(wanted) == len(set(wanted)), "DynamoDB refuses a key that is asked for twice"
        return {item["id"]: item for item in self.items if item["id"] in wanted and not item.get("expired")}


def item(number: int, age: timedelta, event_type: str = "order", status: str = "succeeded") -> Item:
    received_at = timestamp(NOW - age)
    event_id = f"00000000-0000-4000-8000-{number:012}"
    return {
        "id": event_id,
        "type": event_type,
        "status": status,
        "received_at": received_at,
        "attempts": 1,
        "time_key": f"{received_at}#{event_id}",
    }


def page(table: MemoryTable, **parameters: str) -> dict[str, Any]:
    return list_events(cast("EventReader", table), parameters, KEPT_DAYS)


def all_pages(table: MemoryTable, **parameters: str) -> list[list[Item]]:
    pages = []
    cursor: str | None = None
    for _ in range(200):
        answer = page(table, **parameters, **({"cursor": cursor} if cursor else {}))
        pages.append(answer["events"])
        cursor = answer["cursor"]
        if cursor is None:
            return pages
    raise AssertionError("the pages have no end")


def ids(events: Iterable[Mapping[str, Any]]) -> list[str]:
    return [event["id"] for event in events]


def encoded(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode()


# Close together, many at the same moment, around midnights, and months apart.
ages = st.one_of(
    st.integers(1, 10).map(lambda seconds: timedelta(seconds=seconds)),
    st.integers(1, 80 * 24).map(lambda hours: timedelta(hours=hours)),
    st.integers(0, 80).map(
        lambda days: NOW - NOW.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
    ),
)
tables = st.lists(st.tuples(ages, st.sampled_from(TYPES), st.sampled_from(STATUSES)), max_size=25).map(
    lambda drawn: MemoryTable([item(number, *each) for number, each in enumerate(drawn)]),
)
filters = st.fixed_dictionaries(
    {"limit": st.integers(1, 6).map(str)},
    optional={
        "since": ages.map(lambda age: timestamp(NOW - age)),
        "until": ages.map(lambda age: timestamp(NOW - age)),
        "type": st.sampled_from([*TYPES, "unknown"]),
        "status": st.sampled_from(STATUSES),
    },
)


def expected(table: MemoryTable, parameters: Mapping[str, str]) -> list[str]:
    # One second of tolerance: time has passed since NOW, so an event of exactly that age is too old.
    until = datetime.fromisoformat(parameters["until"]) if "until" in parameters else NOW + timedelta(seconds=1)
    a_week_ago = timestamp(until - timedelta(days=DEFAULT_DAYS))
    return ids(
        each
        for each in sorted(table.items, key=lambda each: str(each["time_key"]), reverse=True)
        if parameters.get("since", a_week_ago) <= each["received_at"] < parameters.get("until", "9999")
        and parameters.get("type") in (None, each["type"])
        and parameters.get("status") in (None, each["status"])
    )


@given(tables, filters)
@settings(deadline=None, max_examples=150)
def test_the_pages_show_every_matching_event_exactly_once_and_newest_first(
    table: MemoryTable,
    parameters: dict[str, str],
) -> None:
    pages = all_pages(table, **parameters)
    assert [event_id for events in pages for event_id in ids(events)] == expected(table, parameters)
    assert all(len(events) <= int(parameters["limit"]) for events in pages)


def test_the_second_page_begins_where_the_first_ended() -> None:
    table = MemoryTable([item(number, timedelta(minutes=number + 1)) for number in range(3)])
    first = page(table, limit="2")
    assert ids(first["events"]) == ids(table.items[:2])
    assert ids(page(table, limit="2", cursor=first["cursor"])["events"]) == ids(table.items[2:])


def test_an_event_that_arrives_between_two_pages_moves_nothing() -> None:
    old = [item(number, timedelta(minutes=number + 1)) for number in range(4)]
    first = page(MemoryTable(old), limit="2")
    second = page(MemoryTable([*old, item(9, timedelta(seconds=1))]), limit="2", cursor=first["cursor"])
    assert ids(second["events"]) == ids(old[2:])


def test_since_is_included_and_until_is_not() -> None:
    table = MemoryTable([item(number, timedelta(hours=number)) for number in (1, 2, 3)])
    newest, middle, oldest = (each["received_at"] for each in table.items)
    assert ids(page(table, since=middle)["events"]) == ids(table.items[:2])
    assert ids(page(table, until=middle)["events"]) == ids(table.items[2:])
    assert ids(page(table, since=oldest, until=newest)["events"]) == ids(table.items[1:])
    assert page(table, since=newest, until=oldest) == {"events": [], "cursor": None}
    assert page(table, since=middle, until=middle) == {"events": [], "cursor": None}


def test_without_since_the_last_week_is_shown() -> None:
    table = MemoryTable([item(1, timedelta(days=6, hours=23)), item(2, timedelta(days=7, hours=1))])
    assert ids(page(table)["events"]) == ids(table.items[:1])
    pages = all_pages(table, since=LONG_AGO, until=timestamp(NOW))
    assert ids([event for events in pages for event in events]) == ids(table.items)


def test_a_time_may_be_in_any_zone() -> None:
    table = MemoryTable([item(1, timedelta(hours=1)), item(2, timedelta(hours=3))])
    two_hours_ago = (NOW - timedelta(hours=2)).astimezone(tz=datetime.strptime("+0530", "%z").tzinfo).isoformat()
    assert ids(page(table, since=two_hours_ago)["events"]) == ids(table.items[:1])


@pytest.mark.parametrize("year", ["0001", "0999", "1000", "1969"])
def test_a_time_long_ago_is_before_everything(year: str) -> None:
    table = MemoryTable([item(1, timedelta(hours=1))])
    assert ids(page(table, since=f"{year}-01-01T00:00:00Z")["events"]) == ids(table.items)
    assert page(table, until=f"{year}-01-01T00:00:00Z") == {"events": [], "cursor": None}


def test_events_older_than_their_expiry_are_not_searched() -> None:
    table = MemoryTable([item(1, timedelta(days=KEPT_DAYS + 1))])
    assert all_pages(table, since=LONG_AGO)[-1] == []
    assert min(table.days) >= (NOW - timedelta(days=KEPT_DAYS)).date()


def test_an_event_without_an_item_is_left_out() -> None:
    table = MemoryTable(
        [item(1, timedelta(hours=1)), {**item(2, timedelta(hours=2)), "expired": True}, item(3, timedelta(hours=3))]
    )
    assert ids(page(table)["events"]) == [table.items[0]["id"], table.items[2]["id"]]


def test_the_limit_is_20_unless_given_and_100_at_most() -> None:
    table = MemoryTable([item(number, timedelta(seconds=number + 1)) for number in range(150)])
    assert len(page(table)["events"]) == DEFAULT_LIMIT == 20
    assert len(page(table, limit="100")["events"]) == MAXIMUM_LIMIT == 100


def test_empty_months_come_to_an_end_with_a_bounded_number_of_reads_a_request() -> None:
    table = MemoryTable([item(1, timedelta(days=85))])
    cursor: str | None = None
    shown: list[Item] = []
    for _ in range(20):
        before = table.looks
        answer = page(table, since=LONG_AGO, **({"cursor": cursor} if cursor else {}))
        assert table.looks - before <= LOOKS_A_PAGE
        shown += answer["events"]
        cursor = answer["cursor"]
        if cursor is None:
            break
    assert cursor is None
    assert ids(shown) == ids(table.items)


def test_a_rare_status_does_not_make_one_request_read_a_whole_day() -> None:
    # Each read queries every shard, so thousands of them would exceed the function's timeout.
    common = [item(number, timedelta(milliseconds=number + 1)) for number in range(1_000)]
    table = MemoryTable([*common, item(1_000, timedelta(seconds=2), status="failed")])
    assert page(table, status="failed", limit="1")["cursor"]
    assert table.looks <= LOOKS_A_PAGE
    assert table.read <= MAXIMUM_LIMIT, "one request must not use up the table"
    assert [event for events in all_pages(table, status="failed", limit="1") for event in ids(events)] == ids(
        table.items[-1:]
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        *(
            ("limit", value, "must be a whole number from 1 to 100")
            for value in ("", "0", "101", "-1", "1.5", "ten", "²", "1e1", " 5")
        ),
        *(
            ("status", value, "must be one of queued, retrying, succeeded, failed")
            for value in ("", "done", "Failed", "accepting")
        ),
        *(
            ("since", value, "must be an RFC 3339 time")
            for value in ("", "yesterday", "2026-13-01T00:00:00Z", "1763712000")
        ),
        *(("until", value, "must be an RFC 3339 time") for value in ("", "tomorrow", "2026-02-30T00:00:00Z")),
        ("since", "2026-11-21T08:00:00", "must have a zone"),
        ("until", "2026-11-21", "must have a zone"),
        ("since", "0001-01-01T00:00:00+01:00", "must be a time between the years 1 and 9999"),
        ("until", "9999-12-31T23:59:59-01:00", "must be a time between the years 1 and 9999"),
        *(
            ("cursor", value, "must be a cursor from a previous response")
            for value in (
                "",
                "x",
                "é",
                "%%%",
                encoded(""),
                encoded("2026-11-21"),
                encoded("2026-13-21T08:00:00.000000Z"),
                encoded("2026-11-21T08:00:00.000000Z#../.."),
                base64.urlsafe_b64encode(b"\xff\xfe").decode(),
            )
        ),
    ],
)
def test_a_bad_parameter_is_a_bad_request_that_names_it(name: str, value: str, words: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        page(MemoryTable([]), **{name: value})
    (detail,) = raised.value.details
    assert raised.value.code == "invalid_parameter"
    assert detail["path"] == name
    assert words in detail["message"]
    assert raised.value.message == f"{name} {detail['message']}"


moments = st.datetimes(timezones=st.just(UTC)) | ages.map(lambda age: NOW - age)
positions = st.builds(
    lambda moment, rest: moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z" + rest,
    moments,
    st.sampled_from(["", "#00000000-0000-4000-8000-000000000001", "#ffffffff-ffff-ffff-ffff-ffffffffffff"]),
)


@given(tables, positions | st.text(), filters)
@settings(deadline=None, max_examples=150)
def test_a_forged_cursor_shows_nothing_that_the_request_does_not_ask_for(
    table: MemoryTable,
    position: str,
    parameters: dict[str, str],
) -> None:
    try:
        answer = page(table, **{**parameters, "cursor": encoded(position)})
    except BadRequestError as error:
        assert error.details[0]["path"] == "cursor"  # noqa: PT017  whether it is refused is up to the text
        return
    assert set(ids(answer["events"])) <= set(expected(table, parameters))
