"""Every option's default, and every message that a user of a stack file can meet."""

import json
import re
import runpy
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pulumi
import pytest
import yaml
from pydantic import ValidationError

from components.config import ENVIRONMENT_DEFAULTS, VARIANTS, ConfigError, load, load_stack, stack_file_schema
from components.names import layer_name
from components.options.api import ApiPipelineConfig, ReportOptions
from components.options.common import Options
from components.options.secrets import SecretOptions
from tests.graphs import SAMPLES, STACKS

ROOT = Path(__file__).parents[2]
FILE = "Pulumi.dev.yaml"

Keys = tuple[str, ...]
Json = dict[str, Any]

JWT = {"issuer": "https://i/pool", "audience": ["a"]}
FIFO = {"fifo": {"group_field": "customer_id"}}
SUBSCRIPTIONS = [
    {"protocol": "email", "endpoint": "a@example.org"},
    {"protocol": "https", "endpoint": "https://example.org/hook"},
    {"protocol": "sqs", "endpoint": "arn:aws:sqs:us-east-1:123456789012:q"},
    {"protocol": "lambda", "endpoint": "arn:aws-cn:lambda:cn-north-1:123456789012:function:f"},
]

PROTECTION = ("deletion_protection", "point_in_time_recovery", "bucket_versioning", "retain_data")


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processors and schemas are named by paths from the project's root, where Pulumi runs the program."""
    monkeypatch.chdir(SAMPLES)


# Outside dev an API must say who may use it.
SAID = {"auth": "iam"}


def test_regions_of_china_are_refused() -> None:
    with pytest.raises(ConfigError, match="regions of China are not supported"):
        load({**raw(), "aws:region": "cn-north-1"}, file=FILE)


def test_a_layer_s_name_that_lambda_refuses_is_an_error() -> None:
    assert layer_name("a" * 140) == "a" * 140
    with pytest.raises(pulumi.RunError, match="has 141 characters, and Lambda takes 140"):
        layer_name("a" * 141)


