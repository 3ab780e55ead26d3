"""A program running in an emulator: roles of functions, reloaded code, and failures that leave nothing."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from local.emulator import Emulator
from local.engine import Engine, Running, running
from local.errors import LocalError
from local.program import run_program
from local.project import Project
from local.services import Clients

PROGRAM = """
import json
import pulumi
import pulumi_aws as aws
from components.layers import code_of, layer_archive

statement = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
role = aws.iam.Role("greet", assume_role_policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
queue = aws.sqs.Queue("greet")
allowed = queue.arn.apply(lambda arn: json.dumps({
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sqs:GetQueueAttributes", "Resource": arn}],
}))
policy = aws.iam.RolePolicy("greet", role=role.id, policy=allowed)
layer = aws.lambda_.LayerVersion("greet", layer_name="greet", code=code_of(layer_archive()))
function = aws.lambda_.Function(
    "greet",
    runtime="python3.13",
    handler="app.main.handler",
    role=role.arn,
    layers=[layer.arn],
    timeout=20,
    environment={"variables": {"QUEUE_URL": queue.url}},
    code=pulumi.AssetArchive({"app/main.py": pulumi.FileAsset("app/main.py")}),
    opts=pulumi.ResourceOptions(depends_on=[policy]),
)
pulumi.export("function", function.name)
pulumi.export("queue_url", queue.url)
"""

HANDLER = """
import os
import boto3

def handler(event, context):
    sqs = boto3.client("sqs")
    url = os.environ["QUEUE_URL"]
    if event.get("purge"):
        sqs.purge_queue(QueueUrl=url)
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    return {"greeting": "hello", "queue": attributes["QueueArn"]}
"""


def _call(pipeline: Running, event: dict[str, Any]) -> tuple[Any, bool]:
    client = Clients(pipeline.emulator)("lambda")
    answer = client.invoke(FunctionName=pipeline.outputs["function"], Payload=json.dumps(event))
    return json.loads(answer["Payload"].read()), "FunctionError" in answer


def _written(folder: Path, handler: str) -> Path:
    path = folder / "app" / "main.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(handler)
    return path


@pytest.fixture(scope="module")
def greeting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Path]]:
    folder = tmp_path_factory.mktemp("greeting")
    (folder / "__main__.py").write_text(PROGRAM)
    handler = _written(folder, HANDLER)
    with running(Project("shop", "test", folder, {})) as pipeline:
        yield pipeline, handler


def test_a_function_reaches_what_its_role_may_use_and_nothing_else(greeting: tuple[Running, Path]) -> None:
    pipeline, handler = greeting
    handler.write_text(HANDLER)
    list(pipeline.engine.reload())
    answer, failed = _call(pipeline, {})
    assert not failed
    assert answer["queue"].rpartition(":")[2] == pipeline.outputs["queue_url"].rpartition("/")[2]
    answer, failed = _call(pipeline, {"purge": True})
    assert failed
    assert "not authorized to perform: sqs:PurgeQueue" in answer["errorMessage"]


def test_changed_code_is_deployed_and_reported(greeting: tuple[Running, Path]) -> None:
    pipeline, handler = greeting
    assert list(pipeline.engine.reload()) == []
    handler.write_text(HANDLER.replace("hello", "good morning"))
    assert list(pipeline.engine.reload()) == [f"reloaded {pipeline.outputs['function']}"]
    assert _call(pipeline, {})[0]["greeting"] == "good morning"
    assert list(pipeline.engine.reload()) == []


def test_an_alias_moves_to_the_changed_code(greeting: tuple[Running, Path]) -> None:
    pipeline, handler = greeting
    client = Clients(pipeline.emulator)("lambda")
    name = pipeline.outputs["function"]
    version = client.publish_version(FunctionName=name)["Version"]
    client.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    handler.write_text(HANDLER.replace("hello", "good evening"))
    assert list(pipeline.engine.reload()) == [f"reloaded {name}"]
    answer = client.invoke(FunctionName=name, Qualifier="live", Payload="{}")
    assert json.loads(answer["Payload"].read())["greeting"] == "good evening"


def test_the_old_code_stays_when_the_new_cannot_be_imported(greeting: tuple[Running, Path]) -> None:
    pipeline, handler = greeting
    handler.write_text(HANDLER)
    list(pipeline.engine.reload())
    handler.write_text("import no_such_module\n")
    lines = list(pipeline.engine.reload())
    assert len(lines) == 1
    assert lines[0].startswith(f"not reloaded: function {pipeline.outputs['function']}: cannot import app.main.handler")
    assert lines[0].endswith("No module named 'no_such_module' (app/main.py:1)")
    assert _call(pipeline, {})[0]["greeting"] == "hello"


def test_the_old_code_stays_when_a_file_is_deleted(greeting: tuple[Running, Path]) -> None:
    pipeline, handler = greeting
    handler.write_text(HANDLER)
    list(pipeline.engine.reload())
    handler.unlink()
    assert ["not reloaded: cannot read app/main.py" in line for line in pipeline.engine.reload()] == [True]
    assert _call(pipeline, {})[0]["greeting"] == "hello"


def test_a_function_does_not_get_the_users_environment(
    greeting: tuple[Running, Path],
) -> None:
    pipeline, handler = greeting
    handler.write_text("import os\ndef handler(event, context): return dict(os.environ)\n")
    list(pipeline.engine.reload())
    environment, failed = _call(pipeline, {})
    assert not failed
    assert environment["HOME"] != os.environ["HOME"]
    assert environment["AWS_ACCESS_KEY_ID"] != "test"
    assert "PYTEST_CURRENT_TEST" not in environment


def test_a_handler_that_cannot_be_imported_fails_the_start_with_function_file_and_line(
    write_project: Callable[[str], Project],
    emulator: Emulator,
) -> None:
    project = write_project(PROGRAM)
    _written(project.directory, "x = 1\nimport no_such_module\n")
    engine = Engine(emulator, project)
    try:
        run_program(project, engine)
        with pytest.raises(
            LocalError, match=r"^function greet-[0-9a-f]{7}: cannot import app.main.handler: .*main.py:2\)$"
        ):
            engine.finish()
    finally:
        engine.close()


def test_a_start_that_fails_leaves_nothing_running(write_project: Callable[[str], Project]) -> None:
    project = write_project("import pulumi_aws as aws\naws.ecr.Repository('images')\n")
    seen: list[Emulator] = []

    def remember(*, port: int, region: str, iam_log: Path | None) -> Emulator:
        seen.append(Emulator(port=port, region=region, iam_log=iam_log))
        return seen[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("local.engine.Emulator", remember)
        with pytest.raises(LocalError, match=r"'images' \(__main__.py:2\)"), running(project):
            pass
    assert not seen[0].running
    assert not seen[0].folder.exists()


def test_two_pipelines_run_side_by_side(write_project: Callable[[str], Project]) -> None:
    project = write_project("import pulumi, pulumi_aws as aws\npulumi.export('url', aws.sqs.Queue('main').url)\n")
    other = Project("shop", "other", project.directory, {})
    with running(project) as first, running(other) as second:
        for pipeline in (first, second):
            sqs = Clients(pipeline.emulator)("sqs")
            assert sqs.list_queues()["QueueUrls"] == [pipeline.outputs["url"]]
        assert first.outputs["url"].rpartition("/")[2] != second.outputs["url"].rpartition("/")[2]
