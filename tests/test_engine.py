"""`make engine` without a Pulumi CLI, and the provider plugin that it serves to the real engine."""

from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import provider_pb2
from pulumi.runtime.rpc import UNKNOWN

from benchmarks import engine
from benchmarks.recorded_provider import Provider

URN = "urn:pulumi:dev::p::datapipeline:index:Queue$aws:sqs/queue:Queue::q"


def struct(**values: Any) -> Any:
    made = struct_pb2.Struct()
    made.update(values)
    return made


@pytest.mark.parametrize(("ci", "code"), [(None, 0), ("true", 1)])
def test_without_a_pulumi_cli_one_line_says_so_and_only_ci_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ci: str | None, code: int
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    if ci:
        monkeypatch.setenv("CI", ci)
    assert engine.main() == code
    assert capsys.readouterr().out == (
        "make engine: NOT RUN, there is no Pulumi CLI on the PATH (pulumi.com/docs/install)\n"
    )


def test_the_provider_names_a_resource_and_refuses_what_the_real_one_refuses() -> None:
    def check(urn: str, **inputs: Any) -> tuple[dict[str, Any], list[str]]:
        answer = Provider().Check(provider_pb2.CheckRequest(urn=urn, news=struct(**inputs)), None)
        return json_format.MessageToDict(answer.inputs), [each.reason for each in answer.failures]

    inputs, failures = check(URN, fifoQueue=True)
    assert (inputs["name"][:2], inputs["name"][-5:], failures) == ("q-", ".fifo", [])
    assert check(URN, name="mine")[0] == {"name": "mine"}
    assert check(URN, visibilityTimeoutSeconds=50_000)[1] == [
        "visibilityTimeoutSeconds is 50000, and not from 0 to 43200"
    ]
    assert check(URN.replace("aws:sqs/queue:Queue", "aws:x/y:Z"))[1] == ["aws:x/y:Z is not in local/answers.py"]


@pytest.mark.parametrize(
    ("old", "new", "ignored", "changed", "replaces"),
    [
        ({"delaySeconds": 1}, {"delaySeconds": 1.0}, [], [], []),
        ({"delaySeconds": 1}, {"delaySeconds": 2}, [], ["delaySeconds"], []),
        ({}, {"fifoQueue": True, "delaySeconds": 2}, [], ["delaySeconds", "fifoQueue"], ["fifoQueue"]),
        ({"fifoQueue": True}, {}, ["fifoQueue"], [], []),
    ],
)
def test_the_provider_replaces_what_the_table_says(
    old: dict[str, Any], new: dict[str, Any], ignored: list[str], changed: list[str], replaces: list[str]
) -> None:
    request = provider_pb2.DiffRequest(urn=URN, old_inputs=struct(**old), news=struct(**new), ignoreChanges=ignored)
    answer = Provider().Diff(request, None)
    kinds = provider_pb2.DiffResponse
    assert (list(answer.diffs), list(answer.replaces)) == (changed, replaces)
    assert answer.changes == (kinds.DIFF_SOME if changed else kinds.DIFF_NONE)


def test_what_a_preview_cannot_know_is_unknown_and_only_an_update_makes_resources() -> None:
    provider = Provider()
    request = provider_pb2.CreateRequest(urn=URN, properties=struct(name="n"), preview=True)
    preview = provider.Create(request, None)
    assert json_format.MessageToDict(preview.properties) == {
        "name": "n",
        **dict.fromkeys(("url", "arn", "region"), UNKNOWN),
    }
    assert (preview.id, provider.done, provider.there) == ("", [], {})
    request.preview = False
    made = provider.Create(request, None)
    assert made.id == made.properties["url"] == "https://sqs.us-east-1.amazonaws.com/123456789012/n"
    assert provider.there == {URN: made.id}
    read = provider_pb2.ReadRequest(urn=URN, id=made.id, properties=made.properties)
    assert provider.Read(read, None).id == made.id
    provider.Delete(provider_pb2.DeleteRequest(urn=URN), None)
    assert provider.Read(read, None).id == ""
    assert provider.done == [("create", URN), ("delete", URN)]