def raw(**options: Any) -> dict[str, str]:
    """Options as Pulumi hands them over: text, and JSON text for lists and maps."""
    values = {"variant": "api", **options}
    return {
        f"datapipeline:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }


def loaded(**options: Any) -> ApiPipelineConfig:
    config = load(raw(**options), file=FILE)
    assert isinstance(config, ApiPipelineConfig)
    return config


def lines(**options: Any) -> list[str]:
    """The lines of the error that the options are answered with."""
    with pytest.raises(ConfigError) as raised:
        loaded(**options)
    return str(raised.value).split("\n")


# Defaults


def test_a_stack_that_says_its_variant_only_has_every_default() -> None:
    assert loaded().model_dump() == {
        "variant": "api",
        "environment": "dev",
        "tags": {},
        "accepted_findings": (),
        "allow_data_loss": (),
        "tracing": False,
        "api": {
            "kind": "http",
            "auth": "none",
            "jwt": None,
            "throttling": {"rate_per_second": 100, "burst": 200},
            "cors": None,
            "stage_name": None,
            "access_logs": None,
            "max_batch": 500,
            "max_depth": 64,
            "track": True,
            "deduplicate": "key",
            "type_field": "event_type",
            "idempotency": None,
            "ignore_when_comparing": (),
            "accept_forms": False,
            "schemas": "none",
            "memory_mb": 512,
            "timeout_seconds": 29,
            "reserved_concurrency": None,
            "provisioned_concurrency": None,
            "snap_start": False,
        },
        "queue": {
            "retention_days": 4,
            "dead_letter_retention_days": 14,
            "redrive_api": None,
            "reconciler": None,
            "fifo": None,
            "fair": None,
        },
        "webhooks": {},
        "worker": {
            "processor": "processors.echo:process",
            "max_attempts": 5,
            "event_timeout_seconds": None,
            "batch_size": 10,
            "batching_window_seconds": 0,
            "maximum_concurrency": 100,
            "provisioned_pollers": None,
            "memory_mb": 512,
            "ephemeral_storage_mb": 512,
            "timeout_seconds": 30,
            "requirements": None,
            "environment": {},
            "policy": {},
            "secrets": {},
            "backoff": {"base_seconds": 2, "maximum_seconds": 900},
            "circuit_breaker": None,
            "provisioned_concurrency": None,
            "snap_start": False,
        },
        "storage": {
            "results": "object",
            "archive": None,
            "time_index": True,
            "time_index_shards": 8,
            "items_expire_after_days": 90,
            "results_expire_after_days": 90,
            "archive_expires_after_days": None,
            "reports_expire_after_days": 365,
            "deletion_protection": False,
            "point_in_time_recovery": False,
            "bucket_versioning": False,
            "retain_data": False,
        },
        "logs": {"level": "INFO", "retention_days": 14},
        "alarms": {
            "oldest_message_seconds": 900,
            "error_rate_percent": 5,
            "failed_message_rate_percent": 5,
            "duration_percent_of_timeout": 80,
            "runbook": "docs/alarms.md",
            "dead_letter_age_percent_of_retention": 75,
            "api_error_rate_percent": 1,
            "heartbeat_minutes": None,
            "api_latency_p95_ms": 2_000,
            "api_refusal_rate_percent": 25,
            "rejected_rate_percent": 25,
            "forged_webhook_requests": 10,
        },
        "notifications": {"subscriptions": ()},
        "outcomes": None,
        "reports": None,
        "report_notifications": {"subscriptions": ()},
        "fault_injection": None,
        "encryption": {"customer_key": None},
        "network": {"vpc": None},
    }


@pytest.mark.parametrize(
    ("environment", "protection", "retention_days"),
    [
        ("dev", (False, False, False, False), 14),
        ("staging", (False, True, True, False), 30),
        ("prod", (True, True, True, True), 365),
    ],
)
def test_an_environment_sets_the_defaults_of_its_kind(
    environment: str,
    protection: tuple[bool, ...],
    retention_days: int,
) -> None:
    config = loaded(environment=environment, api=SAID)
    assert tuple(getattr(config.storage, key) for key in PROTECTION) == protection
    assert config.logs.retention_days == retention_days


@pytest.mark.parametrize("key", PROTECTION)
@pytest.mark.parametrize("environment", ENVIRONMENT_DEFAULTS)
def test_each_default_of_an_environment_can_be_overridden_by_itself(environment: str, key: str) -> None:
    default = loaded(environment=environment, api=SAID)
    opposite = not getattr(default.storage, key)
    assert loaded(environment=environment, api=SAID, storage={key: opposite}) == default.model_copy(
        update={"storage": default.storage.model_copy(update={key: opposite})},
    )


@pytest.mark.parametrize("environment", ["staging", "prod"])
@pytest.mark.parametrize("api", [{}, {"max_batch": 5}])
def test_outside_dev_an_api_must_say_who_may_use_it(environment: str, api: Json) -> None:
    (line,) = lines(environment=environment, api=api)
    assert line.startswith(
        f"{FILE}: datapipeline: api.auth must be set in environment {environment!r}: iam, jwt or api_key"
    )
    assert loaded(environment=environment, api={"auth": "none"}).api.auth == "none"


@pytest.mark.parametrize("environment", ENVIRONMENT_DEFAULTS)
def test_log_retention_can_be_overridden_in_every_environment(environment: str) -> None:
    config = loaded(environment=environment, api=SAID, logs={"retention_days": 7}, storage={"archive": {}})
    assert config.logs.retention_days == 7
    assert config.storage.archive is not None


@pytest.mark.parametrize(
    ("api", "expected"),
    [
        ({}, True),
        ({"kind": "rest"}, False),
        ({"access_logs": False}, False),
        ({"kind": "rest", "access_logs": True}, True),
    ],
)
def test_access_logs_are_on_where_they_need_nothing_of_the_account_unless_said(
    api: dict[str, Any],
    expected: bool,  # noqa: FBT001  pytest passes it by name
) -> None:
    assert loaded(api=api).api.writes_access_logs is expected


@pytest.mark.parametrize(("text", "expected"), [("true", True), ("false", False)])
def test_a_truth_value_arrives_as_text_and_is_read(text: str, expected: bool) -> None:  # noqa: FBT001  pytest passes it by name
    assert loaded(tracing=text).tracing is expected


def test_keys_of_other_namespaces_are_not_looked_at() -> None:
    assert load({**raw(), "aws:region": "eu-central-1", "other:zz": "{"}, file=FILE) == loaded()


@pytest.mark.parametrize(
    ("options"),
    [
        {"api": {"auth": "jwt", "jwt": JWT, "cors": {"allow_origins": ["*"]}, "stage_name": "$default"}},
        {"api": {"kind": "rest", "auth": "api_key", "stage_name": "v2"}},
        {"api": {"kind": "rest", "auth": "iam"}},
        {"api": {"provisioned_concurrency": 3}, "worker": {"snap_start": True}},
        {"api": {"snap_start": True}, "worker": {"provisioned_concurrency": 3}},
        {"worker": {"batch_size": 11, "batching_window_seconds": 1}},
        {"worker": {"provisioned_pollers": {"minimum": 200, "maximum": 2_000}}},
        {"worker": {"backoff": {"base_seconds": 5, "maximum_seconds": 5}}},
        {"queue": FIFO},
        {"environment": "staging", "api": SAID, "fault_injection": {}},
        {"reports": {"schedules": ["daily"]}, "report_notifications": {"subscriptions": SUBSCRIPTIONS}},
        {"notifications": {"subscriptions": SUBSCRIPTIONS}},
    ],
)
def test_options_that_go_together_are_taken_as_they_are(options: Json) -> None:
    def given(values: Any, taken: Any) -> Any:
        return {key: given(value, taken[key]) for key, value in values.items()} if isinstance(values, dict) else taken

    assert given(options, json.loads(loaded(**options).model_dump_json())) == options


def test_reports_are_hourly_and_daily_by_default() -> None:
    assert loaded(reports={}).reports == ReportOptions(schedules=("hourly", "daily"))


@pytest.mark.parametrize("schemas", ["none", "schemas/order.json", ["page_view"], ["page_view", "purchase", "order"]])
def test_schemas_are_none_or_one_file_or_a_list_of_types(schemas: str | list[str]) -> None:
    assert loaded(api={"schemas": schemas}).api.schemas == (schemas if isinstance(schemas, str) else tuple(schemas))


def groups(model: type[Options]) -> Iterator[type[Options]]:
    for group in model.__subclasses__():
        yield group
        yield from groups(group)


def test_options_do_not_change_once_they_are_read() -> None:
    config = loaded()
    for group, key in ((config, "environment"), (config.api, "kind"), (config.worker.backoff, "base_seconds")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(group, key, "other")
    found = list(groups(Options))
    assert type(config.api) in found
    assert all(group.model_config["frozen"] and group.model_config["extra"] == "forbid" for group in found)


def test_every_option_and_every_group_has_a_description() -> None:
    missing = [
        f"{group.__name__}.{name}"
        for group in groups(Options)
        for name, field in group.model_fields.items()
        if not field.description
    ]
    assert missing == []
    assert [group.__name__ for group in groups(Options) if not vars(group).get("__doc__")] == []


# Whatever the models limit

# Items of lists and maps whose own form is checked before their number.
ITEMS: Json = {
    "subnet_ids": "subnet-0a",
    "security_group_ids": "sg-0a",
    "columns": {"name": "a"},
    "secrets": "arn:aws:ssm:eu-west-1:123456789012:parameter/a",  # pragma: allowlist secret
    "actions": "s3:GetObject",
    "resources": "arn:aws:s3:::a",
    "encodings": "utf-8",
}


def walk(schema: dict[str, Any], definitions: dict[str, Any], path: Keys = ()) -> Iterator[tuple[Keys, dict[str, Any]]]:
    """Every part of a JSON Schema, with the path of the option that it describes."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    yield path, schema
    children = [(path, part) for part in schema.get("anyOf", schema.get("oneOf", []))]
    children += [((*path, name), part) for name, part in schema.get("properties", {}).items()]
    children += [((*path, "0"), schema["items"])] if "items" in schema else []
    members = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    children += [((*path, "key"), part) for part in members if isinstance(part, dict)]
    for child, part in children:
        yield from walk(part, definitions, child)


def filled(kind: str, path: Keys, count: int) -> Any:
    """Text, a list or a map with so many characters or items."""
    item = ITEMS.get(path[-1], "x")
    if kind == "Dictionary":
        return {f"k{number}": item for number in range(count)}
    return "x" * count if kind == "String" else [item] * count


def edges(path: Keys, schema: Json) -> Iterator[tuple[Any, str, list[Any]]]:
    """Each value just beyond what a part of a schema allows, its message, and values that are just within."""
    for bound, beyond, words in (
        ("minimum", -1, "greater than or equal to"),
        ("maximum", 1, "less than or equal to"),
        ("exclusiveMinimum", 0, "greater than"),
    ):
        if bound in schema:
            limit = int(schema[bound])
            yield limit + beyond, f"Input should be {words} {limit}", [limit if beyond else 0.5]
    for size, kind in (("Length", "String"), ("Items", "Tuple"), ("Properties", "Dictionary")):
        for bound, beyond, most in (("min", -1, "least"), ("max", 1, "most")):
            if (count := schema.get(f"{bound}{size}")) is not None:
                message = f"{kind} should have at {most} {count} "
                yield filled(kind, path, count + beyond), message, [filled(kind, path, count)]
    if choices := schema.get("enum"):
        *others, last = map(repr, choices)
        yield "zz", f"Input should be {', '.join(others)} or {last}", choices
    elif schema.get("type") in ("boolean", "integer"):
        yield "zz", f"Input should be a valid {schema['type']}", []


def problem(variant: str, path: Keys, value: Any) -> str:
    """Return the problem with an option's value; a stack file without other options has more problems."""
    for part in reversed(path):
        value = [value] if part == "0" else {part: value}
    try:
        load(raw(variant=variant, **value), file=FILE)
    except ConfigError as error:
        key = re.escape(f"{FILE}: datapipeline:{'.'.join(path)}")
        found = [re.fullmatch(rf"{key}( = .*)?: ((?:[A-Z]|unknown).*)", line) for line in str(error).split("\n")]
        return next((match[2] for match in found if match), "")
    return ""


PARTS = [
    (variant, path, part)
    for variant, model in VARIANTS.items()
    for schema in [model.model_json_schema()]
    for path, part in walk(schema, schema["$defs"])
]
EDGES = [(variant, path, *edge) for variant, path, part in PARTS for edge in edges(path, part)]
GROUPS = [(variant, path, part) for variant, path, part in PARTS if part.get("additionalProperties") is False]


def name(value: object) -> str:
    return ".".join(value) if isinstance(value, tuple) else ""


@pytest.mark.parametrize(("variant", "path", "beyond", "message", "within"), EDGES, ids=name)
def test_every_limit_of_an_option_holds_just_beyond_it_and_not_within(
    variant: str, path: Keys, beyond: Any, message: str, within: list[Any]
) -> None:
    assert problem(variant, path, beyond).startswith(message)
    assert [value for value in within if " should " in problem(variant, path, value)] == []


def test_limits_of_every_kind_are_found() -> None:
    assert {
        (("api", "max_batch"), "Input should be less than or equal to 500"),
        (("api", "throttling", "rate_per_second"), "Input should be greater than 0"),
        (("worker", "circuit_breaker", "recovery_seconds"), "Input should be greater than or equal to 1"),
        (("worker", "secrets"), "Dictionary should have at most 10 "),
        (("network", "vpc", "subnet_ids"), "Tuple should have at most 16 "),
        (("input", "delimiter"), "String should have at least 1 "),
        (("reports", "schedules", "0"), "Input should be 'hourly' or 'daily'"),
        (
            ("thresholds", "key", "devices", "key", "warning", "cooldown_minutes"),
            "Input should be less than or equal to 10080",
        ),
    } <= {(path, message) for _, path, _, message, _ in EDGES}
    assert ("worker", "backoff") in {path for _, path, _ in GROUPS}


@pytest.mark.parametrize(("variant", "path", "part"), GROUPS, ids=name)
def test_an_unknown_key_at_any_level_is_refused_with_the_known_keys(variant: str, path: Keys, part: Json) -> None:
    known = ", ".join(sorted(part.get("properties", {})))
    assert problem(variant, (*path, "zz"), 1) == f"unknown key; allowed here: {known}"


# Messages


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"variant": "xml"}, "datapipeline:variant = 'xml': Input should be 'api' or 'csv' or 'iot'"),
        ({"environment": "qa"}, "datapipeline:environment = 'qa': Input should be 'dev', 'staging' or 'prod'"),
        ({"environment": ["dev"]}, "datapipeline:environment = ['dev']: Input should be 'dev', 'staging' or 'prod'"),
        (
            {"tags": {"team": "a", "aws:owner": "b"}},
            "datapipeline:tags: AWS reserves names that begin with aws:; rename aws:owner",
        ),
        ({"tags": {"AWS:Owner": "b"}}, "datapipeline:tags: AWS reserves names that begin with aws:; rename AWS:Owner"),
        ({"tags": {"team": 5}}, "datapipeline:tags.team = 5: Input should be a valid string"),
        ({"accepted_findings": {"rule": "open-api"}}, "datapipeline:accepted_findings: must be a list"),
        (
            {"accepted_findings": [{"rule": "open-api"}]},
            "datapipeline:accepted_findings.0.reason is missing",
        ),
        (
            {"accepted_findings": [{"rule": "open-api", "reason": " "}]},
            "datapipeline:accepted_findings.0.reason = ' ': String should have at least 1 character",
        ),
        (
            {"accepted_findings": [{"reason": "a demo"}]},
            "datapipeline:accepted_findings.0.rule is missing",
        ),
        ({"api": {"stage_name": "a/b"}}, "datapipeline:api.stage_name = 'a/b': String should match pattern "),
        (
            {"encryption": {"customer_key": "maybe"}},
            "datapipeline:encryption.customer_key: must hold keys and values",
        ),
        (
            {"encryption": {"customer_key": {"users": ["arn:aws:iam::123456789012:role/ops"]}}},
            "datapipeline:encryption.customer_key.users.0 = 'arn:aws:iam::123456789012:role/ops': String should match",
        ),
        (
            {"encryption": {"customer_key": {"deployers": ["role/*"]}}},
            "datapipeline:encryption.customer_key.deployers.0 = 'role/*': String should match pattern",
        ),
        ({"network": {"vpc": "mine"}}, "datapipeline:network.vpc: must hold keys and values"),
        (
            {"network": {"vpc": {"subnet_ids": ["vpc-0a"], "security_group_ids": ["sg-0a"]}}},
            "datapipeline:network.vpc.subnet_ids.0 = 'vpc-0a': String should match pattern",
        ),
    ],
)
def test_a_bad_value_is_refused_with_file_key_value_and_what_is_allowed(
    options: dict[str, Any],
    expected: str,
) -> None:
    (line,) = lines(**options)
    assert line.startswith(f"{FILE}: {expected}")


