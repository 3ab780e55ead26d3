"""The csv variant: its options, its graph, and what its worker may do, by equality."""

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any, cast, get_args

import pytest

from components.config import ConfigError, load
from components.options import csv as options
from components.options.csv import CsvPipelineConfig
from components.options.csv_columns import ColumnOptions
from components.variants import csv as variant
from handlers.csv import run
from handlers.csv.columns import Column, FileFormat
from handlers.csv.settings import CsvWorkerSettings
from handlers.csv.worker import COUNTS
from handlers.shared import metrics
from local.recording import Graph

FILE = "Pulumi.csv.yaml"
COLUMNS = [{"name": "a"}]


def lines(**given: Any) -> list[str]:
    raw = {"variant": "csv", "input": {"columns": COLUMNS}, **given}
    values = {
        f"datapipeline:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in raw.items()
    }
    with pytest.raises(ConfigError) as raised:
        load(values, file=FILE)
    return str(raised.value).splitlines()


def loaded(**given: Any) -> CsvPipelineConfig:
    values = {
        f"datapipeline:{key}": json.dumps(value) for key, value in ({"input": {"columns": COLUMNS}} | given).items()
    }
    config = load({"datapipeline:variant": "csv", **values}, file=FILE)
    assert isinstance(config, CsvPipelineConfig)
    return config


def column(**more: Any) -> dict[str, Any]:
    return {"input": {"columns": [{"name": "a", **more}]}}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"input": {}}, "datapipeline:input.columns is missing"),
        ({"input": {"columns": []}}, "datapipeline:input.columns = []: Tuple should have at least 1 item"),
        (
            {"input": {"columns": [{"name": "Order Date"}]}},
            "datapipeline:input.columns.0.name = 'Order Date': String should match pattern",
        ),
        (column(type="money"), "datapipeline:input.columns.0.type = 'money': Input should be"),
        (column(format="%d"), "column 'a': format goes with type date or datetime, not 'string'"),
        (column(type="number", group="."), "column 'a': decimal and group are both '.'; set the other one, too"),
        (column(type="boolean", true_values=["x"], false_values=["x"]), "'x' is in true_values and in false_values"),
        (column(zz=1), "datapipeline:input.columns.0.zz: unknown key; allowed here: aliases,"),
        (column(pattern="("), "is not a regular expression"),
        (column(type="date", pattern="x"), "pattern and choices go with type 'string'"),
        (column(type="date", min=3), "min 3.0 must be '2024-01-31' with type 'date'"),
        (column(type="date", max="2024-02-30"), "max '2024-02-30' must be '2024-01-31'"),
        (column(type="number", min="low"), "min 'low' must be a number"),
        (column(type="boolean", min=1), "do not go with type 'boolean'"),
        ({"input": {"columns": [{"name": "a"}, {"name": "a"}]}}, "'a' and 'a' would both claim the header 'a'"),
        (
            {"input": {"columns": [{"name": "a"}, {"name": "b", "aliases": ["A"]}]}},
            "columns 'a' and 'b' would both claim the header 'A'; rename one, or remove the alias",
        ),
        (
            {"input": {"columns": [{"name": "order_id"}, {"name": "old", "aliases": ["Order-ID"]}]}},
            "columns 'order_id' and 'old' would both claim the header 'Order-ID'",
        ),
        (
            {"input": {"columns": [{"name": "share_pct"}, {"name": "b", "aliases": ["Share (%)"]}]}},
            "columns 'share_pct' and 'b' would both claim the header 'Share (%)'",
        ),
        ({"input": {"columns": COLUMNS, "delimiter": '"'}}, "delimiter must not be '\"'"),
        *(
            ({"input": {"columns": [{"name": "a"}], **given}}, message)
            for given, message in cast("list[tuple[dict[str, Any], str]]", [
                ({"delimiter": "~\n"}, "delimiter must not be '\\n'"),
                ({"quote": ";", "delimiter": ";"}, "delimiter must not be ';'"),
                ({"escape": '"'}, "escape must not be '\"'"),
                ({"comment": '"#'}, "comment must not be '\"'"),
                ({"skip_initial_space": True, "delimiter": " "}, "delimiter that begins with a space"),
                ({"quoting": "none", "quote": "'"}, "quote has no meaning with quoting: none"),
                ({"header": "find"}, "header: find needs a column with required: true"),
                ({"footer": {}}, "needs last_rows or starts_with, and not both"),
                ({"footer": {"last_rows": 1, "starts_with": ["x"]}}, "needs last_rows or starts_with, and not both"),
            ])
        ),
        ({"input": {"columns": COLUMNS, "encoding": "ebcdic"}}, "is not an encoding that Python knows, such as utf-8"),
        ({"input": {"columns": COLUMNS, "encodings": ["utf-8", "hex"]}}, "is not an encoding of text"),
        ({"input": {"columns": COLUMNS, "encodings": ["idna"]}}, "is not an encoding of text"),
        ({"input": {"columns": COLUMNS, "encodings": ["cp437"], "encoding": "utf-8"}}, "are both set; remove one"),
        ({"output": {"format": "xml"}}, "output.format = 'xml': Input should be 'jsonl.gz', 'jsonl' or 'parquet'"),
        ({"worker": {"timeout_seconds": 30}}, "datapipeline:worker.timeout_seconds = 30: Input should be greater"),
        ({"api": {}}, "datapipeline:api: unknown key; allowed here: accepted_findings, alarms, allow_data_loss,"),
        (
            {"queue": {"redrive_api": {}}, "redrive_api": {"auth": "none"}},
            "redrive_api.auth: unknown key; allowed here: access_logs, stage_name, throttling",
        ),
        (
            {"queue": {"redrive_api": {}}, "redrive_api": {"throttling": {"burst": 0}}},
            "datapipeline:redrive_api.throttling.burst = 0: Input should be greater than or equal to 1",
        ),
        ({"redrive_api": {}}, "datapipeline: redrive_api needs the API that queue.redrive_api adds"),
        *(
            ({"alarms": {name: 1}}, f"datapipeline: alarms.{name} needs the API that queue.redrive_api adds")
            for name in ("api_error_rate_percent", "api_latency_p95_ms", "api_refusal_rate_percent")
        ),
    ],
)  # fmt: skip
def test_a_bad_option_is_answered_with_file_and_key_and_what_is_allowed(given: dict[str, Any], line: str) -> None:
    (found,) = lines(**given)
    assert found.startswith(f"{FILE}: datapipeline:")
    assert line in found


