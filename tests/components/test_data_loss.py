"""Changes that would delete data: the preview stops, and says what would be lost."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from components.data_loss import HOLDS_DATA, STEPS, DataHiddenError, DataLossError
from local.recording import Graph, synthesise
from tests.graphs import SAMPLES

FIFO: dict[str, Any] = {"queue": {"fifo": {"group_field": "customer_id"}}}
KEY: dict[str, Any] = {"encryption": {"customer_key": {}}}
SAID = {"api": {"auth": "iam"}}


def change(before: Graph, config: Mapping[str, Any], stack: str = "dev") -> Graph:
    """Preview a stack whose state is `before`."""
    return synthesise(SAMPLES, stack, dict(config), deployed=before)


@pytest.mark.parametrize(
    ("before", "after", "what", "cause"),
    [
        ({}, FIFO, "pipeline-queue", "fifo_queue would change from unset to True"),
        (FIFO, {}, "pipeline-queue", "fifo_queue would change from True to unset"),
        (KEY, {}, "pipeline-key", "it is no longer part of the stack"),
        ({"outcomes": {}}, {}, "pipeline-outcomes", "it is no longer part of the stack"),
        (
            {"environment": "prod", **SAID, **KEY},
            {"environment": "prod", **SAID},
            "pipeline-key",
            "it is no longer part of the stack",
        ),
    ],
)
def test_a_change_that_loses_data_is_refused_with_what_would_be_lost_and_the_steps(
    graph_of: Callable[..., Graph], before: dict[str, Any], after: dict[str, Any], what: str, cause: str
) -> None:
    deployed = graph_of(**before)
    with pytest.raises(DataLossError) as raised:
        change(deployed, after)
    message = str(raised.value)
    assert f" '{what}' with " in message or f" '{what}-dead-letters' with " in message
    assert cause in message
    assert "or do it in steps: " in message
    assert "set datapipeline:allow_data_loss: [pipeline-" in message


SHARDS_4: dict[str, Any] = {"storage": {"time_index_shards": 4}}


@pytest.mark.parametrize(
    ("before", "after", "option", "cause"),
    [
        ({}, SHARDS_4, "storage.time_index_shards", "would change from 8 to 4: lists and reports would miss"),
        # An item has its partition also where there is no index.
        (
            {"storage": {"time_index": False}},
            {"storage": {"time_index": False, "time_index_shards": 4}},
            "storage.time_index_shards",
            "would change from 8 to 4",
        ),
        (
            {"storage": {"archive": {}}},
            {"storage": {"archive": {}, "results": "inline"}},
            "storage.results",
            "would change from object to inline: GET /events/{id} would answer without",
        ),
    ],
)
def test_an_option_that_hides_stored_data_is_refused_and_can_be_allowed(
    graph_of: Callable[..., Graph], before: dict[str, Any], after: dict[str, Any], option: str, cause: str
) -> None:
    with pytest.raises(DataHiddenError) as raised:
        change(graph_of(**before), after)
    assert cause in str(raised.value)
    assert f"set datapipeline:allow_data_loss: [{option}], deploy, and remove the option" in str(raised.value)
    assert change(graph_of(**before), {**after, "allow_data_loss": [option]})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (SHARDS_4, {}),
        ({"storage": {"archive": {}, "results": "inline"}}, {"storage": {"archive": {}}}),
        ({}, {"storage": {"time_index": False}}),
        ({"storage": {"time_index": False}}, {}),
    ],
)
def test_an_option_that_hides_nothing_changes(
    graph_of: Callable[..., Graph], before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert change(graph_of(**before), after)


def test_another_region_is_refused(graph_of: Callable[..., Graph]) -> None:
    with pytest.raises(
        DataLossError, match="its region would change from 'us-east-1' to 'eu-west-1'; a stack of its own"
    ):
        change(graph_of(), {"aws:region": "eu-west-1"})


def test_what_is_allowed_to_be_lost_is_changed(graph_of: Callable[..., Graph]) -> None:
    names = ["pipeline-queue", "pipeline-queue-dead-letters"]
    graph = change(graph_of(), {**FIFO, "allow_data_loss": names})
    assert graph.find("aws:sqs/queue:Queue", "pipeline-queue").inputs["fifoQueue"] is True
    with pytest.raises(DataLossError, match="lose Queue 'pipeline-queue' with"):
        change(graph_of(), {**FIFO, "allow_data_loss": names[1:]})


def test_the_keys_of_a_table_and_a_table_s_name_are_data(graph_of: Callable[..., Graph]) -> None:
    # Another variant has other keys and names.
    with pytest.raises(DataLossError, match="the pipeline would lose "):
        change(graph_of("iot"), {"variant": "csv", "input": {"columns": [{"name": "a"}]}}, "csv")
    iot = graph_of("iot")
    table = iot.find("aws:dynamodb/table:Table", "pipeline-table")
    state = Graph([each for each in iot if each is not table])
    other = {**table.inputs, "hashKey": "device"}
    state.resources.append(type(table)(**{**vars(table), "inputs": other}))
    with pytest.raises(DataLossError, match="hash_key would change from 'device' to 'device_id'"):
        change(state, {}, "iot")


@pytest.mark.parametrize("stack", ["dev", "analytics", "ingestion", "csv", "iot"])
def test_changes_that_lose_nothing_pass(graph_of: Callable[..., Graph], stack: str) -> None:
    deployed = graph_of(stack)
    assert len(change(deployed, {}, stack).resources) == len(deployed.resources)
    assert change(deployed, {"logs": {"retention_days": 90}, "tracing": True}, stack)


def test_each_kind_of_resource_that_holds_data_has_its_steps() -> None:
    assert HOLDS_DATA.keys() == STEPS.keys()