ON, OFF = "is a group of options: write {} instead of true", "is a group of options: leave it out instead"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        *(
            ({group: {key: value}}, f"{group}.{key} = {value!r}: {message}")
            for value, message in ((True, ON), (False, OFF), ("none", OFF))
            for group, key in (
                ("queue", "redrive_api"),
                ("storage", "archive"),
                ("encryption", "customer_key"),
                ("network", "vpc"),
                ("worker", "circuit_breaker"),
            )
        ),
        # Pulumi hands top-level values over as text.
        *(
            ({key: value}, f"{key} = '{text}': {message}")
            for key in ("fault_injection", "outcomes", "reports")
            for value, text, message in ((True, "true", ON), (False, "false", OFF), ("none", "none", OFF))
        ),
        ({"network": {"vpc": "create"}}, "network.vpc = 'create': create is now {}: a VPC of the stack's own"),
        (
            {"encryption": {"customer_key": True, "users": ["role/ops"]}},
            "encryption: users is now customer_key.users: {customer_key: {users: [...]}}",
        ),
        (
            {"encryption": {"deployers": ["role/ops"]}},
            "encryption: deployers is now customer_key.deployers: {customer_key: {deployers: [...]}}",
        ),
        *(
            (
                {"reports": given},
                f"reports = {given!r}: a list is now {{schedules: [hourly, daily]}}; leave it out for none",
            )
            for given in (["hourly", "daily"], [])
        ),
        (
            {"queue": {"max_receives": 3}},
            "queue: max_receives is now worker.max_attempts: attempts are counted by the worker, not by SQS",
        ),
    ],
)
def test_an_earlier_form_of_an_option_is_an_error_that_names_the_new_one(
    options: dict[str, Any], expected: str
) -> None:
    assert lines(**options) == [f"{FILE}: datapipeline:{expected}"]