@pytest.fixture(scope="session")
def graph(graph_of: Callable[..., Graph]) -> Graph:
    return graph_of("csv")


def test_the_stack_has_the_documented_outputs(graph: Graph) -> None:
    assert set(graph.outputs) == {
        "input_bucket",
        "output_bucket",
        "table_name",
        "queue_url",
        "dead_letter_queue_url",
        "notifications_topic_arn",
        "alerts_topic_arn",
        "alarms_topic_arn",
        "log_groups",
        "alarm_names",
    }


def test_the_shipped_columns_are_these(graph: Graph) -> None:
    function = graph.find("aws:lambda/function:Function", "pipeline-worker")
    shipped = FileFormat.from_json(function.inputs["code"].assets["columns.json"].text)
    assert [(column.name, column.type, column.required) for column in shipped.columns] == [
        ("name", "string", True),
        ("email", "string", True),
        ("amount", "number", True),
        ("date", "date", True),
        ("quantity", "integer", True),
    ]
    assert re.fullmatch(shipped.columns[1].pattern or "", "user@mail.example.com")


def test_options_of_columns_and_of_handlers_are_the_same() -> None:
    assert set(ColumnOptions.model_fields) == {field.name for field in dataclasses.fields(Column)}
    known = {field.name for field in dataclasses.fields(FileFormat)}
    assert {*options.CsvInputOptions.model_fields, "numbers", "provenance"} - {
        "prefix",
        "suffixes",
        "preset",
        "encoding",
    } | {"escape_style"} == known
    conditions = {"min": 1, "max": 2, "pattern": "x", "choices": ["x"]}
    full = {"name": "a", "type": "string", "required": True, "aliases": ["b"], **conditions}
    read = FileFormat.from_json(
        loaded(input={"columns": [full], "delimiter": ";", "encoding": "windows-1252"}).format_json()
    )
    columns = (Column("a", "string", True, ("b",), 1, 2, "x", ("x",)),)  # noqa: FBT003
    assert read == FileFormat(columns, delimiter=";", encodings=("windows-1252",), numbers="text")


