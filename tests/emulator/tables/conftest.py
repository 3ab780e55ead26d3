"""The rooms' tables in an emulator, with the keys that are deployed."""

from collections.abc import Iterator
from typing import Any

import pytest

from handlers.csv.files import DAY_INDEX
from handlers.iot.table import DEVICE_INDEX, DUE_INDEX
from local.emulator import Emulator
from local.services import Clients
from tests.emulator_fixture import emulator
from tests.roles import forget_clients
from tests.table_scenarios import EVENTS, FILES, READINGS

__all__ = ["emulator"]

KEYS: dict[str, tuple[str, ...]] = {EVENTS: ("id",), FILES: ("id",), READINGS: ("device_id", "time_key")}
INDEX_KEYS = ("day_shard", "time_key")
DAY_KEYS = ("day", "status_time")
# Of the table of readings; `due_at` is a number.
DEVICE_KEYS, DUE_KEYS = ("device_shard", "device_id"), ("device_shard", "due_at")


def _schema(names: tuple[str, ...]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(names, ("HASH", "RANGE"), strict=False)]


@pytest.fixture(scope="module", autouse=True)
def _tables(emulator: Emulator) -> Iterator[None]:
    # Not for the session: other folders' clients are those of their own emulator.
    client = Clients(emulator)("dynamodb")
    for table, keys in KEYS.items():
        index: dict[str, Any] = {}
        if table == EVENTS:
            projection = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["type"]}
            by_time = {"IndexName": "by-time", "KeySchema": _schema(INDEX_KEYS), "Projection": projection}
            index = {"GlobalSecondaryIndexes": [by_time]}
            keys_typed = (*keys, *INDEX_KEYS)
        elif table == READINGS:
            index = {
                "GlobalSecondaryIndexes": [
                    {"IndexName": name, "KeySchema": _schema(of_index), "Projection": {"ProjectionType": "KEYS_ONLY"}}
                    for name, of_index in ((DEVICE_INDEX, DEVICE_KEYS), (DUE_INDEX, DUE_KEYS))
                ]
            }
            keys_typed = (*keys, *DUE_KEYS)
        else:
            by_day = {
                "IndexName": DAY_INDEX,
                "KeySchema": _schema(DAY_KEYS),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
            index = {"GlobalSecondaryIndexes": [by_day]}
            keys_typed = (*keys, *DAY_KEYS)
        client.create_table(
            TableName=table,
            KeySchema=_schema(keys),
            AttributeDefinitions=[
                {"AttributeName": name, "AttributeType": "N" if name == "due_at" else "S"} for name in keys_typed
            ],
            BillingMode="PAY_PER_REQUEST",
            **index,
        )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in emulator.client_environment().items():
            patch.setenv(name, value)
        forget_clients()
        yield
    forget_clients()


@pytest.fixture(autouse=True)
def _empty(_tables: None, emulator: Emulator) -> None:
    """Leaves each test an empty table of events; other tables' scenarios use keys of their own."""
    client = Clients(emulator)("dynamodb")
    for item in client.scan(TableName=EVENTS)["Items"]:
        client.delete_item(TableName=EVENTS, Key={"id": item["id"]})