def test_a_stack_without_a_variant_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^Pulumi\.qa\.yaml: datapipeline:variant is missing; it is api, csv or iot$"
    ):
        load({"aws:region": "us-east-1"}, file="Pulumi.qa.yaml")


@pytest.mark.parametrize(
    "group",
    ["api", "queue", "worker", "storage", "logs", "alarms", "notifications", "encryption", "network", "tags"],
)
@pytest.mark.parametrize("value", ['{"kind":', "text", "5", "[]", "[1"])
def test_a_group_that_is_no_map_or_broken_json_is_one_line(group: str, value: str) -> None:
    (line,) = lines(**{group: value})
    reason = "begins like JSON but is not valid" if value in ('{"kind":', "[1") else "must hold keys and values"
    assert line.startswith(f"{FILE}: datapipeline:{group}: {reason}")


TOKEN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:shop/payments-AbC123"
SIGNING = "arn:aws:ssm:eu-west-1:123456789012:parameter/shop/signing"
KEY = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
NO_ARN = (
    ": must be the whole ARN of a secret, arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-XXXXXX, or of an SSM "
    "parameter, arn:aws:ssm:REGION:ACCOUNT:parameter/NAME; never the secret itself"
)


def test_secrets_are_named_by_arns_with_or_without_the_key_that_they_are_under() -> None:
    secrets = {"payments_token": TOKEN, "signing_key": {"arn": SIGNING, "key_arn": KEY}}
    assert loaded(worker={"secrets": secrets}).worker.secrets == {
        "payments_token": SecretOptions(arn=TOKEN),
        "signing_key": SecretOptions(arn=SIGNING, key_arn=KEY),
    }


def test_a_last_word_of_six_characters_passes_for_those_that_aws_adds() -> None:
    arn = TOKEN.replace("payments-AbC123", "my-secret")
    assert loaded(worker={"secrets": {"payments_token": arn}}).worker.secrets["payments_token"].arn == arn


