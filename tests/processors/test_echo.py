"""The trivial processor."""

from hypothesis import given, settings

from tests.samples.processors.echo import process
from tests.strategies import JsonObject, json_objects


@given(json_objects)
@settings(deadline=None)
def test_any_event_comes_back_as_it_was_with_its_number_of_fields(event: JsonObject) -> None:
    assert process(event) == {"echo": event, "fields": len(event)}


def test_an_event_without_fields_has_none() -> None:
    assert process({}) == {"echo": {}, "fields": 0}
