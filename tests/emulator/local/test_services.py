"""Creators in the emulator, and recorded graphs that equal their results."""

import json
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws_
import pytest

from local import services
from local.answers import ANSWERS
from local.emulator import Emulator
from local.engine import Engine
from local.errors import LocalError
from local.monitor import Backend, Created, Registration
from local.naming import NAMED
from local.program import run_program
from local.project import Project, load_project
from local.recording import ACCOUNT, Recorder
from local.services import Clients
from tests.graphs import SAMPLES


class Listening:
    """A backend that keeps the results of another."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.account = backend.account
        self.deployed = backend.deployed
        self.created: dict[tuple[str, str], Created] = {}

    def component(self, registration: Registration) -> None:
        """Pass a component on."""
        self._backend.component(registration)

    def create(self, registration: Registration) -> Created:
        """Pass a resource on and keep the result."""
        created = self._backend.create(registration)
        self.created[registration.type, registration.name] = created
        return created


def _assumed_by(service: str) -> str:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _odds_and_ends() -> None:
    """Types and inputs that the shipped stacks do not use."""
    dead = aws_.sqs.Queue("odds-dead", kms_data_key_reuse_period_seconds=300, tags={"team": "odds"})
    inbox = aws_.sqs.Queue("odds-inbox")
    _queues_and_storage(dead, inbox)
    function = _functions(dead)
    _events(dead, inbox, function)


def _queues_and_storage(dead: aws_.sqs.Queue, inbox: aws_.sqs.Queue) -> None:
    aws_.sqs.Queue("odds", fifo_queue=True, content_based_deduplication=True)
    policy = pulumi.Output.json_dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": 3})
    aws_.sqs.RedrivePolicy("odds", queue_url=inbox.url, redrive_policy=policy)
    topic = aws_.sns.Topic("odds", display_name="Odds")
    aws_.sns.TopicSubscription("odds", topic=topic.arn, protocol="sqs", endpoint=inbox.arn, raw_message_delivery=True)
    bucket = aws_.s3.Bucket("Odds", tags={"team": "odds"})
    aws_.s3.BucketObjectv2(
        "odds", bucket=bucket.id, key="odds.zip", source=pulumi.FileArchive(str(SAMPLES / "schemas"))
    )
    aws_.s3.BucketVersioning("odds", bucket=bucket.id, versioning_configuration={"status": "Enabled"})
    allowed = inbox.arn.apply(
        lambda arn: json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "s3.amazonaws.com"},
                        "Action": "sqs:SendMessage",
                        "Resource": arn,
                    },
                ],
            },
        ),
    )
    open_to_s3 = aws_.sqs.QueuePolicy("odds", queue_url=inbox.url, policy=allowed)
    aws_.s3.BucketNotification(
        "odds",
        bucket=bucket.id,
        queues=[
            {
                "queue_arn": inbox.arn,
                "events": ["s3:ObjectCreated:*"],
                "filter_prefix": "raw/",
                "filter_suffix": ".csv",
            },
        ],
        opts=pulumi.ResourceOptions(depends_on=[open_to_s3]),
    )
    aws_.dynamodb.Table(
        "odds",
        billing_mode="PAY_PER_REQUEST",
        hash_key="device",
        range_key="time",
        attributes=[{"name": "device", "type": "S"}, {"name": "time", "type": "N"}],
        point_in_time_recovery={"enabled": True},
        stream_enabled=True,
        stream_view_type="KEYS_ONLY",
    )


def _functions(dead: aws_.sqs.Queue) -> aws_.lambda_.Function:
    role = aws_.iam.Role("odds", assume_role_policy=_assumed_by("lambda.amazonaws.com"))
    api = aws_.apigatewayv2.Api(
        "odds", protocol_type="HTTP", cors_configuration={"allow_origins": ["*"], "max_age": 60}
    )
    aws_.apigatewayv2.Authorizer(
        "odds",
        api_id=api.id,
        authorizer_type="JWT",
        identity_sources=["$request.header.Authorization"],
        jwt_configuration={"issuer": "https://issuer.example", "audiences": ["shop"]},
    )
    function = aws_.lambda_.Function(
        "odds",
        runtime="python3.13",
        handler="odds.handler",
        role=role.arn,
        code=pulumi.AssetArchive({"odds.py": pulumi.StringAsset("def handler(event, context): return event\n")}),
        environment={"variables": {"AA": "b"}},
        reserved_concurrent_executions=2,
        publish=True,
    )
    live = aws_.lambda_.Alias("odds", function_name=function.name, function_version=function.version)
    aws_.lambda_.ProvisionedConcurrencyConfig(
        "odds", function_name=function.name, qualifier=live.name, provisioned_concurrent_executions=2
    )
    aws_.lambda_.FunctionEventInvokeConfig(
        "odds",
        function_name=function.name,
        maximum_retry_attempts=1,
        destination_config={"on_failure": {"destination": dead.arn}},
    )
    aws_.lambda_.EventSourceMapping(
        "odds",
        event_source_arn=dead.arn,
        function_name=function.name,
        enabled=False,
        provisioned_poller_config={"minimum_pollers": 2, "maximum_pollers": 20},
    )
    return function


def _events(dead: aws_.sqs.Queue, inbox: aws_.sqs.Queue, function: aws_.lambda_.Function) -> None:
    aws_.scheduler.Schedule(
        "odds",
        schedule_expression="rate(5 minutes)",
        flexible_time_window={"mode": "OFF"},
        target={
            "arn": function.arn,
            "role_arn": function.role,
            "input": "{}",
            "retry_policy": {"maximum_retry_attempts": 1},
            "dead_letter_config": {"arn": dead.arn},
        },
    )
    aws_.ssm.Parameter("odds", type="String", value="1", data_type="text", tags={"team": "odds"})
    bus = aws_.cloudwatch.EventBus("odds", dead_letter_config={"arn": dead.arn}, tags={"team": "odds"})
    rule = aws_.cloudwatch.EventRule("odds", event_bus_name=bus.name, event_pattern=json.dumps({"source": ["odds"]}))
    aws_.cloudwatch.EventTarget(
        "odds",
        event_bus_name=bus.name,
        rule=rule.name,
        arn=inbox.arn,
        input_path="$.detail",
        dead_letter_config={"arn": dead.arn},
    )


OWN: dict[str, Any] = {"encryption": {"customer_key": {}}, "network": {"vpc": {}}}
PROGRAMS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dev": (None, {"worker": {"circuit_breaker": {}}}),
    "rest": (None, {"api": {"kind": "rest", "auth": "api_key"}, **OWN}),
    "odds": (_odds_and_ends, {}),
}


@pytest.fixture(scope="module")
def answers(emulator: Emulator) -> dict[str, tuple[dict[tuple[str, str], Created], dict[tuple[str, str], Created]]]:
    """By program: the results of the emulator and of the recorder for each resource."""
    found = {}
    for name, (program, config) in PROGRAMS.items():
        # A stack of its own, so that names differ in the shared emulator.
        dev = load_project(SAMPLES, "dev").with_config(config)
        project = Project(dev.name, name, SAMPLES, dev.config)
        engine = Engine(emulator, project)
        real, recorded = Listening(engine), Listening(Recorder(project.region))
        try:
            run_program(project, real, program)
            engine.finish()
        finally:
            engine.close()
        run_program(project, recorded, program)
        found[name] = real.created, recorded.created
    return found


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_recorded_graph_has_the_outputs_of_the_emulator(answers: Any, program: str) -> None:
    real, recorded = answers[program]
    assert len(real) > 10
    assert {key: sorted(created.outputs) for key, created in recorded.items()} == {
        key: sorted(created.outputs) for key, created in real.items()
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_recorded_names_and_arns_equal_those_of_the_emulator(answers: Any, program: str) -> None:
    real, recorded = answers[program]
    compared = 0
    for (kind, name), created in recorded.items():
        if kind not in NAMED or kind.startswith("aws:apigateway") or "arn" not in created.outputs:
            continue
        compared += 1
        arns = real[kind, name].outputs["arn"], created.outputs["arn"].replace(ACCOUNT, "000000000000")
        assert arns[0] == arns[1]
    assert compared > 3


def test_every_type_has_a_creator_and_an_answer_and_is_tested(answers: Any) -> None:
    tried = {kind for real, _ in answers.values() for kind, _ in real}
    assert sorted(services.CREATORS) == sorted(ANSWERS) == sorted(tried)


def test_settings_reach_the_emulator(answers: Any, aws: Clients) -> None:
    real, _ = answers["odds"]
    inbox = aws("sqs").get_queue_attributes(
        QueueUrl=real["aws:sqs/queue:Queue", "odds-inbox"].id,
        AttributeNames=["All"],
    )["Attributes"]
    assert json.loads(inbox["RedrivePolicy"])["maxReceiveCount"] == 3
    queue = real["aws:sqs/queue:Queue", "odds"]
    assert queue.outputs["name"].endswith(".fifo")
    bucket = real["aws:s3/bucket:Bucket", "Odds"].id
    assert aws("s3").get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    assert aws("s3").get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "odds"}]
    rule = aws("s3").get_bucket_notification_configuration(Bucket=bucket)["QueueConfigurations"][0]
    assert {entry["Name"].lower(): entry["Value"] for entry in rule["Filter"]["Key"]["FilterRules"]} == {
        "prefix": "raw/",
        "suffix": ".csv",
    }
    table = aws("dynamodb").describe_table(TableName=real["aws:dynamodb/table:Table", "odds"].id)["Table"]
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["device", "time"]
    assert table["StreamSpecification"]["StreamViewType"] == "KEYS_ONLY"
    function = real["aws:lambda/function:Function", "odds"].id
    assert aws("lambda").get_function_concurrency(FunctionName=function)["ReservedConcurrentExecutions"] == 2
    bus = real["aws:cloudwatch/eventBus:EventBus", "odds"].id
    dead = real["aws:sqs/queue:Queue", "odds-dead"].outputs["arn"]
    assert aws("events").describe_event_bus(Name=bus)["DeadLetterConfig"] == {"Arn": dead}
    (rule,) = aws("events").list_rules(EventBusName=bus)["Rules"]
    assert json.loads(rule["EventPattern"]) == {"source": ["odds"]}
    parameter = aws("ssm").get_parameter(Name=real["aws:ssm/parameter:Parameter", "odds"].id)["Parameter"]
    assert (parameter["Type"], parameter["Value"]) == ("String", "1")
    (target,) = aws("events").list_targets_by_rule(EventBusName=bus, Rule=rule["Name"])["Targets"]
    assert (target["InputPath"], target["DeadLetterConfig"]["Arn"]) == ("$.detail", dead)
    alias = real["aws:lambda/alias:Alias", "odds"].outputs["name"]
    assert aws("lambda").get_alias(FunctionName=function, Name=alias)["FunctionVersion"] == "1"
    ready = aws("lambda").get_provisioned_concurrency_config(FunctionName=function, Qualifier=alias)
    assert ready["RequestedProvisionedConcurrentExecutions"] == 2


def test_the_dev_stacks_table_has_its_index_expiry_and_key(answers: Any, aws: Clients) -> None:
    real, _ = answers["dev"]
    name = next(created.id for (kind, _), created in real.items() if kind == "aws:dynamodb/table:Table")
    table = aws("dynamodb").describe_table(TableName=name)["Table"]
    assert table["KeySchema"] == [{"AttributeName": "id", "KeyType": "HASH"}]
    assert [index["IndexName"] for index in table["GlobalSecondaryIndexes"]] == ["by-time"]
    ttl = aws("dynamodb").describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert (ttl["AttributeName"], ttl["TimeToLiveStatus"]) == ("expires_at", "ENABLED")


def _fails(emulator: Emulator, project: Project, program: Any) -> str:
    engine = Engine(emulator, project)
    try:
        with pytest.raises(LocalError) as raised:
            run_program(project, engine, program)
    finally:
        engine.close()
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_a_type_without_a_creator_is_an_error_with_its_line(emulator: Emulator, project: Project) -> None:
    message = _fails(emulator, project, lambda: aws_.ecr.Repository("images"))
    assert message.startswith("aws:ecr/repository:Repository 'images' (")
    assert f"{Path(__file__).name}:" in message
    assert "has no creator for this type" in message


def test_an_input_that_no_creator_reads_is_an_error(emulator: Emulator, project: Project) -> None:
    message = _fails(emulator, project, lambda: aws_.sns.Topic("news", signature_version=2))
    assert "aws:sns/topic:Topic 'news'" in message
    assert "does not know the input 'signatureVersion'; see local.services.sns" in message


def test_a_refusal_of_the_emulator_is_an_error_with_the_resource(emulator: Emulator, project: Project) -> None:
    message = _fails(emulator, project, lambda: aws_.iam.RolePolicy("orphan", role="nobody", policy="{}"))
    assert "aws:iam/rolePolicy:RolePolicy 'orphan'" in message
    assert "NoSuchEntity" in message


def test_a_refusal_of_botocore_is_an_error_of_one_line(emulator: Emulator, project: Project) -> None:
    many: Any = "many"
    message = _fails(emulator, project, lambda: aws_.cloudwatch.LogGroup("logs", retention_in_days=many))
    assert "aws:cloudwatch/logGroup:LogGroup 'logs'" in message
    assert "Parameter validation failed" in message
