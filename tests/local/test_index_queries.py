"""Queries of an index in the emulator look only at what they want."""

import time
from typing import Any

from local.index_queries import Range

QUERY = {
    "KeyConditionExpression": "day = :d AND #t BETWEEN :a AND :b",
    "ExpressionAttributeNames": {"#t": "time"},
    "ExpressionAttributeValues": {":d": {"S": "d"}, ":a": {"S": "00010"}, ":b": {"S": "99990"}},
}


def places(count: int, **more: Any) -> list[str]:
    wanted = Range.of({**QUERY, **more})
    assert wanted is not None
    return [place for place, _ in wanted.places([(f"{number:05}", (f"{number:06}", "-")) for number in range(count)])]


def test_a_limited_query_of_a_hundred_thousand_items_takes_a_fraction_of_a_second() -> None:
    began = time.process_time()
    assert places(100_000, Limit=100, ScanIndexForward=False) == [f"{number:06}" for number in range(99_890, 99_991)]
    assert time.process_time() - began < 1


def test_without_a_limit_or_behind_a_given_key_all_of_the_range_is_looked_at() -> None:
    assert len(places(1_000)) == 990
    assert len(places(1_000, Limit=5, ExclusiveStartKey={"time": {"S": "00020"}})) == 990
    assert len(places(1_000, Limit=5)) == 6


def test_queries_of_another_form_are_left_alone() -> None:
    values = QUERY["ExpressionAttributeValues"]
    assert Range.of({}) is None
    assert Range.of({**QUERY, "KeyConditionExpression": "day = :d"}) is None
    assert Range.of({**QUERY, "KeyConditionExpression": "day = :d AND #t > :a"}) is None
    assert Range.of({**QUERY, "ExpressionAttributeValues": {**values, ":a": {"N": "1"}}}) is None  # type: ignore[dict-item]