@pytest.mark.parametrize(
    "given",
    [
        "hunter2",
        TOKEN[:-7],
        f"{TOKEN}*",
        TOKEN.replace("123456789012", "*"),
        f"{SIGNING}:3",
        SIGNING.replace("parameter/shop/signing", "parameter/*"),
        "/shop/signing",
        "https://shop:hunter2@shop.example",  # pragma: allowlist secret
    ],
)
def test_what_is_no_arn_of_a_secret_is_refused_and_never_shown(given: str) -> None:
    for secret in (given, {"arn": given}):
        with pytest.raises(ConfigError) as raised:
            loaded(worker={"secrets": {"payments_token": secret}})
        assert str(raised.value) == f"{FILE}: datapipeline:worker.secrets.payments_token.arn{NO_ARN}"
        # pydantic's own error, which a traceback shows.
        assert given not in str(raised.value.__cause__)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"worker": {"secrets": {"payments_token": 12345678}}}, "secrets.payments_token.arn: Input should be a valid"),
        ({"worker": {"secrets": {"token": {"arn": TOKEN, "value": "12345678"}}}}, "token.value: unknown key; allowed"),
        ({"worker": {"secrets": "12345678"}}, "worker.secrets: must hold keys and values"),
        ({"worker": {"secrets": ["12345678"]}}, "worker.secrets: must hold keys and values"),
        (
            {"worker": {"environment": {"PAY_KEY": 12345678}}},
            "worker.environment.PAY_KEY: Input should be a valid string",
        ),
        ({"worker": {"environment": {"PAY-KEY": "12345678"}}}, "worker.environment.PAY-KEY.[key]: String should match"),
        ({"worker": {"environment": "12345678"}}, "worker.environment: must hold keys and values"),
        ({"worker": {"secret": {"token": "12345678"}}}, "worker.secret: unknown key; allowed here: backoff"),
        ({"worker": {"password": "12345678"}}, "worker.password: unknown key; allowed here: backoff"),
        ({"shop": {"password": "12345678"}}, "datapipeline:shop: unknown key; allowed here: accepted_findings"),
        ({"worker": '{"secrets": 12345678'}, "datapipeline:worker: begins like JSON but is not valid"),
        ({"worker": {"secrets": {"token": {"arn": TOKEN, "key_arn": "12345678"}}}}, "token: key_arn must be the ARN"),
        (
            {"worker": {"secrets": {"12345678": {"arn": TOKEN, "key_arn": SIGNING}}}},
            "worker.secrets.[key]: String should match pattern '^[a-z]",
        ),
        ({"worker": {"secrets": {"12345678": "token"}}}, "worker.secrets.[key]: String should match pattern '^[a-z]"),
        (
            {"worker": {"variables": {"PAY_KEY": "12345678"}}},
            "worker.variables: unknown key; allowed here: backoff",
        ),
        ({"secerts": {"pay_key": "12345678"}}, "datapipeline:secerts: unknown key; allowed here: accepted_findings"),
        ({"variant": {"pay_key": "12345678"}}, "datapipeline:variant: Input should be 'api' or 'csv' or 'iot'"),
        ({"variant": '{"pay_key": 12345678'}, "datapipeline:variant: Input should be 'api' or 'csv' or 'iot'"),
        ({"pay_key": "12345678"}, "datapipeline:pay_key: unknown key; allowed here: accepted_findings"),
        ({"worker": "12345678"}, "datapipeline:worker: must hold keys and values"),
        ({"worker": ["12345678"]}, "datapipeline:worker: must hold keys and values"),
        ({"tracing": '["12345678"'}, "datapipeline:tracing: begins like JSON but is not valid"),
        ({"api": {"cors": "12345678"}}, "datapipeline:api.cors: must hold keys and values"),
        ({"tags": "12345678"}, "datapipeline:tags: must hold keys and values"),
        (
            {"notifications": {"subscriptions": "12345678"}},
            "notifications.subscriptions: must be a list",
        ),
        ({"notifications": {"subscriptions": ["12345678"]}}, "subscriptions.0: must hold keys and values"),
    ],
)
def test_a_secret_in_the_wrong_place_is_not_shown(options: dict[str, Any], words: str) -> None:
    found = "\n".join(lines(**options))
    assert words in found
    assert "12345678" not in found


@pytest.mark.parametrize(
    ("protocol", "allowed"),
    [
        ("email", "an e-mail address"),
        ("https", "an https URL"),
        ("sqs", "the ARN of a queue, and not a FIFO one,"),
        ("lambda", "the ARN of a function"),
    ],
)
def test_an_endpoint_that_does_not_go_with_its_protocol_is_not_shown(protocol: str, allowed: str) -> None:
    told = {"subscriptions": [{"protocol": protocol, "endpoint": "http://hooks.example.com/12345678"}]}
    assert lines(notifications=told) == [
        f"{FILE}: datapipeline:notifications.subscriptions.0: endpoint must be {allowed} with protocol '{protocol}'"
    ]
    (line,) = lines(notifications={"subscriptions": [{"protocol": protocol, "endpoint": [12345678]}]})
    assert line.startswith(f"{FILE}: datapipeline:notifications.subscriptions.0.endpoint: Input should be a valid str")


@pytest.mark.parametrize(
    ("protocol", "endpoint", "words"),
    [
        ("sqs", "arn:aws:sqs:us-east-1:123456789012:alerts.fifo", "and not a FIFO one"),
        ("lambda", "arn:aws:lambda:us-east-1:123456789012:layer:page:1", "the ARN of a function"),
        ("lambda", "arn:aws:lambda:eu-west-1:123456789012:function:page", "the stack's region, us-east-1 (aws:region)"),
    ],
)
def test_a_subscriber_that_the_topic_cannot_reach_is_refused(protocol: str, endpoint: str, words: str) -> None:
    subscriptions = [{"protocol": protocol, "endpoint": endpoint}]
    with pytest.raises(ConfigError, match=re.escape(words)):
        load({**raw(notifications={"subscriptions": subscriptions}), "aws:region": "us-east-1"}, file=FILE)


def test_a_secret_of_another_region_is_refused_as_no_function_could_read_it() -> None:
    given = {**raw(worker={"secrets": {"payments_token": TOKEN}}), "aws:region": "us-east-1"}
    with pytest.raises(ConfigError) as raised:
        load(given, file=FILE)
    assert str(raised.value) == (
        f"{FILE}: datapipeline:worker.secrets.payments_token.arn: is in eu-west-1, and the stack in us-east-1 "
        "(aws:region): a function reads secrets of its own region"
    )
    assert load({**given, "aws:region": "eu-west-1"}, file=FILE)


@pytest.mark.parametrize("key", [KEY.replace("key/", "alias/"), KEY.replace("eu-west-1", "us-east-1"), f"{KEY}*"])
def test_the_key_of_a_secret_is_a_key_of_its_region(key: str) -> None:
    (line,) = lines(worker={"secrets": {"payments_token": {"arn": TOKEN, "key_arn": key}}})
    assert line == (
        f"{FILE}: datapipeline:worker.secrets.payments_token: key_arn must be the ARN of a key, "
        "arn:aws:kms:eu-west-1:ACCOUNT:key/ID"
    )


