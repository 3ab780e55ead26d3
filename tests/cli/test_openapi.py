"""The OpenAPI document of a stack is valid, has the deployed routes, and states the limits that are enforced."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from cli.openapi import OPERATIONS, REDRIVE_OPERATIONS, document
from components.api import OPEN_ROUTES, ROUTES, Route, with_heads
from components.config import load
from components.options.api import ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.redrive import REDRIVE_ROUTES
from local.project import load_project
from tests.graphs import SAMPLES, graph_of

from .conftest import Command

ROOT = Path(__file__).parents[2]
JWT = {"issuer": "https://issuer.example.com", "audience": ["a"]}

SECRET = "arn:aws:ssm:us-east-1:123456789012:parameter/shop/hook"  # pragma: allowlist secret
HMAC = {"header": "X-Signature"}
WEBHOOKS = {
    "github": {"signature": "github", "secrets": [SECRET]},
    "slack": {"signature": "slack", "secrets": [SECRET], "max_body_bytes": 1_000},
    "meta": {"signature": "hmac", "hmac": HMAC, "secrets": [SECRET], "challenge": {"parameter": "hub.challenge"}},
}

Json = Any


def made(stack: str = "dev", **options: Any) -> Json:
    project = load_project(SAMPLES, stack).with_config(options)
    config = load(project.config, file="Pulumi.test.yaml")
    assert isinstance(config, ApiPipelineConfig | CsvPipelineConfig)
    return document(config)


def resolved(document: Json, value: Json) -> Json:
    for part in value["$ref"].removeprefix("#/").split("/") if "$ref" in value else []:
        document = document[part]
    return document if "$ref" in value else value


def references(value: Json) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


@pytest.mark.parametrize(("queue", "deployed"), [({}, ROUTES), ({"redrive_api": {}}, ROUTES + REDRIVE_ROUTES)])
def test_the_operations_are_exactly_the_deployed_routes(
    queue: dict[str, Any],
    deployed: tuple[Route, ...],
) -> None:
    assert (set(OPERATIONS), set(REDRIVE_OPERATIONS)) == (set(ROUTES), set(REDRIVE_ROUTES))
    found = made(queue=queue)["paths"]
    assert {(method.upper(), path) for path, methods in found.items() for method in methods} == set(
        with_heads(deployed)
    )


def test_redrive_requires_a_signature_whatever_the_other_routes_require() -> None:
    found = made(queue={"redrive_api": {}}, api={"kind": "rest", "auth": "api_key"})
    assert list(found["components"]["securitySchemes"]) == ["api_key", "sigv4"]
    for path, method in (("/redrive/preview", "get"), ("/redrive/start", "post")):
        operation = found["paths"][path][method]
        assert operation["security"] == [{"sigv4": []}]
        assert "403" in operation["responses"]
    (limit,) = (each["schema"] for each in found["paths"]["/redrive/preview"]["get"]["parameters"][:1])
    assert limit == {"type": "integer", "minimum": 1, "maximum": 1_000}


@pytest.mark.parametrize(
    ("stack", "options"),
    [
        ("dev", {}),
        ("ingestion", {}),
        ("analytics", {}),
        ("dev", {"api": {"kind": "rest", "auth": "api_key"}}),
        ("dev", {"api": {"auth": "jwt", "jwt": JWT}}),
        ("dev", {"queue": {"redrive_api": {}}, "api": {"kind": "rest"}}),
        ("dev", {"storage": {"time_index": False, "results": "inline"}}),
        ("dev", {"queue": {"fifo": {"group_field": "customer"}}}),
        ("csv", {"queue": {"redrive_api": {}}}),
        ("dev", {"webhooks": WEBHOOKS}),
        ("dev", {"webhooks": WEBHOOKS, "api": {"kind": "rest", "auth": "api_key"}}),
    ],
)
def test_a_document_is_valid_whatever_the_config(stack: str, options: Mapping[str, Any]) -> None:
    found = made(stack, **options)
    validate(found, cls=OpenAPIV31SpecValidator)
    for reference in references(found):
        assert resolved(found, {"$ref": reference})
    json.dumps(found)


def test_the_command_prints_the_document_or_says_that_there_is_no_api(pipeline: Command) -> None:
    printed = pipeline("openapi", "--stack", "ingestion")
    assert json.loads(printed.stdout) == made("ingestion")
    refused = pipeline("openapi", "--stack", "csv")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "error: stack 'csv' is of the variant 'csv', which has no API without queue.redrive_api\n"
    refused = pipeline("openapi", "--stack", "iot")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == "error: stack 'iot' is of the variant 'iot', which has no API\n"


def test_the_redrive_api_of_a_csv_stack_is_that_of_an_api_stack() -> None:
    found, same = made("csv", queue={"redrive_api": {}}), made(queue={"redrive_api": {}})
    deployed = graph_of("csv", {"queue": {"redrive_api": {}}})
    routes = {route.inputs["routeKey"] for route in deployed.of_type("aws:apigatewayv2/route:Route")}
    assert {f"{method.upper()} {path}" for path, methods in found["paths"].items() for method in methods} == routes
    # It has no events, and so no filters of them.
    for method in ("get", "head"):
        given = same["paths"]["/redrive/preview"][method]
        assert [each["name"] for each in given["parameters"]][-3:-1] == ["type", "field"]
        given["parameters"] = [each for each in given["parameters"] if each["name"] not in ("type", "field")]
    assert found["paths"] == {path: same["paths"][path] for _, path in REDRIVE_ROUTES}
    (output,) = found["servers"][0]["variables"]
    assert output in deployed.outputs
    assert found["servers"][0]["url"] == f"{{{output}}}"
    assert found["components"]["schemas"].keys() == set(same["components"]["schemas"]) & {
        name.rsplit("/", 1)[1] for name in references(found["paths"])
    }


@pytest.mark.parametrize(
    ("api", "scheme", "statuses"),
    [
        ({}, None, set()),
        ({"auth": "iam"}, "sigv4", {"403"}),
        ({"auth": "jwt", "jwt": JWT}, "jwt", {"401", "403"}),
        ({"kind": "rest", "auth": "api_key"}, "api_key", {"403"}),
    ],
)
def test_it_states_authentication_and_the_responses_to_others(
    api: Mapping[str, Any], scheme: str | None, statuses: set[str]
) -> None:
    found = made(api=api)
    assert list(found["components"].get("securitySchemes", {})) == ([scheme] if scheme else [])
    for method, path in ROUTES:
        operation = found["paths"][path][method.lower()]
        closed = scheme is not None and (method, path) not in OPEN_ROUTES
        assert operation["security"] == ([{scheme: []}] if closed else [])
        assert {"401", "403"} & operation["responses"].keys() == (statuses if closed else set())
        assert "429" in operation["responses"]


def test_webhooks_are_described_with_their_signatures_and_need_no_other_authentication() -> None:
    found = made(webhooks=WEBHOOKS, api={"auth": "iam"})["paths"]
    graph = graph_of(config={"webhooks": WEBHOOKS, "api": {"auth": "iam"}})
    deployed = {each.inputs["routeKey"] for each in graph.of_type("aws:apigatewayv2/route:Route")}
    assert {f"{method.upper()} {path}" for path, methods in found.items() for method in methods} == deployed
    required = {
        name: {each["name"] for each in found[f"/webhooks/{name}"]["post"]["parameters"] if each.get("required")}
        for name in WEBHOOKS
    }
    assert required == {
        "github": {"X-Hub-Signature-256"},
        "slack": {"X-Slack-Request-Timestamp", "X-Slack-Signature"},
        "meta": {"X-Signature"},
    }
    for name in WEBHOOKS:
        operation = found[f"/webhooks/{name}"]["post"]
        assert operation["security"] == []
        assert {"202", "401", "413", "429"} <= operation["responses"].keys()
        assert ("200" in operation["responses"]) == (name == "slack")
    assert "1000 bytes" in found["/webhooks/slack"]["post"]["description"]
    assert found["/webhooks/meta"]["get"]["parameters"][0]["name"] == "hub.challenge"
    assert "get" not in found["/webhooks/github"]


def test_limits_are_those_of_the_config_and_of_the_functions() -> None:
    found = made(api={"max_batch": 7, "max_depth": 9})
    batch = found["components"]["schemas"]["Submission"]["anyOf"][1]
    assert (batch["minItems"], batch["maxItems"]) == (1, 7)
    assert "9 levels deep" in found["paths"]["/events"]["post"]["description"]
    parameters = {each["name"]: each["schema"] for each in found["paths"]["/events"]["get"]["parameters"]}
    assert parameters["limit"] == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}
    assert parameters["status"] == {"enum": ["queued", "retrying", "succeeded", "failed"]}


def test_a_fifo_queue_requires_the_group_of_every_event() -> None:
    event = made(queue={"fifo": {"group_field": "customer"}})["components"]["schemas"]["Event"]["allOf"][0]
    group = {"anyOf": [{"type": "string", "pattern": "^[!-~]{1,128}$"}, {"type": "integer"}]}
    assert event["required"] == ["customer"]
    assert event["properties"]["customer"] == group
    event = made(queue={"fifo": {"group_field": "customer.id"}})["components"]["schemas"]["Event"]["allOf"][0]
    assert event["required"] == ["customer"]
    assert event["properties"]["customer"] == {"type": "object", "properties": {"id": group}, "required": ["id"]}


def test_forms_and_cloudevents_are_documented_where_they_are_accepted() -> None:
    def content(**options: Any) -> set[str]:
        return set(made(**options)["paths"]["/events"]["post"]["requestBody"]["content"])

    cloud = {"application/cloudevents+json", "application/cloudevents-batch+json"}
    assert content() == {"application/json", *cloud}
    form = "application/x-www-form-urlencoded"
    assert content(api={"accept_forms": True}) == {"application/json", form, *cloud}


def test_event_schemas_are_included_by_type_with_their_references_redirected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "schemas").mkdir()
    monkeypatch.chdir(tmp_path)
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": {"name": {"type": "string"}, "tree": {"properties": {"left": {"$ref": "#/definitions/tree"}}}},
        "properties": {"name": {"$ref": "#/definitions/name"}, "again": {"$ref": "#"}},
    }
    (tmp_path / "schemas" / "a.b.json").write_text(json.dumps(schema))
    (tmp_path / "schemas" / "c.json").write_text("{}")
    (tmp_path / "processors").mkdir()
    (tmp_path / "processors" / "echo.py").write_text("def process(event): ...\n")
    found = made(api={"schemas": ["a.b", "c"], "type_field": "kind"})
    schemas = found["components"]["schemas"]
    assert schemas["event.a.b"] == {
        "definitions": {
            "name": {"type": "string"},
            "tree": {"properties": {"left": {"$ref": "#/components/schemas/event.a.b/definitions/tree"}}},
        },
        "properties": {
            "name": {"$ref": "#/components/schemas/event.a.b/definitions/name"},
            "again": {"$ref": "#/components/schemas/event.a.b"},
        },
    }
    kinds = schemas["Event"]["allOf"][1]["anyOf"]
    assert [kind["allOf"][0]["properties"] for kind in kinds] == [{"kind": {"const": "a.b"}}, {"kind": {"const": "c"}}]
    assert [kind["allOf"][1]["$ref"] for kind in kinds] == [
        "#/components/schemas/event.a.b",
        "#/components/schemas/event.c",
    ]
    validate(found, cls=OpenAPIV31SpecValidator)


@pytest.mark.parametrize("time_index", [True, False])
def test_lists_without_a_time_index_are_documented_as_404_only(time_index: bool) -> None:  # noqa: FBT001
    answers = made(storage={"time_index": time_index})["paths"]["/events"]["get"]["responses"].keys()
    assert answers == ({"200", "400", "503", "429"} if time_index else {"400", "404", "429"})
