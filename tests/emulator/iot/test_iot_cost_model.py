"""The model of `pipeline cost` matches the calls that the worker makes for an object of readings."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from cli.cost_iot import ITEM_BYTES, READING_BYTES, STATE_BYTES, object_calls
from components.config import load
from components.options.iot import IotPipelineConfig
from handlers.iot.silence import Silences
from local.project import load_project
from tests.aws_calls import tapped
from tests.graphs import SAMPLES

from .conftest import Iot, lines, reading

# How AWS bills a call, by what is in it.
UNITS: dict[str, Callable[[Any], tuple[str, int]]] = {
    "s3:GetObject": lambda _: ("s3.get_requests", 1),
    "dynamodb:BatchWriteItem": lambda call: ("dynamodb.writes", len(*call["RequestItems"].values())),
    "dynamodb:BatchGetItem": lambda call: (
        "dynamodb.reads",
        len(*[each["Keys"] for each in call["RequestItems"].values()]),
    ),
    "dynamodb:BatchExecuteStatement": lambda call: ("dynamodb.state_writes", len(call["Statements"])),
}


@pytest.mark.parametrize(("watched", "limited"), [(True, True), (False, True), (False, False)])
@pytest.mark.parametrize(("readings", "devices"), [(1, 1), (60, 1), (60, 3)])
def test_an_object_asks_for_what_the_model_says(
    iot: Iot, readings: int, devices: int, *, watched: bool, limited: bool
) -> None:
    loaded = load_project(SAMPLES, "iot").with_config(
        {**({} if watched else {"silence": None}), **({} if limited else {"thresholds": None})}
    )
    config = load(loaded.config, file="Pulumi.iot.yaml", check_processor=False)
    assert isinstance(config, IotPipelineConfig)
    if not watched:
        iot.silences = Silences({})
    if not limited:
        iot.thresholds = {}
    # The devices are known.
    iot.take(*[lines(reading(f"d{device}", 1, 20)) for device in range(devices)])
    content = lines(*[reading(f"d{number % devices}", 10 + number, 20) for number in range(readings)])
    event = iot.upload(content)
    calls: Counter[str] = Counter()

    def count(name: str, parameters: Any, make: Callable[[], Any]) -> Any:
        unit, quantity = UNITS[name](parameters)
        calls[unit] += quantity
        return make()

    with tapped(count):
        iot.worker().handle(event, "run")
    expected = object_calls(config, readings, devices)
    del expected["dynamodb.index_writes"]
    assert calls == +expected
    for item in iot.items():
        size = sum(len(name) + len(str(value)) for name, value in item.items())
        assert size < (STATE_BYTES if item["time_key"]["S"] == "state" else ITEM_BYTES), item
    assert len(content) / readings < READING_BYTES