def test_one_secret_has_one_name() -> None:
    assert lines(worker={"secrets": {"one": TOKEN, "two": SIGNING, "three": TOKEN}}) == [
        f"{FILE}: datapipeline:worker.secrets: one and three are the same secret; give it one name"
    ]


@pytest.mark.parametrize("protocol", ["https", "email"])
def test_an_endpoint_with_a_password_is_refused_and_not_shown(protocol: str) -> None:
    for user in ("ops:hunter2", ":hunter2", "hunter2"):
        told = {"subscriptions": [{"protocol": protocol, "endpoint": f"https://{user}@ops.example.com/alerts"}]}
        for option in ({"notifications": told}, {"reports": {"schedules": ["daily"]}, "report_notifications": told}):
            with pytest.raises(ConfigError, match="endpoint contains a user name or a password") as raised:
                loaded(**option)
            assert "hunter2" not in f"{raised.value}{raised.value.__cause__}"
    (line,) = lines(notifications={"subscriptions": [{"protocol": "https", "endpoint": ["https://u:hunter2@b"]}]})
    assert "hunter2" not in line
    at_sign = {"protocol": "https", "endpoint": "https://ops.example.com/@alerts"}
    assert loaded(notifications={"subscriptions": [at_sign]})


FIFO_BATCHES = ": queue.fifo takes worker.batch_size up to 10 and no worker.batching_window_seconds; given are"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"api": {"auth": "api_key"}}, ":api: auth 'api_key' does not go with kind 'http': allowed are none, iam, jwt"),
        (
            {"api": {"kind": "rest", "auth": "jwt"}},
            ":api: auth 'jwt' does not go with kind 'rest': allowed are none, iam, api_key",
        ),
        *(
            ({"api": api}, ":api: auth 'jwt' and the group 'jwt' (issuer, audience) go together")
            for api in ({"auth": "jwt"}, {"jwt": JWT})
        ),
        ({"api": {"kind": "rest", "cors": {"allow_origins": ["*"]}}}, ":api: cors goes with kind 'http' only"),
        (
            {"api": {"kind": "rest", "stage_name": "$default"}},
            ":api: stage_name '$default' goes with kind 'http' only: name the stage of a REST API",
        ),
        (
            {"worker": {"batch_size": 11}},
            ":worker: batch_size 11 (above 10) needs batching_window_seconds of at least 1",
        ),
        (
            {"worker": {"provisioned_pollers": {"minimum": 5, "maximum": 4}}},
            ":worker.provisioned_pollers: minimum 5 is above maximum 4",
        ),
        (
            {"worker": {"provisioned_pollers": {}, "maximum_concurrency": 100}},
            ":worker: provisioned_pollers and maximum_concurrency do not go together: ",
        ),
        (
            {"worker": {"provisioned_pollers": {}, "circuit_breaker": {}}},
            ":worker: circuit_breaker and provisioned_pollers do not go together: the circuit limits",
        ),
        (
            {"worker": {"backoff": {"base_seconds": 33, "maximum_seconds": 7}}},
            ":worker.backoff: base_seconds 33 is above maximum_seconds 7",
        ),
        (
            {"queue": FIFO, "worker": {"batch_size": 11, "batching_window_seconds": 1}},
            f"{FIFO_BATCHES} 11 and 1",
        ),
        ({"queue": FIFO, "worker": {"batching_window_seconds": 5}}, f"{FIFO_BATCHES} 10 and 5"),
        (
            {"queue": {**FIFO, "fair": {"group_field": "customer_id"}}},
            ":queue: fair goes with a standard queue only: the groups of a fifo queue take turns anyway",
        ),
        (
            {"queue": {"retention_days": 7, "dead_letter_retention_days": 7}},
            ":queue: dead_letter_retention_days 7 must be above retention_days 7",
        ),
        (
            {"worker": {"max_attempts": 100, "backoff": {"maximum_seconds": 42_000}}},
            ": worker.max_attempts 100 with worker.backoff takes up to 3",
        ),
        (
            {"storage": {"items_expire_after_days": 14}},
            ": storage.items_expire_after_days 14 must be above queue.dead_letter_retention_days 14",
        ),
        (
            {"worker": {"timeout_seconds": 20, "event_timeout_seconds": 16}},
            ": worker.event_timeout_seconds 16 is above 15: worker.timeout_seconds 20 less 5 for storing",
        ),
        (
            {"worker": {"circuit_breaker": {}, "max_attempts": 2}},
            ": worker.circuit_breaker needs worker.max_attempts of at least 3, given is 2",
        ),
        (
            {"network": {"vpc": {"subnet_ids": ["subnet-0a"]}}},
            ":network.vpc: subnet_ids and security_group_ids go together: give both for an existing VPC",
        ),
        *(
            (
                {group: {"snap_start": True, "provisioned_concurrency": 1}},
                f":{group}: snap_start and provisioned_concurrency do not go together: choose one",
            )
            for group in ("api", "worker")
        ),
        (
            {"worker": {"snap_start": True, "ephemeral_storage_mb": 513}},
            ":worker: snap_start and ephemeral_storage_mb 513 (above 512) do not go together: choose one",
        ),
        (
            {"api": {"reserved_concurrency": 2, "provisioned_concurrency": 3}},
            ":api: provisioned_concurrency 3 is above reserved_concurrency 2",
        ),
        (
            {"environment": "prod", "api": SAID, "fault_injection": {}},
            ": fault_injection is not allowed with environment 'prod': use another stack for game days",
        ),
        (
            {"reports": {}, "storage": {"time_index": False}},
            ": reports read the time index: storage.time_index must be true",
        ),
        (
            {"reports": {"schedules": ["daily", "daily"]}},
            ":reports: schedules has a duplicate: daily, daily; remove it",
        ),
        (
            {"report_notifications": {"subscriptions": [{"protocol": "email", "endpoint": "a@example.org"}]}},
            ": report_notifications needs reports: turn them on, or remove the subscriptions",
        ),
    ],
)
def test_options_that_contradict_each_other_are_all_named(options: dict[str, Any], expected: str) -> None:
    (line,) = lines(**options)
    assert line.startswith(f"{FILE}: datapipeline{expected}")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"api": {"auth": "jwt", "jwt": {"audience": ["a"]}}}, "api.jwt.issuer is missing"),
        ({"queue": {"fifo": {}}}, "queue.fifo.group_field is missing"),
        ({"queue": {"fair": {}}}, "queue.fair.group_field is missing"),
        (
            {"api": {"auth": "jwt", "jwt": {**JWT, "audience": ["a", ""]}}},
            "api.jwt.audience.1 = '': String should have at least 1 character",
        ),
        *(
            (
                {"api": {"auth": "jwt", "jwt": {**JWT, "issuer": issuer}}},
                f"api.jwt.issuer = {issuer!r}: String should",
            )
            for issuer in ("http://i", "https://", "https:///path", "https://a b", "https://i/?a=b", "https://i/#a")
        ),
        # An origin is what a browser sends.
        *(
            (
                {"api": {"cors": {"allow_origins": [origin]}}},
                f"api.cors.allow_origins.0 = {origin!r}: String should",
            )
            for origin in (
                "",
                "shop.example",
                "https://",
                "https://shop.example/",
                "https://shop.example/a",
                "https://Shop.example",
                "**",
            )
        ),
        *(
            (
                {"api": {"cors": {"allow_origins": ["*"], "allow_headers": [header]}}},
                f"api.cors.allow_headers.0 = {header!r}: String should match",
            )
            for header in ("", "x token", "x:y")
        ),
        *(
            ({"worker": {"secrets": {name: TOKEN}}}, "worker.secrets.[key]: String should ")
            for name in ("Payments", "payments-token", "payments__token", "token_2", "_token", "", "a" * 65)
        ),
        *(
            (
                {"api": {"schemas": [name]}},
                f"api.schemas.0 = {name!r}: a type name has letters, digits, dot, hyphen and underscore, 64 at most",
            )
            for name in ("../order", "a/b", ".hidden", "", "x" * 65, "a b")
        ),
    ],
)
def test_text_in_the_wrong_form_is_refused(options: dict[str, Any], expected: str) -> None:
    (line,) = lines(**options)
    assert line.startswith(f"{FILE}: datapipeline:{expected}")


