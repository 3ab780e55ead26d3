"""Policies of each function, compared by equality: a wider policy fails, and so does a narrower one."""

import json
from collections.abc import Callable
from typing import Any

from local.recording import Graph

Statement = tuple[list[str], list[str]]


def statements(graph: Graph, role: str) -> list[Statement]:
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", role).inputs["policy"])
    assert document.keys() == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    for statement in document["Statement"]:
        assert statement.pop("Effect") == "Allow"
        assert statement.pop("Sid")
    return [tuple(statement.values()) for statement in document["Statement"]]


def arns(graph: Graph) -> dict[str, str]:
    """ARNs by what they are, spelled out here so that a mistake in the program cannot be on both sides."""
    name = {
        (resource.type.rsplit(":", 1)[1], resource.name): resource.physical_name
        for resource in graph
        if resource.custom
    }
    account = "us-east-1:123456789012"
    return {
        "queue": f"arn:aws:sqs:{account}:{name['Queue', 'pipeline-queue']}",
        "dead letters": f"arn:aws:sqs:{account}:{name['Queue', 'pipeline-queue-dead-letters']}",
        "table": f"arn:aws:dynamodb:{account}:table/{name['Table', 'pipeline-table']}",
        "index": f"arn:aws:dynamodb:{account}:table/{name['Table', 'pipeline-table']}/index/by-time",
        "results": f"arn:aws:s3:::{name['Bucket', 'pipeline-bucket']}/results/*",
        "archive": f"arn:aws:s3:::{name['Bucket', 'pipeline-bucket']}/archive/*",
        "alerts": f"arn:aws:sns:{account}:{name['Topic', 'pipeline-alerts']}",
        "ingest logs": f"arn:aws:logs:{account}:log-group:{name['LogGroup', 'pipeline-ingest']}:*",
        "worker logs": f"arn:aws:logs:{account}:log-group:{name['LogGroup', 'pipeline-worker']}:*",
    }


LOGS = ["logs:CreateLogStream", "logs:PutLogEvents"]
CONSUME = ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"]
READ = ["dynamodb:BatchGetItem"]
ACCEPT = ["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PartiQLDelete", "dynamodb:PutItem"]
COMPLETE = ["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"]


def test_the_ingest_function_may_do_exactly_this(dev: Graph) -> None:
    arn = arns(dev)
    assert statements(dev, "pipeline-ingest") == [
        (["sqs:SendMessage"], [arn["queue"]]),
        (READ, [arn["table"]]),
        (ACCEPT, [arn["table"]]),
        (["dynamodb:Query"], [arn["index"]]),
        (["s3:GetObject"], [arn["results"]]),
        (LOGS, [arn["ingest logs"]]),
    ]


def test_the_worker_may_do_exactly_this(dev: Graph) -> None:
    arn = arns(dev)
    assert statements(dev, "pipeline-worker") == [
        (CONSUME, [arn["queue"]]),
        (["sqs:SendMessage"], [arn["dead letters"]]),
        (READ, [arn["table"]]),
        (COMPLETE, [arn["table"]]),
        (["s3:PutObject"], [arn["results"]]),
        (["sns:Publish"], [arn["alerts"]]),
        (LOGS, [arn["worker logs"]]),
    ]