def test_numbers_must_fit_a_double_where_parquet_is_written_and_only_there() -> None:
    formats: tuple[str, ...] = get_args(options.CsvOutputOptions.model_fields["format"].annotation)
    assert formats == tuple(sorted(run.KINDS, key=formats.index))
    numbers = {name: FileFormat.from_json(loaded(output={"format": name}).format_json()).numbers for name in formats}
    assert numbers == {"jsonl.gz": "text", "jsonl": "text", "parquet": "double"}


def test_the_functions_environment_is_exactly_what_its_settings_read(graph: Graph) -> None:
    variables = graph.find("aws:lambda/function:Function", "pipeline-worker").inputs["environment"]["variables"]
    own = {name for name in variables if not name.startswith("POWERTOOLS_")}
    assert own == {field.name.upper() for field in dataclasses.fields(CsvWorkerSettings)}
    settings = CsvWorkerSettings.from_environment(variables)
    assert settings.bucket_name == graph.outputs["output_bucket"]
    assert settings.notifications_topic_arn == graph.outputs["notifications_topic_arn"]
    assert settings.alerts_topic_arn == graph.outputs["alerts_topic_arn"]
    assert (settings.input_prefix, settings.output_format, settings.max_attempts) == ("raw/", "jsonl.gz", 5)


def test_prefixes_and_times_have_the_same_values_on_both_sides() -> None:
    for name in ("PROCESSED", "REJECTED", "REPORTS", "STATE"):
        assert getattr(variant, name) == getattr(run, name)
    limits = options.CsvWorkerOptions.model_json_schema()["properties"]["timeout_seconds"]
    assert limits["minimum"] >= 2 * run.STORING_SECONDS
    assert options.CsvWorkerOptions().timeout_seconds == 900


def test_the_worker_may_do_exactly_this(graph: Graph) -> None:
    name = {(each.type.rsplit(":", 1)[1], each.name): each.physical_name for each in graph if each.custom}
    account = "us-east-1:123456789012"
    source = f"arn:aws:s3:::{name['Bucket', 'pipeline-input']}"
    target = f"arn:aws:s3:::{name['Bucket', 'pipeline-output']}"
    parts = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:GetObject"]
    document = json.loads(graph.find("aws:iam/rolePolicy:RolePolicy", "pipeline-worker").inputs["policy"])
    assert all(statement["Effect"] == "Allow" for statement in document["Statement"])
    assert [(statement["Action"], statement["Resource"]) for statement in document["Statement"]] == [
        (
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"],
            [f"arn:aws:sqs:{account}:{name['Queue', 'pipeline-queue']}"],
        ),
        (["sqs:SendMessage"], [f"arn:aws:sqs:{account}:{name['Queue', 'pipeline-queue-dead-letters']}"]),
        (
            ["dynamodb:UpdateItem", "dynamodb:GetItem"],
            [f"arn:aws:dynamodb:{account}:table/{name['Table', 'pipeline-table']}"],
        ),
        (["s3:GetObject"], [f"{source}/raw/*"]),
        (["s3:ListBucket"], [source]),
        (parts, [f"{target}/processed/*"]),
        (parts, [f"{target}/rejected/*"]),
        (["s3:PutObject"], [f"{target}/reports/*"]),
        (["s3:PutObject"], [f"{target}/state/*"]),
        (["s3:GetObject"], [f"{target}/state/*"]),
        (["sns:Publish"], [f"arn:aws:sns:{account}:{name['Topic', 'pipeline-alerts']}"]),
        (["sns:Publish"], [f"arn:aws:sns:{account}:{name['Topic', 'pipeline-files']}"]),
        (["s3:ListBucket"], [target]),
        (["s3:DeleteObject"], [f"{target}/processed/*", f"{target}/rejected/*"]),
        (
            ["logs:CreateLogStream", "logs:PutLogEvents"],
            [f"arn:aws:logs:{account}:log-group:{name['LogGroup', 'pipeline-worker']}:*"],
        ),
    ]


