"""The iot variant: its config's errors and its graph."""

import dataclasses
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from components.config import ConfigError, load
from components.options.iot import IotPipelineConfig
from handlers.iot import watcher
from handlers.iot.forms import Form
from handlers.iot.settings import IotWatcherSettings, IotWorkerSettings
from handlers.iot.silence import Silences
from local.recording import Graph
from tests.graphs import SAMPLES

IOT = {"datapipeline:variant": "iot"}
LIMIT_KEYS = "cooldown_minutes, hysteresis, max, min"


def config(**options: Any) -> IotPipelineConfig:
    raw = IOT | {f"datapipeline:{key}": json.dumps(value) for key, value in options.items()}
    found = load(raw, file="Pulumi.iot.yaml")
    assert isinstance(found, IotPipelineConfig)
    return found


def problem(**options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        config(**options)
    return str(error.value).removeprefix("Pulumi.iot.yaml: datapipeline:").strip()


@pytest.fixture(scope="module")
def iot(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of("iot")


def name_of(graph: Graph, kind: str, name: str) -> str:
    return graph.find(kind, name).physical_name


# Config


def test_numbers_of_thresholds_are_exact() -> None:
    options = {"warning": {"min": -0.1, "max": 0.3, "hysteresis": 0.05}}
    limits = config(thresholds={"temperature": options}).thresholds["temperature"].levels()["warning"]
    assert (limits.min, limits.max, limits.hysteresis) == (Decimal("-0.1"), Decimal("0.3"), Decimal("0.05"))


def test_a_device_differs_in_what_it_says_and_null_takes_a_limit_away() -> None:
    common = {"warning": {"min": 0, "max": 30, "hysteresis": 1}, "critical": {"max": 40}}
    own = {"oven": {"warning": {"max": 300, "min": None}, "critical": None}, "kiln": {"critical": {"max": 900}}}
    threshold = config(thresholds={"temperature": {**common, "devices": own}}).thresholds["temperature"]
    oven, kiln = threshold.of_device("oven"), threshold.of_device("kiln")
    assert oven.keys() == {"warning"}
    assert (oven["warning"].min, oven["warning"].max, oven["warning"].hysteresis) == (None, Decimal(300), Decimal(1))
    assert (kiln["warning"].max, kiln["critical"].max) == (Decimal(30), Decimal(900))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"thresholds": {"t": {"warning": {"min": 5, "max": 6, "hysteresis": 1}}}},
            "thresholds.t: warning: min 5 and max 6 leave no room for a hysteresis of 1 on both sides",
        ),
        (
            {"thresholds": {"t": {"critical": {"min": 5}, "devices": {"d1": {"critical": {"max": 4}}}}}},
            "thresholds.t: devices.d1: critical: min 5 and max 4 leave no room for a hysteresis of 0 on both sides",
        ),
        (
            {"thresholds": {"t": {"warning": {"hysteresis": 1}}}},
            "thresholds.t: needs a level, warning or critical, with min or max",
        ),
        (
            {"thresholds": {"t": {"warning": {"max": 5}, "critical": {"max": 4}}}},
            "thresholds.t: critical.max 4 is below warning.max 5",
        ),
        (
            {"thresholds": {"t": {"warning": {"min": 5}, "devices": {"d1": {"critical": {"min": 6}}}}}},
            "thresholds.t: devices.d1: critical.min 6 is above warning.min 5",
        ),
        (
            {"thresholds": {"t": {"warning": {"max": 1, "cooldown_minutes": -1}}}},
            "thresholds.t.warning.cooldown_minutes = -1: Input should be greater than or equal to 0",
        ),
        (
            {"thresholds": {"t": {"max": 1}}},
            "thresholds.t.max: unknown key; allowed here: critical, devices, warning",
        ),
        (
            {"thresholds": {"t": {"warning": {"max": 1}, "devices": {"d": {"warning": {"maximum": 2}}}}}},
            f"thresholds.t.devices.d.warning.maximum: unknown key; allowed here: {LIMIT_KEYS}",
        ),
        (
            {"thresholds": {f"m{number}": {"warning": {"min": 0, "max": 5}} for number in range(201)}},
            "thresholds: a device has 402 limits; the state of a device has room for 400",
        ),
        (
            {
                "thresholds": {
                    f"m{number}": {
                        "warning": {"min": 0, "max": 5},
                        "devices": {"d1": {"critical": {"max": 9}}} if number else {},
                    }
                    for number in range(140)
                }
            },
            "thresholds: d1 has 419 limits; the state of a device has room for 400",
        ),
        (
            {"readings": {"time_formats": ["epoch_hours"]}},
            (
                "readings.time_formats.0 = 'epoch_hours': Input should be 'iso8601', 'epoch_seconds', "
                "'epoch_milliseconds' or 'epoch_microseconds'"
            ),
        ),
        (
            {"readings": {"max_object_mb": 100}},
            "worker.memory_mb 1024 is too little for readings.max_object_mb 100: set at least 1628",
        ),
        (
            {"silence": {"after_minutes": None}},
            "silence: watches no device: set after_minutes, or remove silence",
        ),
        ({"silence": {"after_minutes": 0}}, "silence.after_minutes = 0: Input should be greater than or equal to 1"),
        (
            {"silence": {"after_minutes": 1_440}, "storage": {"readings_expire_after_days": 1}},
            (
                "silence.after_minutes 1440 must be below the 1440 minutes of storage.readings_expire_after_days, "
                "after which a silent device is forgotten"
            ),
        ),
        (
            {
                "silence": {"after_minutes": None, "devices": {"d1": {"after_minutes": 2_000}}},
                "storage": {"readings_expire_after_days": 1},
            },
            (
                "silence.devices.d1.after_minutes 2000 must be below the 1440 minutes of "
                "storage.readings_expire_after_days, after which a silent device is forgotten"
            ),
        ),
        (
            {"api": {}},
            (
                "api: unknown key; allowed here: accepted_findings, alarms, allow_data_loss, dead_letters, encryption, "
                "environment, logs, network, notifications, readings, silence, storage, tags, thresholds, "
                "tracing, variant, worker"
            ),
        ),
    ],
)
def test_a_wrong_config_says_where_and_what_is_allowed(options: dict[str, Any], line: str) -> None:
    assert problem(**options) == line