def test_what_is_switched_off_is_not_granted(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(api={"track": False}, storage={"results": "inline", "time_index": False})
    arn = arns(graph)
    assert statements(graph, "pipeline-ingest") == [
        (["sqs:SendMessage"], [arn["queue"]]),
        (READ, [arn["table"]]),
        (["dynamodb:PutItem"], [arn["table"]], {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["secret#ids"]}}),
        (LOGS, [arn["ingest logs"]]),
    ]
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", "pipeline-ingest").inputs["policy"])
    conditions = [statement["Condition"] for statement in document["Statement"] if "Condition" in statement]
    assert conditions == [{"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["secret#ids"]}}]
    assert statements(graph, "pipeline-worker") == [
        (CONSUME, [arn["queue"]]),
        (["sqs:SendMessage"], [arn["dead letters"]]),
        (READ, [arn["table"]]),
        (COMPLETE, [arn["table"]]),
        (["sns:Publish"], [arn["alerts"]]),
        (LOGS, [arn["worker logs"]]),
    ]


def test_archive_and_tracing_add_what_they_need_and_no_more(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(storage={"archive": {}}, tracing=True)
    arn = arns(graph)
    plain = graph_of()
    tracing: Statement = (["xray:PutTraceSegments", "xray:PutTelemetryRecords"], ["*"])
    worker = statements(graph, "pipeline-worker")
    added = [statement for statement in worker if statement not in statements(plain, "pipeline-worker")]
    assert added == [(["s3:PutObject"], [arn["archive"]]), tracing]
    ingest = statements(graph, "pipeline-ingest")
    assert [statement for statement in ingest if statement not in statements(plain, "pipeline-ingest")] == [tracing]


def test_outcome_events_add_the_right_to_put_them_on_their_bus(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(outcomes={})
    bus = graph.find("aws:cloudwatch/eventBus:EventBus", "pipeline-outcomes").physical_name
    put: Statement = (["events:PutEvents"], [f"arn:aws:events:us-east-1:123456789012:event-bus/{bus}"])
    worker, plain = statements(graph, "pipeline-worker"), statements(graph_of(), "pipeline-worker")
    assert [statement for statement in worker if statement not in plain] == [put]
    assert statements(graph, "pipeline-ingest") == statements(graph_of(), "pipeline-ingest")
    assert graph.outputs["event_bus_name"] == bus


def test_the_report_function_may_do_exactly_this(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("analytics")
    arn, account = arns(graph), "us-east-1:123456789012"
    failures = graph.find("aws:sqs/queue:Queue", "pipeline-report-dead-letters").physical_name
    topic = graph.find("aws:sns/topic:Topic", "pipeline-report-topic").physical_name
    logs = graph.find("aws:cloudwatch/logGroup:LogGroup", "pipeline-report").physical_name
    assert statements(graph, "pipeline-report") == [
        (["sqs:SendMessage"], [f"arn:aws:sqs:{account}:{failures}"]),
        (["dynamodb:Query"], [arn["index"]]),
        (READ, [arn["table"]]),
        (
            ["dynamodb:PutItem"],
            [arn["table"]],
            {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["report#notes"]}},
        ),
        (["sqs:GetQueueAttributes"], [arn["queue"], arn["dead letters"]]),
        (["s3:PutObject"], [arn["results"].replace("/results/", "/reports/")]),
        (["sns:Publish"], [f"arn:aws:sns:{account}:{topic}"]),
        (LOGS, [f"arn:aws:logs:{account}:log-group:{logs}:*"]),
    ]


def test_fault_injection_lets_both_functions_read_its_switch_and_is_nowhere_else(
    graph_of: Callable[..., Graph],
    dev: Graph,
) -> None:
    graph = graph_of(fault_injection={})
    switch = graph.find("aws:ssm/parameter:Parameter", "pipeline-faults")
    read: Statement = (["ssm:GetParameter"], [f"arn:aws:ssm:us-east-1:123456789012:parameter/{switch.physical_name}"])
    for role in ("pipeline-ingest", "pipeline-worker"):
        assert [statement for statement in statements(graph, role) if statement not in statements(dev, role)] == [read]
        variables = graph.find("aws:lambda/function:Function", role).inputs["environment"]["variables"]
        assert variables["FAULT_PARAMETER_NAME"] == switch.physical_name
    assert (switch.inputs["type"], switch.inputs["value"]) == ("String", "none")
    assert switch.ignored_changes == ("value",)
    for off in (dev, graph_of("ingestion"), graph_of(environment="prod", api={"auth": "iam"})):
        assert not [each for each in off if "faults" in each.name]
        for function in off.of_type("aws:lambda/function:Function"):
            assert "FAULT_PARAMETER_NAME" not in function.inputs["environment"]["variables"]
        assert "-faults-" not in json.dumps([p.inputs["policy"] for p in off.of_type("aws:iam/rolePolicy:RolePolicy")])


def test_the_redrive_function_may_do_exactly_this(graph_of: Callable[..., Graph]) -> None:
    for stack, read in (("dev", READ), ("csv", ["dynamodb:GetItem"])):
        graph = graph_of(stack, queue={"redrive_api": {}})
        queue, dead, table = (
            graph.find(kind, f"pipeline-{name}").physical_name
            for kind, name in (
                ("aws:sqs/queue:Queue", "queue"),
                ("aws:sqs/queue:Queue", "queue-dead-letters"),
                ("aws:dynamodb/table:Table", "table"),
            )
        )
        log_group = graph.find("aws:cloudwatch/logGroup:LogGroup", "pipeline-redrive").physical_name
        account = "us-east-1:123456789012"
        assert statements(graph, "pipeline-redrive") == [
            (CONSUME, [f"arn:aws:sqs:{account}:{dead}"]),
            (["sqs:SendMessage"], [f"arn:aws:sqs:{account}:{queue}"]),
            (read, [f"arn:aws:dynamodb:{account}:table/{table}"]),
            (LOGS, [f"arn:aws:logs:{account}:log-group:{log_group}:*"]),
        ]


def test_only_lambda_may_take_the_roles(dev: Graph) -> None:
    roles = dev.of_type("aws:iam/role:Role")
    assert sorted(role.name for role in roles) == ["pipeline-ingest", "pipeline-worker"]
    trust: dict[str, Any] = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"},
        ],
    }
    assert [json.loads(role.inputs["assumeRolePolicy"]) for role in roles] == [trust, trust]
    assert {frozenset(role.inputs) for role in roles} == {frozenset({"assumeRolePolicy", "tags"})}


def test_queues_and_bucket_refuse_plain_http_and_the_queue_takes_nothing_else_from_a_policy(dev: Graph) -> None:
    def refusal(action: str, *resources: str) -> dict[str, Any]:
        return {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Sid": "DenyPlainHttp",
                    "Effect": "Deny",
                    "Principal": "*",
                    "Action": action,
                    "Resource": list(resources),
                    "Condition": {"Bool": {"aws:SecureTransport": "false"}},
                },
            ],
        }

    arn = arns(dev)
    policies = {
        policy.name: json.loads(policy.inputs["policy"]) for policy in dev.of_type("aws:sqs/queuePolicy:QueuePolicy")
    }
    assert policies == {
        "pipeline-queue": refusal("sqs:*", arn["queue"]),
        "pipeline-queue-dead-letters": refusal("sqs:*", arn["dead letters"]),
    }
    bucket = arn["results"].removesuffix("/results/*")
    policy = dev.find("aws:s3/bucketPolicy:BucketPolicy", "pipeline-bucket").inputs["policy"]
    assert json.loads(policy) == refusal("s3:*", bucket, f"{bucket}/*")