def test_where_the_bucket_keeps_versions_the_worker_may_read_them_and_nothing_else_is_added(
    graph: Graph, graph_of: Callable[..., Graph]
) -> None:
    versioned = graph_of("csv", storage={"bucket_versioning": True})

    def granted(of: Graph) -> list[tuple[list[str], list[str]]]:
        document = json.loads(of.find("aws:iam/rolePolicy:RolePolicy", "pipeline-worker").inputs["policy"])
        return [(statement["Action"], statement["Resource"]) for statement in document["Statement"]]

    source = f"arn:aws:s3:::{graph.outputs['input_bucket']}"
    reads = (["s3:GetObject"], [f"{source}/raw/*"])
    assert granted(graph).count(reads) == 1
    assert granted(versioned) == [
        (["s3:GetObject", "s3:GetObjectVersion"], each[1]) if each == reads else each for each in granted(graph)
    ]


def test_s3_may_announce_objects_of_the_input_bucket_of_this_account_and_nothing_else(graph: Graph) -> None:
    policy = json.loads(graph.find("aws:sqs/queuePolicy:QueuePolicy", "pipeline-queue").inputs["policy"])
    queue = graph.find("aws:sqs/queue:Queue", "pipeline-queue").physical_name
    deny, allow = policy["Statement"]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert allow == {
        "Sid": "Uploads",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": f"arn:aws:sqs:us-east-1:123456789012:{queue}",
        "Condition": {
            "ArnEquals": {"aws:SourceArn": f"arn:aws:s3:::{graph.outputs['input_bucket']}"},
            "StringEquals": {"aws:SourceAccount": "123456789012"},
        },
    }


def test_alarms_ring_on_a_topic_of_their_own(graph: Graph) -> None:
    allowed = {
        policy.name: [each["Sid"] for each in json.loads(policy.inputs["policy"])["Statement"]]
        for policy in graph.of_type("aws:sns/topicPolicy:TopicPolicy")
    }
    assert allowed == {
        "pipeline-alarms": ["DenyPlainHttp", "Alarms"],
        "pipeline-alerts": ["DenyPlainHttp"],
        "pipeline-files": ["DenyPlainHttp"],
    }


def test_all_objects_below_the_prefix_of_the_input_bucket_are_announced_once_the_queue_takes_them(
    graph: Graph,
) -> None:
    (notification,) = graph.of_type("aws:s3/bucketNotification:BucketNotification")
    assert notification.inputs["bucket"] == graph.outputs["input_bucket"] != graph.outputs["output_bucket"]
    (queue,) = notification.inputs["queues"]
    # S3 would compare the case of a suffix, so the worker does it.
    assert (queue["filterPrefix"], queue.get("filterSuffix"), queue["events"]) == ("raw/", None, ["s3:ObjectCreated:*"])
    policy = graph.find("aws:sqs/queuePolicy:QueuePolicy", "pipeline-queue")
    assert policy.urn in notification.dependencies


def test_alarms_and_dashboard_watch_what_is_there(graph: Graph, capsys: pytest.CaptureFixture[str]) -> None:
    alarms = {
        alarm.name.removeprefix("pipeline-watch-"): alarm.inputs
        for alarm in graph.of_type("aws:cloudwatch/metricAlarm:MetricAlarm")
    }
    assert set(alarms) == {
        "dead-letters",
        "more-dead-letters",
        "oldest-dead-letter",
        "rejected-rows",
        "oldest-message",
        "failed-messages",
        "worker-errors",
        "worker-throttles",
        "worker-duration",
    }
    assert alarms["worker-duration"]["threshold"] == 891_000
    # Runs over long files stop 20 seconds before the timeout, and must not ring.
    assert alarms["worker-duration"]["threshold"] > (900 - run.STORING_SECONDS) * 1_000
    metrics.emit(dict.fromkeys(COUNTS, 1), [1.0])
    line = json.loads(capsys.readouterr().out)
    emitted = {metric["Name"] for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]}
    used = set(
        re.findall(
            r'"DataPipeline", "(\w+)"', graph.of_type("aws:cloudwatch/dashboard:Dashboard")[0].inputs["dashboardBody"]
        )
    )
    used |= {query["metric"]["metricName"] for query in alarms["failed-messages"]["metricQueries"] if "metric" in query}
    assert {"FilesSucceeded", "RowsRejected", "BatchItemFailures"} <= used <= emitted
