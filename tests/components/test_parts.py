"""The parts, each by what it asks of AWS."""

import json
from collections.abc import Callable

import pytest

from components.config import ConfigError
from components.grants import Grant, merged_environment, policy_document
from local.recording import Graph
from local.rules import findings

DAY = 86_400


def test_the_queue_hides_messages_for_six_runs_of_the_worker_and_its_batching_window(
    graph_of: Callable[..., Graph],
) -> None:
    worker = {"timeout_seconds": 20, "batch_size": 100, "batching_window_seconds": 7}
    queue = graph_of(worker=worker).find("aws:sqs/queue:Queue", "pipeline-queue")
    assert queue.inputs["visibilityTimeoutSeconds"] == 6 * 20 + 7


def test_sqs_gives_up_on_a_message_last_of_all_and_the_dead_letters_take_only_the_queues_messages(
    graph_of: Callable[..., Graph],
) -> None:
    graph = graph_of(queue={"retention_days": 2})
    queue = graph.find("aws:sqs/queue:Queue", "pipeline-queue")
    dead_letters = graph.find("aws:sqs/queue:Queue", "pipeline-queue-dead-letters")
    arn = f"arn:aws:sqs:us-east-1:123456789012:{dead_letters.physical_name}"
    assert json.loads(queue.inputs["redrivePolicy"]) == {"deadLetterTargetArn": arn, "maxReceiveCount": 1_000}
    assert (queue.inputs["messageRetentionSeconds"], dead_letters.inputs["messageRetentionSeconds"]) == (
        2 * DAY,
        14 * DAY,
    )
    allowed = graph.find("aws:sqs/redriveAllowPolicy:RedriveAllowPolicy", "pipeline-queue").inputs
    assert allowed["queueUrl"].endswith(dead_letters.physical_name)
    source = f"arn:aws:sqs:us-east-1:123456789012:{queue.physical_name}"
    assert json.loads(allowed["redriveAllowPolicy"]) == {"redrivePermission": "byQueue", "sourceQueueArns": [source]}


def test_a_fifo_queue_has_fifo_dead_letters_order_within_groups_and_no_window(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(queue={"fifo": {"group_field": "customer_id"}})
    for name in ("pipeline-queue", "pipeline-queue-dead-letters"):
        queue = graph.find("aws:sqs/queue:Queue", name)
        assert queue.physical_name.endswith(".fifo")
        assert {
            key: value for key, value in queue.inputs.items() if "fifo" in key.lower() or "dedup" in key.lower()
        } == {
            "fifoQueue": True,
            "deduplicationScope": "messageGroup",
            "fifoThroughputLimit": "perMessageGroupId",
        }
    mapping = graph.find("aws:lambda/eventSourceMapping:EventSourceMapping", "pipeline-worker").inputs
    assert mapping["batchSize"] == 10
    assert "maximumBatchingWindowInSeconds" not in mapping
    for queue in graph_of().of_type("aws:sqs/queue:Queue"):
        assert not {"fifoQueue", "deduplicationScope", "fifoThroughputLimit"} & queue.inputs.keys()


def test_both_queues_are_encrypted_and_take_the_largest_message(dev: Graph) -> None:
    for queue in dev.of_type("aws:sqs/queue:Queue"):
        assert queue.inputs["sqsManagedSseEnabled"] is True
        assert queue.inputs["maxMessageSize"] == 1_048_576


def test_the_table_has_one_item_an_event_and_an_index_by_time(dev: Graph) -> None:
    inputs = dict(dev.find("aws:dynamodb/table:Table", "pipeline-table").inputs)
    del inputs["tags"]
    assert inputs == {
        "billingMode": "PAY_PER_REQUEST",
        "hashKey": "id",
        "attributes": [{"name": key, "type": "S"} for key in ("id", "day_shard", "time_key")],
        "globalSecondaryIndexes": [
            {
                "name": "by-time",
                "keySchemas": [
                    {"attributeName": "day_shard", "keyType": "HASH"},
                    {"attributeName": "time_key", "keyType": "RANGE"},
                ],
                "projectionType": "INCLUDE",
                "nonKeyAttributes": ["type"],
            },
        ],
        "ttl": {"attributeName": "expires_at", "enabled": True},
        "pointInTimeRecovery": {"enabled": False},
        "deletionProtectionEnabled": False,
    }


def test_without_a_time_index_the_table_has_none(graph_of: Callable[..., Graph]) -> None:
    table = graph_of(storage={"time_index": False}).find("aws:dynamodb/table:Table", "pipeline-table")
    assert "globalSecondaryIndexes" not in table.inputs
    assert table.inputs["attributes"] == [{"name": "id", "type": "S"}]


def test_the_bucket_is_private_encrypted_and_forgets(dev: Graph) -> None:
    def inputs(kind: str) -> dict[str, object]:
        found = dict(dev.find(f"aws:s3/{kind[0].lower()}{kind[1:]}:{kind}", "pipeline-bucket").inputs)
        found.pop("bucket", None)
        return found

    assert inputs("BucketPublicAccessBlock") == {
        "blockPublicAcls": True,
        "blockPublicPolicy": True,
        "ignorePublicAcls": True,
        "restrictPublicBuckets": True,
    }
    assert inputs("BucketOwnershipControls") == {"rule": {"objectOwnership": "BucketOwnerEnforced"}}
    assert inputs("BucketServerSideEncryptionConfiguration") == {
        "rules": [
            {
                "applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"},
                "bucketKeyEnabled": False,
                "blockedEncryptionTypes": ["SSE-C"],
            }
        ],
    }
    assert inputs("BucketLifecycleConfiguration") == {
        "rules": [
            {
                "id": "expire-results",
                "status": "Enabled",
                "filter": {"prefix": "results/"},
                "expiration": {"days": 90},
            },
            {
                "id": "clean-up",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
                "noncurrentVersionExpiration": {"noncurrentDays": 30},
            },
        ],
    }


