"""The functions of the api variant on moto and on a table in memory, with the settings of the real program."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from components.table import TIME_INDEX
from handlers.shared import aws
from local.recording import Graph
from tests.api_pipeline import CONFIG, Pipeline, subscribed
from tests.graphs import graph_of
from tests.memory_table import MemoryDynamoDB, MemoryTable

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def graph() -> Graph:
    """The resources of the real program, with the account id that moto has."""
    return graph_of(config=CONFIG)


@pytest.fixture
def pipeline(graph: Graph, aws_in_process: None) -> Iterator[Pipeline]:  # noqa: ARG001  moto answers
    functions = [function.inputs for function in graph.of_type("aws:lambda/function:Function")]
    environments = {each["handler"].split(".")[2]: each["environment"]["variables"] for each in functions}
    _create(graph.outputs)
    table = MemoryTable(("id",), {TIME_INDEX: ("day_shard", "time_key")})
    with MemoryDynamoDB(**{graph.outputs["table_name"]: table}).answering():
        yield subscribed(aws.client, environments, graph.outputs)()


def _create(outputs: Mapping[str, str]) -> None:
    sqs, sns = aws.client("sqs"), aws.client("sns")
    dead_letters = sqs.create_queue(QueueName=_name(outputs["dead_letter_queue_url"]))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1_000})
    attributes = {"RedrivePolicy": redrive, "VisibilityTimeout": "360"}
    assert (
        sqs.create_queue(QueueName=_name(outputs["queue_url"]), Attributes=attributes)["QueueUrl"]
        == outputs["queue_url"]
    )
    for topic in ("alerts_topic_arn", "reports_topic_arn"):
        sns.create_topic(Name=outputs[topic].rpartition(":")[2])
    aws.client("events").create_event_bus(Name=outputs["event_bus_name"])
    aws.client("s3").create_bucket(Bucket=outputs["bucket_name"])
    aws.client("ssm").put_parameter(Name=outputs["fault_parameter_name"], Value="none", Type="String")


def _name(url: str) -> str:
    return url.rpartition("/")[2]
