"""The monitor without an emulator: names, URNs, tags, transforms, and errors for unknown values."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pulumi
import pulumi_aws as aws
import pytest

from local.errors import LocalError
from local.naming import physical_name
from local.project import Project
from local.recording import synthesise

QUEUE = "aws:sqs/queue:Queue"
TOPIC = "aws:sns/topic:Topic"


def _two_queues() -> None:
    dead = aws.sqs.Queue("dead")
    queue = aws.sqs.Queue("main", visibility_timeout_seconds=60, redrive_policy=dead.arn)
    pulumi.export("url", queue.url)


def test_a_run_returns_inputs_dependencies_and_outputs_as_plain_values() -> None:
    graph = synthesise(program=_two_queues, stack="test")
    dead, main = graph.find(QUEUE, "dead"), graph.find(QUEUE, "main")
    assert main.inputs == {
        "visibilityTimeoutSeconds": 60,
        "redrivePolicy": f"arn:aws:sqs:us-east-1:123456789012:{dead.physical_name}",
    }
    assert type(main.inputs["visibilityTimeoutSeconds"]) is int
    assert main.dependencies == (dead.urn,)
    assert graph.outputs == {"url": f"https://sqs.us-east-1.amazonaws.com/123456789012/{main.physical_name}"}


def test_two_runs_give_the_same_names_and_two_stacks_never_share_one() -> None:
    first, again, other = (synthesise(program=_two_queues, stack=stack) for stack in ("a", "a", "b"))
    names = [{resource.physical_name for resource in graph} for graph in (first, again, other)]
    assert names[0] == names[1]
    assert not names[0] & names[2]


def test_a_child_is_named_below_its_parent() -> None:
    def program() -> None:
        part = pulumi.ComponentResource("shop:index:Part", "part")
        aws.sqs.Queue("queue", opts=pulumi.ResourceOptions(parent=part))

    graph = synthesise(program=program, stack="test")
    part, queue = graph.find("shop:index:Part", "part"), graph.find(QUEUE, "queue")
    assert part.urn == "urn:pulumi:test::datapipeline::shop:index:Part::part"
    assert queue.urn == "urn:pulumi:test::datapipeline::shop:index:Part$aws:sqs/queue:Queue::queue"
    assert queue.parent == part.urn
    assert graph.children(part) == [queue]


def test_an_unknown_output_is_an_error_with_input_and_line() -> None:
    def program() -> None:
        queue = aws.sqs.Queue("main")
        aws.sns.Topic("alerts", display_name=queue.kms_master_key_id)

    expected = (
        rf"aws:sns/topic:Topic 'alerts' \({Path(__file__).name}:\d+\): its input displayName is unknown: "
        r"no resource provides the output it needs \(aws:sqs/queue:Queue 'main' provides arn, id, name, url\)"
    )
    with pytest.raises(LocalError, match=expected):
        synthesise(Path(__file__).parent, "test", program=program)


def test_an_unknown_value_is_found_deep_inside_an_input() -> None:
    def program() -> None:
        queue = aws.sqs.Queue("main")
        aws.cloudwatch.MetricAlarm(
            "alarm",
            comparison_operator="GreaterThanThreshold",
            evaluation_periods=1,
            metric_queries=[{"id": "m", "expression": queue.kms_master_key_id}],
        )

    with pytest.raises(LocalError, match=r"its input metricQueries\[0\].expression is unknown"):
        synthesise(program=program, stack="test")


def test_an_unknown_stack_output_is_an_error() -> None:
    def program() -> None:
        pulumi.export("key", aws.sqs.Queue("main").kms_master_key_id)

    with pytest.raises(LocalError, match="the stack output 'key' is unknown"):
        synthesise(program=program, stack="test")


def test_an_unknown_type_is_an_error_with_its_line() -> None:
    def program() -> None:
        aws.ecr.Repository("images")

    with pytest.raises(
        LocalError,
        match=r"^aws:ecr/repository:Repository 'images' \(.*test_monitor.py:\d+\): the recorder does not know",
    ):
        synthesise(program=program, stack="test")


def test_the_same_name_twice_is_an_error() -> None:
    def program() -> None:
        aws.sqs.Queue("main")
        aws.sqs.Queue("main")

    with pytest.raises(LocalError, match=r"^aws:sqs/queue:Queue 'main' is registered twice"):
        synthesise(program=program, stack="test")


class OwnError(Exception):
    """An error of a program."""


@pytest.mark.parametrize("late", [False, True])
def test_what_the_program_raises_comes_out_as_it_is(late: bool) -> None:  # noqa: FBT001
    def fail(_: object) -> None:
        raise OwnError("what was wrong")

    def program() -> None:
        queue = aws.sqs.Queue("main")
        if late:
            aws.sns.Topic("alerts", display_name=queue.url.apply(fail))
        else:
            fail(queue)

    with pytest.raises(OwnError, match=r"^what was wrong$"):
        synthesise(program=program, stack="test")


def test_a_failed_run_does_not_affect_the_next() -> None:
    def program() -> None:
        aws.sqs.Queue("other")
        raise OwnError

    for _ in range(3):
        with pytest.raises(OwnError):
            synthesise(program=program, stack="test")
        assert len(synthesise(program=_two_queues, stack="test").resources) == 2


def test_a_run_restores_folder_environment_and_event_loop(tmp_path: Path) -> None:
    before = Path.cwd(), dict(os.environ)
    synthesise(tmp_path, "test", program=_two_queues)
    assert (Path.cwd(), dict(os.environ)) == before
    asyncio.run(asyncio.sleep(0))


def test_secrets_are_unwrapped() -> None:
    def program() -> None:
        aws.sqs.Queue("main", policy=pulumi.Output.secret("hidden"), tags={"a": pulumi.Output.secret("b")})

    assert synthesise(program=program, stack="test").find(QUEUE, "main").inputs == {
        "policy": "hidden",
        "tags": {"a": "b"},
    }


def test_config_reaches_the_program() -> None:
    def program() -> None:
        aws.sqs.Queue("main", policy=pulumi.Config().require("text"))
        pulumi.export("sizes", pulumi.Config().require_object("sizes"))

    graph = synthesise(program=program, stack="test", config={"text": "x", "sizes": [1, 2]})
    assert graph.find(QUEUE, "main").inputs == {"policy": "x"}
    assert graph.outputs == {"sizes": [1, 2]}


def test_a_resources_own_tags_override_default_tags() -> None:
    def program() -> None:
        aws.sqs.Queue("main", tags={"team": "own"})
        provider = aws.Provider("other", default_tags={"tags": {"from": "provider"}})
        aws.sns.Topic("alerts", opts=pulumi.ResourceOptions(provider=provider))

    tags = {"aws:defaultTags": {"tags": {"team": "all", "stack": "test"}}}
    graph = synthesise(program=program, stack="test", config=tags)
    assert graph.find(QUEUE, "main").tags == {"team": "own", "stack": "test"}
    assert graph.find(TOPIC, "alerts").tags == {"from": "provider"}


def test_transforms_change_inputs_from_the_resource_up_to_the_stack() -> None:
    def adding(mark: str) -> Callable[[pulumi.ResourceTransformArgs], pulumi.ResourceTransformResult | None]:
        def transform(args: pulumi.ResourceTransformArgs) -> pulumi.ResourceTransformResult | None:
            if args.type_ != QUEUE:
                return None
            return pulumi.ResourceTransformResult({**args.props, "policy": f"{args.props['policy']}{mark}"}, args.opts)

        return transform

    def program() -> None:
        pulumi.runtime.register_resource_transform(adding(" stack"))
        part = pulumi.ComponentResource(
            "shop:index:Part",
            "part",
            opts=pulumi.ResourceOptions(transforms=[adding(" parent")]),
        )
        options = pulumi.ResourceOptions(parent=part, transforms=[adding(" own")])
        aws.sqs.Queue("main", policy="the", opts=options)

    graph = synthesise(program=program, stack="test")
    assert graph.find(QUEUE, "main").inputs["policy"] == "the own parent stack"


def test_a_failed_transform_is_an_error_of_one_line() -> None:
    def transform(_: pulumi.ResourceTransformArgs) -> None:
        raise OwnError("no good")

    def program() -> None:
        pulumi.runtime.register_resource_transform(transform)
        aws.sqs.Queue("main")

    with pytest.raises(LocalError, match=r"a transform failed: .*no good") as raised:
        synthesise(program=program, stack="test")
    assert "\n" not in str(raised.value)


def test_account_region_and_partition_can_be_looked_up() -> None:
    def program() -> None:
        pulumi.export("account", aws.get_caller_identity_output().account_id)
        pulumi.export("region", aws.get_region_output().region)
        pulumi.export("partition", aws.get_partition_output().partition)
        pulumi.export("zones", aws.get_availability_zones_output().names)

    graph = synthesise(program=program, stack="test", config={"aws:region": "eu-west-1"})
    zones = ["eu-west-1a", "eu-west-1b", "eu-west-1c"]
    assert graph.outputs == {"account": "123456789012", "region": "eu-west-1", "partition": "aws", "zones": zones}


def test_an_unanswered_call_is_named_in_the_error() -> None:
    def program() -> None:
        pulumi.export("regions", aws.get_regions_output().names)

    with pytest.raises(LocalError, match="the program calls aws:index/getRegions:getRegions"):
        synthesise(program=program, stack="test")


def test_a_projects_own_file_is_run_in_its_folder(write_project: Callable[[str], Project]) -> None:
    project = write_project(
        "from pathlib import Path\nimport pulumi\npulumi.export('files', sorted(p.name for p in Path().iterdir()))\n",
    )
    (project.directory / "Pulumi.yaml").write_text("name: shop\n")
    (project.directory / "Pulumi.test.yaml").write_text("config: {}\n")
    assert synthesise(project.directory, "test").outputs == {
        "files": ["Pulumi.test.yaml", "Pulumi.yaml", "__main__.py"]
    }


def test_a_missing_resource_is_an_error_that_names_the_existing_ones() -> None:
    graph = synthesise(program=_two_queues, stack="test")
    with pytest.raises(LookupError, match=f"0 resources {QUEUE} 'third'; of this type there are: dead, main"):
        graph.find(QUEUE, "third")


def test_a_name_given_by_the_program_is_kept() -> None:
    assert physical_name(QUEUE, "main", "urn", {"name": "mine"}) == "mine"


def test_bucket_names_are_lower_case_and_fifo_names_end_in_fifo() -> None:
    assert physical_name("aws:s3/bucket:Bucket", "Results", "urn", {}) == "results-b05f298"
    assert physical_name(QUEUE, "main", "urn", {"fifoQueue": True}) == "main-b05f298.fifo"


def test_a_name_that_is_too_long_for_aws_is_refused() -> None:
    with pytest.raises(LocalError, match=r"has 65 characters; AWS allows 64"):
        physical_name("aws:iam/role:Role", "r" * 57, "urn", {})
