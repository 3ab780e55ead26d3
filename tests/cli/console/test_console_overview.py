"""The overview and the page of a resource: alarms by what they watch, rights, and addresses on AWS."""

import json
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli.console.links import console_link
from cli.console.overview import Overview
from cli.core.stack import Stack
from local.errors import LocalError
from local.project import load_project
from local.recording import synthesise
from tests.graphs import SAMPLES

EXPORT = {
    "deployment": {
        "resources": [
            {"type": "pulumi:pulumi:Stack", "urn": "urn:pulumi:dev::p::pulumi:pulumi:Stack::p-dev"},
            {
                "type": "aws:lambda/function:Function",
                "urn": "urn:pulumi:dev::p::a:b:C$aws:lambda/function:Function::pipeline-worker",
                "id": "pipeline-worker-abc1234",
            },
        ]
    }
}


class CloudWatch:
    def __init__(self, ringing: str) -> None:
        self.ringing = ringing
        self.asked: list[list[str]] = []

    def describe_alarms(self, **given: Any) -> dict[str, Any]:
        self.asked.append(given["AlarmNames"])
        states = {name: "ALARM" if self.ringing in name else "OK" for name in given["AlarmNames"]}
        return {"MetricAlarms": [{"AlarmName": name, "StateValue": state} for name, state in states.items()]}


class Letters:
    def depth(self) -> int:
        return 3


def overview(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str = "dev", ringing: str = "worker-errors"
) -> tuple[Overview, CloudWatch, Stack]:
    monkeypatch.chdir(SAMPLES)
    tool = tmp_path / "bin/pulumi"
    tool.parent.mkdir()
    tool.write_text(f"#!/bin/sh\ntest \"$*\" = 'stack export --stack {stack}' && echo '{json.dumps(EXPORT)}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/bin:/usr/bin")
    monkeypatch.setattr("cli.console.overview.queues.depth", lambda _url: 7)
    cloudwatch = CloudWatch(ringing)
    monkeypatch.setattr(boto3, "client", lambda name: cloudwatch if name == "cloudwatch" else None)
    graph = synthesise(SAMPLES, stack)
    found = Stack(stack)
    found.__dict__["project"] = load_project(SAMPLES, stack)
    # As Pulumi names them on AWS: the digits are others than those of the recorded graph.
    names = [f"{each.name}-0123abc" for each in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")]
    urls = {
        "queue_url": "https://sqs/1/pipeline-queue-1",
        "dead_letter_queue_url": "https://sqs/1/pipeline-queue-dead-letters-1",
    }
    found.__dict__["outputs"] = {"alarm_names": names, "log_groups": {}, **urls}
    return Overview(found, graph, Letters(), every_seconds=1), cloudwatch, found  # type: ignore[arg-type]


def test_an_alarm_that_rings_marks_the_box_that_it_watches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pages, cloudwatch, stack = overview(monkeypatch, tmp_path)
    page = pages.page("/root")
    assert [each.name for each in page["ringing"]] == ["watch-worker-errors"]
    drawn = str(page["graph"])
    alarmed = [part.split('aria-label="')[1].split('"')[0] for part in drawn.split("<a ")[1:] if "alarmed" in part]
    assert alarmed == ["worker, Function, 0 done, an alarm rings"]
    assert "queue, Queue, 7 waiting" in drawn
    assert "queue-dead-letters, Queue, 3 waiting" in drawn
    # One request, for the alarms of this stack only.
    assert cloudwatch.asked == [stack.outputs["alarm_names"]]


def test_a_resource_has_its_rights_its_alarms_and_its_address_on_aws(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pages, _, _ = overview(monkeypatch, tmp_path)
    worker = pages.node("pipeline-worker-Function")
    assert {"sns:Publish"} in [set(each["actions"]) for each in worker["rights"]]
    assert all(each["why"] for each in worker["rights"])
    assert {each.name for each in worker["alarms"]} >= {"watch-worker-errors", "watch-worker-duration"}
    assert worker["physical_name"] == "pipeline-worker-abc1234"
    assert worker["console_link"].endswith("/lambda/home?region=us-east-1#/functions/pipeline-worker-abc1234")
    queue = pages.node("pipeline-queue-Queue")
    assert queue["rights"] == []
    assert "pipeline-worker-Function" in queue["leads_to"]
    assert "watch-oldest-message" in {each.name for each in queue["alarms"]}
    assert (queue["console_link"], queue["problem"]) == (None, "it is not deployed yet")
    with pytest.raises(LocalError, match="no resource 'x'"):
        pages.node("x")


@pytest.mark.parametrize("stack", ["analytics", "csv", "ingestion", "iot"])
def test_every_box_of_every_stack_has_a_page_and_an_address(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stack: str
) -> None:
    pages, _, found = overview(monkeypatch, tmp_path, stack)
    found.__dict__["deployed_ids"] = {(each.type, each.name): "an-id" for each in pages._graph}
    assert pages._nodes
    for key in pages._nodes:
        page = pages.node(key)
        assert page["console_link"].startswith("https://us-east-1.console.aws.amazon.com/"), key


def test_an_address_holds_the_whole_id() -> None:
    url = "https://sqs.us-east-1.amazonaws.com/1/q"
    assert str(console_link("aws:sqs/queue:Queue", url, "eu-west-1")).endswith(
        "eu-west-1#/queues/https%3A%2F%2Fsqs.us-east-1.amazonaws.com%2F1%2Fq"
    )
    assert console_link("aws:iam/role:Role", "r", "eu-west-1") is None