def test_the_alarms_topic_takes_alarms_of_this_account_and_no_plain_http(dev: Graph) -> None:
    topic = dev.outputs["alarms_topic_arn"]
    policy = json.loads(dev.find("aws:sns/topicPolicy:TopicPolicy", "pipeline-alarms").inputs["policy"])
    assert policy["Statement"] == [
        {
            "Sid": "DenyPlainHttp",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sns:Publish",
            "Resource": [topic],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {
            "Sid": "Alarms",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": topic,
            "Condition": {
                "StringEquals": {"aws:SourceAccount": "123456789012"},
                "ArnLike": {"aws:SourceArn": "arn:aws:cloudwatch:us-east-1:123456789012:alarm:*"},
            },
        },
    ]


def test_only_its_api_may_invoke_the_redrive_function(graph_of: Callable[..., Graph]) -> None:
    for stack, api in (("dev", "pipeline-api"), ("csv", "pipeline-redrive-api")):
        graph = graph_of(stack, queue={"redrive_api": {}})
        granted = dict(graph.find("aws:lambda/permission:Permission", f"{api}-redrive").inputs)
        (stage,) = graph.of_type("aws:apigatewayv2/stage:Stage")
        source = f"arn:aws:execute-api:us-east-1:123456789012:{stage.inputs['apiId']}/*/*"
        assert granted == {
            "action": "lambda:InvokeFunction",
            "function": graph.find("aws:lambda/function:Function", "pipeline-redrive").physical_name,
            "principal": "apigateway.amazonaws.com",
            "sourceArn": source,
        }


def test_only_this_api_may_invoke_the_ingest_function_and_nothing_the_worker(dev: Graph) -> None:
    permissions = dev.of_type("aws:lambda/permission:Permission")
    api = dev.find("aws:apigatewayv2/api:Api", "pipeline-api")
    ingest = dev.find("aws:lambda/function:Function", "pipeline-ingest")
    assert len(permissions) == 1
    granted = dict(permissions[0].inputs)
    source = granted.pop("sourceArn")
    assert granted == {
        "action": "lambda:InvokeFunction",
        "function": ingest.physical_name,
        "principal": "apigateway.amazonaws.com",
    }
    assert source.startswith("arn:aws:execute-api:us-east-1:123456789012:")
    assert source.endswith("/*/*")
    assert api.physical_name
