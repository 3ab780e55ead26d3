"""The ingest function in the emulator; tests/handlers/api/test_ingest.py has the rest."""

from tests.api_pipeline import Pipeline


def test_five_hundred_events_are_accepted_in_order(pipeline: Pipeline) -> None:
    answer = pipeline.post({"events": [{"number": number} for number in range(500)]})
    assert (answer.status, answer.body["accepted"]) == (202, 500)
    items = pipeline.items()
    ids = [result["id"] for result in answer.body["results"]]
    assert sorted(ids, key=lambda event_id: items[event_id]["time_key"]) == ids