# Graph


def test_the_stack_has_these_outputs(iot: Graph) -> None:
    names = {
        "input_bucket",
        "table_name",
        "dead_letter_queue_url",
        "alerts_topic_arn",
        "alarms_topic_arn",
        "worker_name",
        "log_groups",
        "alarm_names",
    }
    assert set(iot.outputs) == names


def test_the_worker_may_do_exactly_this(iot: Graph) -> None:
    account = "us-east-1:123456789012"
    bucket = f"arn:aws:s3:::{name_of(iot, 'aws:s3/bucket:Bucket', 'pipeline-bucket')}"
    queue = name_of(iot, "aws:sqs/queue:Queue", "pipeline-dead-letters")
    table = name_of(iot, "aws:dynamodb/table:Table", "pipeline-table")
    topic = name_of(iot, "aws:sns/topic:Topic", "pipeline-alerts")
    logs = name_of(iot, "aws:cloudwatch/logGroup:LogGroup", "pipeline-worker")
    policy = iot.find("aws:iam/rolePolicy:RolePolicy", "pipeline-worker")
    statements = json.loads(policy.inputs["policy"])["Statement"]
    assert [(each["Effect"], each["Action"], each["Resource"]) for each in statements] == [
        ("Allow", ["s3:GetObject"], [f"{bucket}/readings/*"]),
        ("Allow", ["s3:ListBucket"], [bucket]),
        ("Allow", ["sqs:SendMessage"], [f"arn:aws:sqs:{account}:{queue}"]),
        ("Allow", ["s3:PutObject"], [f"{bucket}/rejected/*"]),
        (
            "Allow",
            ["dynamodb:BatchWriteItem", "dynamodb:BatchGetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"],
            [f"arn:aws:dynamodb:{account}:table/{table}"],
        ),
        ("Allow", ["sns:Publish"], [f"arn:aws:sns:{account}:{topic}"]),
        ("Allow", ["logs:CreateLogStream", "logs:PutLogEvents"], [f"arn:aws:logs:{account}:log-group:{logs}:*"]),
    ]
    assert {each.keys() == {"Sid", "Effect", "Action", "Resource"} for each in statements} == {True}