def test_every_origin_is_allowed_alone() -> None:
    origins = ["https://shop.example", "http://localhost:8080", "https://*"]
    cors = loaded(api={"cors": {"allow_origins": origins}}).api.cors
    assert cors is not None
    assert cors.allow_origins == tuple(origins)
    (line,) = lines(api={"cors": {"allow_origins": ["*", "https://shop.example"]}})
    assert line.startswith(f"{FILE}: datapipeline:api.cors.allow_origins = ")
    assert line.endswith(": '*' allows every origin: it cannot be combined with others")


def test_several_problems_are_several_lines() -> None:
    assert lines(environment="qa", api={"kind": "soap", "zz": 1}, queue={"retention_days": 0}, worker="5") == [
        f"{FILE}: datapipeline:environment = 'qa': Input should be 'dev', 'staging' or 'prod'",
        f"{FILE}: datapipeline:api.kind = 'soap': Input should be 'http' or 'rest'",
        *(line for line in lines(api={"zz": 1})),
        f"{FILE}: datapipeline:queue.retention_days = 0: Input should be greater than or equal to 1",
        *(line for line in lines(worker="5")),
    ]


@pytest.mark.parametrize(
    ("processor", "reason"),
    [
        ("processors.missing:process", "there is no file processors/missing.py"),
        ("processors.echo:missing", "processors/echo.py has no function missing; it has process"),
        *(
            (name, "must name a function below processors/, like processors.orders:process")
            for name in (
                "processors.echo",
                "os:system",
                "processors:process",
                "processors.echo:",
                "processors/echo:process",
                "",
            )
        ),
    ],
)
def test_a_processor_that_is_not_there_is_named_with_what_is(processor: str, reason: str) -> None:
    assert lines(worker={"processor": processor}) == [
        f"{FILE}: datapipeline:worker.processor = {processor!r}: {reason}"
    ]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of the user's own, with the folders that the options look into."""
    (tmp_path / "processors").mkdir()
    (tmp_path / "schemas").mkdir()
    (tmp_path / "processors" / "echo.py").write_text("def process(event): ...\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", ["def process(event:\n", "  indented = 1\n", "\x00"])
def test_a_processor_that_is_no_python_is_a_config_error(elsewhere: Path, code: str) -> None:
    (elsewhere / "processors" / "broken.py").write_text(code)
    (line,) = lines(worker={"processor": "processors.broken:process"})
    assert line.startswith(f"{FILE}: datapipeline:worker.processor = 'processors.broken:process': ")


def test_a_processor_may_lie_deeper_and_have_any_name(elsewhere: Path) -> None:
    (elsewhere / "processors" / "shop").mkdir()
    (elsewhere / "processors" / "shop" / "v2.py").write_text("LIMIT = 1\n\ndef total(event): ...\n")
    assert loaded(worker={"processor": "processors.shop.v2:total"}).worker.processor == "processors.shop.v2:total"
    (line,) = lines(worker={"processor": "processors.shop.v2:LIMIT"})
    assert line.endswith("processors/shop/v2.py has no function LIMIT; it has total")


@pytest.mark.parametrize(
    "code",
    [
        "async def process(event): ...\n",
        "class process:\n    def __call__(self, event): ...\n",
        "from processors.echo import process\n",
        "from processors.echo import process as other\nprocess = other\n",
        "from functools import partial\nfrom processors import echo\nprocess = partial(echo.process, True)\n",
        "import processors.echo\nprocess = processors.echo.process\n",
        "process = lambda event: None\n",
        "if True:\n    def process(event): ...\nelse:\n    pass\n",
        "from processors.echo import *\n",
    ],
)
def test_a_processor_is_whatever_can_be_called(elsewhere: Path, code: str) -> None:
    (elsewhere / "processors" / "mine.py").write_text(code)
    assert loaded(worker={"processor": "processors.mine:process"}).worker.processor == "processors.mine:process"


