"""Settings from environment variables."""

import os
from dataclasses import FrozenInstanceError, dataclass

import pytest

from handlers.api.settings import IngestSettings, WorkerSettings
from handlers.shared.settings import Settings, SettingsError

EVENTS = {
    "TABLE_NAME": "events",
    "QUEUE_URL": "https://queue",
    "RESULTS": "object",
    "TIME_INDEX_SHARDS": "8",
    "ITEMS_EXPIRE_AFTER_DAYS": "90",
}
INGEST = {
    **EVENTS,
    "TYPE_FIELD": "event_type",
    "MAX_BATCH": "500",
    "MAX_DEPTH": "64",
    "TRACK": "true",
    "DEDUPLICATE": "key",
}
WORKER = {
    **EVENTS,
    "DEAD_LETTER_QUEUE_URL": "https://dead",
    "ALERTS_TOPIC_ARN": "arn:topic",
    "ALERTS_RUNBOOK": "docs/alarms.md",
    "PROCESSOR": "processors.echo:process",
    "MAX_ATTEMPTS": "5",
    "BACKOFF_BASE_SECONDS": "2",
    "BACKOFF_MAXIMUM_SECONDS": "900",
    "ARCHIVE": "false",
}


@dataclass(frozen=True, kw_only=True)
class Sample(Settings):
    """A setting of each type, and one with a default."""

    name: str
    count: int
    active: bool
    place: str = "here"


SAMPLE = {"NAME": "n", "COUNT": "7", "ACTIVE": "true"}


def test_each_field_is_read_as_its_type_from_the_variable_of_its_name() -> None:
    assert Sample.from_environment(SAMPLE) == Sample(name="n", count=7, active=True, place="here")
    assert Sample.from_environment({**SAMPLE, "ACTIVE": "false", "PLACE": "there", "OTHER": "x"}) == Sample(
        name="n",
        count=7,
        active=False,
        place="there",
    )


@pytest.mark.parametrize("variable", SAMPLE)
def test_a_missing_variable_is_named(variable: str) -> None:
    environment = {name: value for name, value in SAMPLE.items() if name != variable}
    with pytest.raises(SettingsError, match=f"the environment variable {variable} is missing"):
        Sample.from_environment(environment)


@pytest.mark.parametrize("value", ["", "x", "1.5", "1e3", "0x10", "true"])
def test_an_invalid_number_is_an_error_that_shows_the_value(value: str) -> None:
    with pytest.raises(SettingsError, match=r"COUNT is .* must be a whole number") as raised:
        Sample.from_environment({**SAMPLE, "COUNT": value})
    assert repr(value) in str(raised.value)


@pytest.mark.parametrize("value", ["", "True", "TRUE", "1", "yes", " true"])
def test_an_invalid_boolean_is_an_error_that_shows_the_value(value: str) -> None:
    with pytest.raises(SettingsError, match=r"ACTIVE is .* must be true or false") as raised:
        Sample.from_environment({**SAMPLE, "ACTIVE": value})
    assert repr(value) in str(raised.value)


def test_the_real_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SAMPLE.items():
        monkeypatch.setitem(os.environ, name, value)
    assert Sample.from_environment() == Sample.from_environment(SAMPLE)


def test_settings_are_immutable() -> None:
    sample = Sample.from_environment(SAMPLE)
    with pytest.raises(FrozenInstanceError):
        sample.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("variable", INGEST)
def test_ingest_needs_each_of_its_variables(variable: str) -> None:
    assert IngestSettings.from_environment(INGEST).bucket_name == ""
    with pytest.raises(SettingsError, match=variable):
        IngestSettings.from_environment({name: value for name, value in INGEST.items() if name != variable})


@pytest.mark.parametrize("variable", WORKER)
def test_the_worker_needs_each_of_its_variables(variable: str) -> None:
    assert WorkerSettings.from_environment({**WORKER, "BUCKET_NAME": "b"}).bucket_name == "b"
    with pytest.raises(SettingsError, match=variable):
        WorkerSettings.from_environment({name: value for name, value in WORKER.items() if name != variable})