def test_where_the_bucket_keeps_versions_the_worker_may_read_them(iot: Graph, graph_of: Callable[..., Graph]) -> None:
    versioned = graph_of("iot", storage={"bucket_versioning": True})
    plain, policy = (each.find("aws:iam/rolePolicy:RolePolicy", "pipeline-worker") for each in (iot, versioned))
    read, *others = json.loads(policy.inputs["policy"])["Statement"]
    plain_read, *plain_others = json.loads(plain.inputs["policy"])["Statement"]
    assert read == {**plain_read, "Action": ["s3:GetObject", "s3:GetObjectVersion"]}
    assert others == plain_others


def test_failed_events_go_to_the_dead_letters_after_two_more_attempts(iot: Graph) -> None:
    invoke = iot.find("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "pipeline-worker")
    queue = name_of(iot, "aws:sqs/queue:Queue", "pipeline-dead-letters")
    assert invoke.inputs == {
        "functionName": name_of(iot, "aws:lambda/function:Function", "pipeline-worker"),
        "maximumRetryAttempts": 2,
        "maximumEventAgeInSeconds": 21_600,
        "destinationConfig": {"onFailure": {"destination": f"arn:aws:sqs:us-east-1:123456789012:{queue}"}},
    }


def test_the_bucket_invokes_the_worker_for_readings_only_and_only_this_bucket_may(iot: Graph) -> None:
    function = name_of(iot, "aws:lambda/function:Function", "pipeline-worker")
    bucket = name_of(iot, "aws:s3/bucket:Bucket", "pipeline-bucket")
    arn = f"arn:aws:lambda:us-east-1:123456789012:function:{function}"
    (notification,) = iot.of_type("aws:s3/bucketNotification:BucketNotification")
    assert notification.inputs == {
        "bucket": bucket,
        "lambdaFunctions": [
            {
                "lambdaFunctionArn": arn,
                "events": ["s3:ObjectCreated:*"],
                "filterPrefix": "readings/",
            }
        ],
    }
    (permission,) = iot.of_type("aws:lambda/permission:Permission")
    assert permission.inputs == {
        "action": "lambda:InvokeFunction",
        "function": function,
        "principal": "s3.amazonaws.com",
        "sourceArn": f"arn:aws:s3:::{bucket}",
        "sourceAccount": "123456789012",
    }


def test_the_notification_waits_for_the_permission_and_for_where_failures_go(iot: Graph) -> None:
    (notification,) = iot.of_type("aws:s3/bucketNotification:BucketNotification")
    (permission,) = iot.of_type("aws:lambda/permission:Permission")
    invoke = iot.find("aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig", "pipeline-worker")
    assert {permission.urn, invoke.urn} <= set(notification.dependencies)
    policy = iot.find("aws:iam/rolePolicy:RolePolicy", "pipeline-worker")
    function = iot.find("aws:lambda/function:Function", "pipeline-worker")
    assert policy.urn in function.dependencies


def index(name: str, range_key: str) -> dict[str, Any]:
    keys = [{"attributeName": "device_shard", "keyType": "HASH"}, {"attributeName": range_key, "keyType": "RANGE"}]
    return {"name": name, "keySchemas": keys, "projectionType": "KEYS_ONLY"}


def test_the_table_has_a_device_s_readings_in_one_partition_by_time_and_indexes_of_devices(iot: Graph) -> None:
    (table,) = iot.of_type("aws:dynamodb/table:Table")
    assert (table.inputs["hashKey"], table.inputs["rangeKey"]) == ("device_id", "time_key")
    assert table.inputs["globalSecondaryIndexes"] == [index("by-device", "device_id"), index("by-due-at", "due_at")]
    types = {each["name"]: each["type"] for each in table.inputs["attributes"]}
    assert types == {"device_id": "S", "time_key": "S", "device_shard": "S", "due_at": "N"}
    assert table.inputs["ttl"] == {"attributeName": "expires_at", "enabled": True}
    assert table.inputs["billingMode"] == "PAY_PER_REQUEST"


def test_the_worker_s_archive_holds_the_thresholds_and_no_processor(iot: Graph) -> None:
    function = iot.find("aws:lambda/function:Function", "pipeline-worker")
    files = function.inputs["code"].assets
    common = {"cooldown_minutes": 10, "min": None}
    assert json.loads(files["thresholds.json"].text) == {
        "temperature": {"": {"critical": {**common, "min": "-10", "max": "30", "hysteresis": "1"}}},
        "humidity": {"": {"warning": {**common, "max": "80", "hysteresis": "2"}}},
    }
    own = {"thresholds.json", "silence.json", "schema.json", "form.json"}
    assert {path.split("/")[0] for path in files} == {"handlers", *own}
    assert json.loads(files["silence.json"].text) == {"": 30}
    assert json.loads(files["schema.json"].text) == {}
    assert function.inputs["handler"] == "handlers.iot.worker.handler"


def test_the_alarms_are_these(iot: Graph) -> None:
    function = {"FunctionName": name_of(iot, "aws:lambda/function:Function", "pipeline-worker")}
    watcher = {"FunctionName": name_of(iot, "aws:lambda/function:Function", "pipeline-watcher")}
    unwatched = {"QueueName": name_of(iot, "aws:sqs/queue:Queue", "pipeline-watcher-dead-letters")}
    queue = {"QueueName": name_of(iot, "aws:sqs/queue:Queue", "pipeline-dead-letters")}
    own = {"service": "datapipeline-iot"}

    def depth(of: dict[str, str]) -> list[tuple[str, str, dict[str, str]]]:
        return [("AWS/SQS", f"ApproximateNumberOfMessages{kind}", of) for kind in ("Visible", "NotVisible")]

    found = {}
    for alarm in iot.of_type("aws:cloudwatch/metricAlarm:MetricAlarm"):
        inputs = alarm.inputs
        metrics = [query["metric"] for query in inputs.get("metricQueries", []) if "metric" in query] or [inputs]
        assert inputs["alarmActions"] == inputs["okActions"] == [iot.outputs["alarms_topic_arn"]]
        found[alarm.name.removeprefix("pipeline-watch-")] = (
            [(metric["namespace"], metric["metricName"], metric["dimensions"]) for metric in metrics],
            inputs["threshold"],
        )
    assert found == {
        "dead-letters": (depth(queue), 1),
        "more-dead-letters": (depth(queue), 1),
        "oldest-dead-letter": ([("AWS/SQS", "ApproximateAgeOfOldestMessage", queue)], 14 * 86_400 * 0.75),
        "rejected-readings": ([("DataPipeline", "Rejected", own), ("DataPipeline", "Received", own)], 5),
        "bad-metrics": ([("DataPipeline", "DevicesWithBadMetrics", own), ("DataPipeline", "Devices", own)], 5),
        "skipped-objects": ([("DataPipeline", "Skipped", own)], 1),
        # https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html (asynchronous invocation metrics)
        "event-age": ([("AWS/Lambda", "AsyncEventAge", function)], 900_000),
        "undelivered": ([("AWS/Lambda", "DestinationDeliveryFailures", function)], 1),
        "worker-errors": ([("AWS/Lambda", "Errors", function), ("AWS/Lambda", "Invocations", function)], 5),
        "worker-throttles": ([("AWS/Lambda", "Throttles", function)], 1),
        "worker-duration": ([("AWS/Lambda", "Duration", function)], 300_000 * 0.8),
        "watcher-incomplete": ([("DataPipeline", "IncompleteWatches", own)], 1),
        "watcher-stopped": ([("AWS/Lambda", "Invocations", watcher)], 1),
        "watcher-dead-letters": (depth(unwatched), 1),
        "watcher-errors": ([("AWS/Lambda", "Errors", watcher), ("AWS/Lambda", "Invocations", watcher)], 5),
        "watcher-throttles": ([("AWS/Lambda", "Throttles", watcher)], 1),
        "watcher-duration": ([("AWS/Lambda", "Duration", watcher)], 60_000 * 0.8),
    }


def test_the_dashboard_shows_what_the_worker_counts(iot: Graph) -> None:
    (dashboard,) = iot.of_type("aws:cloudwatch/dashboard:Dashboard")
    widgets = json.loads(dashboard.inputs["dashboardBody"])["widgets"]
    shown = {(metric[0], metric[1]) for widget in widgets for metric in widget["properties"]["metrics"]}
    assert shown == {
        *(("DataPipeline", name) for name in ("Stored", "Repeated", "Rejected", "Partial", "Alerts", "Latency")),
        *(("DataPipeline", name) for name in ("Silences", "Returns")),
        *(("AWS/Lambda", name) for name in ("AsyncEventAge", "Invocations", "Errors", "Throttles")),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
    }


def test_the_worker_reads_exactly_the_environment_that_is_deployed(iot: Graph) -> None:
    deployed = iot.find("aws:lambda/function:Function", "pipeline-worker").inputs["environment"]["variables"]
    own = {name for name in deployed if not name.startswith("POWERTOOLS_")}
    assert own == {each.name.upper() for each in dataclasses.fields(IotWorkerSettings)}
    settings = IotWorkerSettings.from_environment(deployed)
    assert settings.max_object_bytes == 32_000_000
    assert settings.suffixes == ".json .jsonl .gz"
    assert settings.readings_expire_after_days == 90


def test_the_watcher_reads_exactly_the_environment_that_is_deployed_and_looks_each_minute(iot: Graph) -> None:
    function = iot.find("aws:lambda/function:Function", "pipeline-watcher").inputs
    deployed = function["environment"]["variables"]
    own = {name for name in deployed if not name.startswith("POWERTOOLS_")}
    assert own == {each.name.upper() for each in dataclasses.fields(IotWatcherSettings)}
    assert IotWatcherSettings.from_environment(deployed).alerts_topic_arn == iot.outputs["alerts_topic_arn"]
    assert function["handler"] == "handlers.iot.watcher.handler"
    # A run ends before its alerts' lease does, and makes up its mind in less than a minute.
    assert watcher.CLAIM_SECONDS < function["timeout"] < watcher.LEASE_SECONDS
    schedule = iot.find("aws:scheduler/schedule:Schedule", "pipeline-watcher-every-minute").inputs
    assert schedule["scheduleExpression"] == "rate(1 minute)"


def test_without_silence_there_is_no_watcher_and_no_index_for_it(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("iot", silence=None)
    (function,) = graph.of_type("aws:lambda/function:Function")
    assert function.name == "pipeline-worker"
    assert not graph.of_type("aws:scheduler/schedule:Schedule")
    (table,) = graph.of_type("aws:dynamodb/table:Table")
    assert table.inputs["globalSecondaryIndexes"] == [index("by-device", "device_id")]
    assert "due_at" not in {each["name"] for each in table.inputs["attributes"]}
    assert json.loads(function.inputs["code"].assets["silence.json"].text) == {}


def test_the_minutes_of_devices_are_what_the_functions_read() -> None:
    silence = {"after_minutes": 30, "devices": {"fast": {"after_minutes": 5}, "never": {"after_minutes": None}}}
    silences = Silences.from_json(config(silence=silence).silence_json())
    assert [silences.after_seconds(device) for device in ("fast", "never", "other")] == [300, None, 1_800]
    assert not Silences.from_json(config().silence_json()).switched_on


def test_prod_protects_and_keeps_its_data(graph_of: Callable[..., Graph]) -> None:
    prod = graph_of("iot", environment="prod")
    (table,) = prod.of_type("aws:dynamodb/table:Table")
    assert table.inputs["deletionProtectionEnabled"] is True
    assert table.inputs["pointInTimeRecovery"] == {"enabled": True}
    assert prod.of_type("aws:s3/bucketVersioning:BucketVersioning")


def test_a_schema_of_readings_travels_in_the_archive(graph_of: Callable[..., Graph]) -> None:
    graph = graph_of("iot", readings={"reading_schema": "schemas/page_view.json"})
    function = graph.find("aws:lambda/function:Function", "pipeline-worker")
    schema = json.loads((SAMPLES / "schemas/page_view.json").read_text())
    assert json.loads(function.inputs["code"].assets["schema.json"].text) == schema


def test_the_form_of_readings_is_what_the_worker_reads() -> None:
    assert Form.from_json(config().form_json()) == Form(time_formats=["iso8601"])
    fields = {"device_id": "device_id | dev.id", "timestamp": "ts", "metrics": "data"}
    options = {"metric_names": {"temp": "temperature", "firmware": None}, "time_formats": ["epoch_seconds"]}
    form = Form.from_json(config(readings={"fields": fields, "partial": False, **options}).form_json())
    assert form == Form(
        device_id=(("device_id",), ("dev", "id")),
        timestamp=(("ts",),),
        metrics=(("data",),),
        metric_names={"temp": "temperature", "firmware": None},
        time_formats=["epoch_seconds"],
        partial=False,
    )