def test_a_processor_may_be_in_a_package(elsewhere: Path) -> None:
    (elsewhere / "processors" / "shop").mkdir()
    (elsewhere / "processors" / "shop" / "__init__.py").write_text("def process(event): ...\n")
    assert loaded(worker={"processor": "processors.shop:process"}).worker.processor == "processors.shop:process"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "there is no file schemas/order.json"),
        ("{", "schemas/order.json is not JSON: "),
        ("[]", "schemas/order.json must hold a JSON object, a JSON Schema"),
        ("true", "schemas/order.json must hold a JSON object, a JSON Schema"),
        ('{"type": "nonsense"}', "schemas/order.json is not a JSON Schema: "),
        ('{"required": 5}', "schemas/order.json is not a JSON Schema: "),
        ('{"pattern": "["}', "schemas/order.json is not a JSON Schema: "),
        ('{"properties": []}', "schemas/order.json is not a JSON Schema: "),
        ('{"properties": {"a": 5}}', "schemas/order.json is not a JSON Schema: "),
        ('{"items": 5}', "schemas/order.json is not a JSON Schema: "),
        ('{"allOf": 5}', "schemas/order.json is not a JSON Schema: "),
        ('{"$ref": "#/definitions/missing"}', "schemas/order.json is not a JSON Schema: "),
        *(
            (text, f"schemas/order.json: $ref may only point into its own file (#/...), not to {remote}")
            for text, remote in (
                ('{"$ref": "http://example.org/a.json"}', "http://example.org/a.json"),
                ('{"properties": {"a": {"items": [{"$ref": "file:///etc/passwd"}]}}}', "file:///etc/passwd"),
                ('{"anyOf": [{"$ref": "other.json#/a"}]}', "other.json#/a"),
            )
        ),
    ],
)
@pytest.mark.parametrize(("schemas", "key"), [("schemas/order.json", "api.schemas"), (["order"], "api.schemas.0")])
def test_a_schema_that_cannot_be_one_is_refused_with_the_reason(
    elsewhere: Path,
    text: str | None,
    reason: str,
    schemas: str | list[str],
    key: str,
) -> None:
    if text is not None:
        (elsewhere / "schemas" / "order.json").write_text(text)
    value = schemas if isinstance(schemas, str) else schemas[0]
    (line,) = lines(api={"schemas": schemas})
    assert line.startswith(f"{FILE}: datapipeline:{key} = {value!r}: {reason}")


def test_a_schema_may_point_into_itself(elsewhere: Path) -> None:
    schema = {"definitions": {"a": {"type": "string"}}, "properties": {"a": {"$ref": "#/definitions/a"}, "$ref": {}}}
    (elsewhere / "schemas" / "order.json").write_text(json.dumps(schema))
    assert loaded(api={"schemas": ["order"]}).api.schemas == ("order",)


# The stack that Pulumi runs, and its file


def test_the_running_stack_is_read_and_its_file_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_stack", lambda: "shop")
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(raw(tags={"team": "a"})))
    assert load_stack() == loaded(tags={"team": "a"})
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(raw(environment="qa")))
    with pytest.raises(ConfigError, match=r"^Pulumi\.shop\.yaml: datapipeline:environment = 'qa'"):
        load_stack()


def test_pulumi_prints_a_config_error_as_a_message_and_not_as_a_traceback() -> None:
    assert issubclass(ConfigError, pulumi.RunError)


def test_the_schema_for_editors_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "components" / "config.py"), run_name="__main__")
    current = (ROOT / "schemas" / "stack.schema.json").read_text()
    assert current == capsys.readouterr().out, "run: make generate"
    assert json.loads(current) == stack_file_schema()


STACK_FILES = [SAMPLES / f"Pulumi.{name}.yaml" for name in STACKS]


@cache
def editors_check() -> Callable[[Any], Any]:
    check: Callable[[Any], Any] = fastjsonschema.compile(stack_file_schema())
    return check


def stack_file(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", STACK_FILES, ids=lambda path: path.name)
def test_every_stack_file_satisfies_the_schema_it_names(path: Path) -> None:
    editors_check()(stack_file(path))
    assert path.read_text().startswith("# yaml-language-server: $schema=schemas/stack.schema.json\n")


@pytest.mark.parametrize("path", STACK_FILES, ids=lambda path: path.name)
def test_every_stack_file_is_a_config(path: Path) -> None:
    given = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in stack_file(path)["config"].items()
    }
    assert load(given, file=path.name).variant == given["datapipeline:variant"]


def test_the_stacks_that_ship_are_looked_at() -> None:
    assert "Pulumi.dev.yaml" in [path.name for path in STACK_FILES]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"datapipeline:variant": "xml"},
        {"datapipeline:variant": "api", "datapipeline:zz": 1},
        {"datapipeline:variant": "api", "datapipeline:environment": "qa"},
        {"datapipeline:variant": "api", "datapipeline:api": {"zz": 1}},
        {"datapipeline:variant": "api", "datapipeline:api": {"max_batch": 501}},
        {"datapipeline:variant": "api", "datapipeline:storage": {"retain_data": "often"}},
    ],
)
def test_the_schema_for_editors_refuses_what_the_program_refuses(config: dict[str, Any]) -> None:
    validate = editors_check()
    with pytest.raises(fastjsonschema.JsonSchemaValueException):
        validate({"config": config})
    with pytest.raises(ConfigError):
        load({key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()}, file=FILE)


def test_the_schema_for_editors_does_not_ask_for_what_an_environment_sets() -> None:
    config = {
        "datapipeline:variant": "api",
        "datapipeline:storage": {"archive": {}},
        "datapipeline:logs": {"level": "DEBUG"},
        "aws:region": "us-east-1",
    }
    file = {"config": config, "encryptionsalt": "v1:x"}
    assert editors_check()(file) == file