@pytest.mark.parametrize(("environment", "kept"), [("dev", False), ("prod", True)])
def test_prod_keeps_data_and_dev_destroys_cleanly(
    graph_of: Callable[..., Graph],
    environment: str,
    kept: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    graph = graph_of(environment=environment, api={"auth": "iam"}, encryption={"customer_key": {}})
    retained = {each.type.rsplit(":", 1)[1] for each in graph if each.retained}
    # And what protects the bucket.
    protection = {each.type.rsplit(":", 1)[1] for each in graph if "bucket" in each.inputs and each.custom}
    assert protection >= {"BucketPublicAccessBlock", "BucketPolicy", "BucketServerSideEncryptionConfiguration"}
    assert retained == ({"Table", "Bucket", "Key", *protection} if kept else set())
    table = graph.find("aws:dynamodb/table:Table", "pipeline-table").inputs
    bucket = graph.find("aws:s3/bucket:Bucket", "pipeline-bucket").inputs
    assert table["deletionProtectionEnabled"] is kept
    assert table["pointInTimeRecovery"] == {"enabled": kept}
    assert bucket["forceDestroy"] is not kept
    assert bool(graph.of_type("aws:s3/bucketVersioning:BucketVersioning")) is kept
    retention = {group.inputs["retentionInDays"] for group in graph.of_type("aws:cloudwatch/logGroup:LogGroup")}
    assert retention == {365 if kept else 14}


def test_subscriptions_follow_the_config_and_a_function_may_be_invoked_by_the_topic(
    graph_of: Callable[..., Graph],
) -> None:
    function = "arn:aws:lambda:us-east-1:123456789012:function:pager"
    subscriptions = [
        {"protocol": "email", "endpoint": "ops@example.com"},
        {"protocol": "lambda", "endpoint": f"{function}:live"},
    ]
    # A new alarm that is not needed tells nobody so.
    rings_or_rang = {"$or": [{"NewStateValue": ["ALARM"]}, {"OldStateValue": ["ALARM"]}]}
    filters = {"alarms": {"filterPolicy": json.dumps(rings_or_rang), "filterPolicyScope": "MessageBody"}}
    graph = graph_of(notifications={"subscriptions": subscriptions})
    made = sorted(graph.of_type("aws:sns/topicSubscription:TopicSubscription"), key=lambda each: str(each.name))
    topics = {name: graph.outputs[f"{name}_topic_arn"] for name in ("alarms", "alerts")}
    expected = []
    for name, topic in topics.items():
        queue = graph.find("aws:sqs/queue:Queue", f"pipeline-{name}-dead-letters").physical_name
        kept = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:123456789012:{queue}"})
        expected += [
            {**subscriptions[0], "topic": topic, **filters.get(name, {})},
            {**subscriptions[1], "topic": topic, "redrivePolicy": kept, **filters.get(name, {})},
        ]
    assert [dict(subscription.inputs) for subscription in made] == expected
    permissions = [
        (permission.inputs["function"], permission.inputs["qualifier"], permission.inputs["sourceArn"])
        for permission in graph.of_type("aws:lambda/permission:Permission")
        if permission.inputs["principal"] == "sns.amazonaws.com"
    ]
    assert sorted(permissions) == sorted((function, "live", topic) for topic in topics.values())


@pytest.mark.parametrize("kind", ["http", "rest"])
def test_an_api_leads_to_a_function_only_when_it_may_invoke_it(graph_of: Callable[..., Graph], kind: str) -> None:
    graph = graph_of(api={"kind": kind})
    (permission,) = [
        each
        for each in graph.of_type("aws:lambda/permission:Permission")
        if each.inputs["principal"] == "apigateway.amazonaws.com"
    ]
    late = "aws:apigatewayv2/integration:Integration" if kind == "http" else "aws:apigateway/deployment:Deployment"
    assert all(permission.urn in each.dependencies for each in graph.of_type(late))


@pytest.mark.parametrize("protocol", ["https", "sqs", "lambda"])
def test_what_a_topic_cannot_deliver_is_kept_and_rings(graph_of: Callable[..., Graph], protocol: str) -> None:
    endpoint = {
        "https": "https://ops.example.com/alerts",
        "sqs": "arn:aws:sqs:us-east-1:123456789012:pager",
        "lambda": "arn:aws:lambda:us-east-1:123456789012:function:pager",
    }[protocol]
    graph = graph_of(notifications={"subscriptions": [{"protocol": protocol, "endpoint": endpoint}]})
    queue = graph.find("aws:sqs/queue:Queue", "pipeline-alerts-dead-letters")
    document = json.loads(
        graph.find("aws:sqs/queuePolicy:QueuePolicy", "pipeline-alerts-dead-letters").inputs["policy"]
    )
    assert document["Statement"][1:] == [
        {
            "Sid": "Undelivered",
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": f"arn:aws:sqs:us-east-1:123456789012:{queue.physical_name}",
            "Condition": {"ArnEquals": {"aws:SourceArn": graph.outputs["alerts_topic_arn"]}},
        },
    ]
    alarm = graph.find("aws:cloudwatch/metricAlarm:MetricAlarm", "pipeline-watch-alerts-undelivered").inputs
    metrics = [query["metric"] for query in alarm["metricQueries"] if "metric" in query]
    assert [each["metricName"] for each in metrics] == [
        "ApproximateNumberOfMessagesVisible",
        "ApproximateNumberOfMessagesNotVisible",
    ]
    assert all(each["dimensions"] == {"QueueName": queue.physical_name} for each in metrics)
    assert {finding.rule for finding in findings(graph)} == {"open-api"}


def test_who_gets_an_email_needs_no_dead_letters(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(notifications={"subscriptions": [{"protocol": "email", "endpoint": "ops@example.com"}]})
    assert len(graph.of_type("aws:sqs/queue:Queue")) == 2
    assert len(graph.of_type("aws:sns/topicSubscription:TopicSubscription")) == 2
    assert {finding.rule for finding in findings(graph)} == {"open-api"}


def test_what_a_bus_cannot_encrypt_is_kept_in_a_queue_that_takes_it_without_the_key(
    graph_of: Callable[..., Graph],
) -> None:
    graph = graph_of(api={"auth": "iam"}, outcomes={}, encryption={"customer_key": {}})
    bus = graph.find("aws:cloudwatch/eventBus:EventBus", "pipeline-outcomes")
    queue = graph.find("aws:sqs/queue:Queue", "pipeline-outcomes-dead-letters")
    arn = f"arn:aws:sqs:us-east-1:123456789012:{queue.physical_name}"
    assert bus.inputs["deadLetterConfig"] == {"arn": arn}
    assert {key: value for key, value in queue.inputs.items() if key != "tags"} == {
        "messageRetentionSeconds": 14 * DAY,
        "maxMessageSize": 1_048_576,
        "sqsManagedSseEnabled": True,
    }
    policy = graph.find("aws:sqs/queuePolicy:QueuePolicy", "pipeline-outcomes-dead-letters").inputs
    assert policy["queueUrl"].endswith(f"/{queue.physical_name}")
    assert json.loads(policy["policy"]) == {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "DenyPlainHttp",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": [arn],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
            {
                "Sid": "GivenUp",
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {
                    "ArnEquals": {
                        "aws:SourceArn": f"arn:aws:events:us-east-1:123456789012:event-bus/{bus.physical_name}"
                    },
                    "StringEquals": {"aws:SourceAccount": "123456789012"},
                },
            },
        ],
    }
    assert findings(graph) == []


def test_a_bus_without_a_key_of_the_stack_has_no_dead_letters(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of(api={"auth": "iam"}, outcomes={})
    assert "deadLetterConfig" not in graph.find("aws:cloudwatch/eventBus:EventBus", "pipeline-outcomes").inputs
    assert "pipeline-outcomes-dead-letters" not in {each.name for each in graph}
    assert findings(graph) == []


def test_no_worker_takes_all_of_the_accounts_functions(graph_of: Callable[..., Graph]) -> None:
    kind = "aws:lambda/eventSourceMapping:EventSourceMapping"
    limited = graph_of(worker={"maximum_concurrency": 5}).find(kind, "pipeline-worker")
    assert limited.inputs["scalingConfig"] == {"maximumConcurrency": 5}
    for stack in ("dev", "csv"):
        assert graph_of(stack).find(kind, "pipeline-worker").inputs["scalingConfig"] == {"maximumConcurrency": 100}


def test_pollers_of_the_queue_s_own_replace_the_maximum_concurrency(graph_of: Callable[..., Graph]) -> None:
    kind = "aws:lambda/eventSourceMapping:EventSourceMapping"
    for stack in ("dev", "csv"):
        for given, expected in (({}, (2, 200)), ({"minimum": 20, "maximum": 2_000}, (20, 2_000))):
            mapping = graph_of(stack, worker={"provisioned_pollers": given}).find(kind, "pipeline-worker").inputs
            # AWS refuses both together: https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
            assert "scalingConfig" not in mapping
            pollers = mapping["provisionedPollerConfig"]
            assert (pollers["minimumPollers"], pollers["maximumPollers"]) == expected
            assert pollers.keys() == {"minimumPollers", "maximumPollers"}


def test_functions_that_nobody_polls_for_have_the_concurrency_that_is_reserved(graph_of: Callable[..., Graph]) -> None:
    reserved = graph_of(api={"reserved_concurrency": 7}), graph_of("iot", worker={"reserved_concurrency": 7})
    found = [
        {
            each.name: each.inputs.get("reservedConcurrentExecutions")
            for each in graph.of_type("aws:lambda/function:Function")
        }
        for graph in reserved
    ]
    assert found == [{"pipeline-ingest": 7, "pipeline-worker": None}, {"pipeline-worker": 7, "pipeline-watcher": None}]


def test_two_grants_that_name_one_variable_differently_are_refused() -> None:
    one, other = Grant((), (), {"QUEUE_URL": "a"}), Grant((), (), {"QUEUE_URL": "b"})
    assert merged_environment([one, one]) == {"QUEUE_URL": "a"}
    with pytest.raises(ValueError, match="QUEUE_URL"):
        merged_environment([one, other])


def test_two_grants_of_one_role_with_one_why_are_refused() -> None:
    one, other = Grant(("s3:GetObject",), ("a",), why="read"), Grant(("s3:GetObject",), ("b",), why="read")
    with pytest.raises(ValueError, match="two grants of one role are both to read"):
        policy_document([one, other], key_arn=None)


def test_a_wrong_config_stops_before_anything_is_registered(graph_of: Callable[..., Graph]) -> None:
    with pytest.raises(ConfigError, match=r"Pulumi\.dev\.yaml: datapipeline:api\.max_batch = 9000"):
        graph_of(api={"max_batch": 9000})
