"""`pipeline verify` without a pipeline: made-up samples, and what services answer about subscriptions."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest

from cli.core.stack import Stack
from cli.verify.checks import subscriptions
from cli.verify.samples import csv_file, reading, value_of
from components.options.csv import CsvInputOptions
from components.options.iot import ReadingOptions
from handlers.iot.contents import read
from handlers.iot.forms import Form
from handlers.shared.schemas import compile_schemas
from local.errors import LocalError
from tests.graphs import SAMPLES

OBJECT = {"type": "object"}
SEVEN = {"definitions": {"b": {"enum": [7]}}}


@pytest.mark.parametrize(
    "schema",
    [
        *(json.loads(path.read_text()) for path in sorted((SAMPLES / "schemas").glob("*.json"))),
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": "integer", "minimum": 3, "multipleOf": 2}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": "number", "exclusiveMinimum": 0.5, "maximum": 9}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": "integer", "maximum": -4}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": "string", "minLength": 20, "maxLength": 30}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": "array", "items": {"const": 1}, "minItems": 2}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": ["null", "string"]}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"$ref": "#/definitions/b"}}, **SEVEN},
        {**OBJECT, "required": ["a"], "properties": {"a": {"oneOf": [{"type": "boolean"}, {"type": "null"}]}}},
        {**OBJECT, "required": ["a"], "properties": {"a": {"type": "string", "format": "date-time"}}},
        {"allOf": [{"type": "object"}, {"required": ["a"]}], "properties": {"a": {"default": "x"}}},
    ],
)  # fmt: skip
def test_a_made_up_event_fits_its_schema(schema: dict[str, Any]) -> None:
    event = value_of(schema)
    assert compile_schemas({"": schema})[""](event) == []
    assert event


def test_a_made_up_file_has_a_header_and_one_row_as_the_options_say() -> None:
    columns: Any = [
        {"name": "a", "required": True},
        {"name": "b", "type": "integer", "min": 5},
        {"name": "c", "choices": ["x", "y"]},
        {"name": "d", "type": "date"},
        {"name": "e", "type": "boolean"},
        {"name": "f", "type": "datetime", "max": "2020-01-01T00:00:00Z"},
    ]
    options = CsvInputOptions.model_validate({"columns": columns, "delimiter": ";", "skip_lines": 1})
    lines = list(csv.reader(io.StringIO(csv_file(options).decode()), delimiter=";"))
    assert lines == [
        ["skipped"],
        ["a", "b", "c", "d", "e", "f"],
        ["verify", "5", "x", "2026-01-01", "true", "2020-01-01T00:00:00Z"],
    ]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"time_formats": ["epoch_milliseconds"], "fields": {"device_id": "dev.id | device", "metrics": "data.m"}},
        {"time_formats": ["epoch_seconds"], "numbers_as_text": True},
    ],
)
def test_a_made_up_reading_has_the_form_that_the_stack_reads(given: dict[str, Any]) -> None:
    options = ReadingOptions.model_validate(given)
    paths: Any = {name: tuple(map(tuple, each)) for name, each in options.fields.paths().items()}
    form = Form(time_formats=options.time_formats, numbers_as_text=options.numbers_as_text, **paths)
    text = reading(options, "pipeline-verify-1", "pipeline_verify").decode()
    found = read(text, latest=datetime.now(UTC) + timedelta(hours=1), maximum_readings=1, form=form)
    assert [(each.device_id, list(each.metrics)) for each in found.readings] == [
        ("pipeline-verify-1", ["pipeline_verify"])
    ]


class Sns:
    """SNS with subscriptions, of which one is not confirmed."""

    def __init__(self, *arns: str) -> None:
        self.pages = [
            {"Subscriptions": [{"SubscriptionArn": arn, "Endpoint": "a@b.c", "Protocol": "email"} for arn in arns]}
        ]

    def get_paginator(self, name: str) -> "Sns":
        assert name == "list_subscriptions_by_topic"
        return self

    def paginate(self, TopicArn: str) -> list[Any]:  # noqa: N803  as boto3 names it
        assert TopicArn == "arn:topic"
        return self.pages


def test_a_subscription_that_nobody_has_confirmed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_OUTPUTS", json.dumps({"alarms_topic_arn": "arn:topic"}))
    unconfirmed = patch("boto3.client", return_value=Sns("arn:aws:sns:1", "PendingConfirmation"))
    with unconfirmed, pytest.raises(LocalError, match=r"not confirmed: a@b.c \(email, alarms\); SNS has sent each "):
        subscriptions(Stack("dev"))
    with patch("boto3.client", return_value=Sns("arn:aws:sns:1")):
        assert subscriptions(Stack("dev")) == "1 confirmed"
    with patch("boto3.client", return_value=Sns()):
        assert subscriptions(Stack("dev")) == "there are none: nobody hears of alarms or alerts"
