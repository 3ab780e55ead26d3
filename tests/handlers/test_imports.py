"""What a cold start imports: by name and number, as times differ from machine to machine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
INGEST = {
    "table_name": "t",
    "queue_url": "https://sqs.us-east-1.amazonaws.com/123456789012/q",
    "results": "object",
    "time_index_shards": "0",
    "items_expire_after_days": "30",
    "type_field": "event_type",
    "max_batch": "500",
    "max_depth": "20",
    "track": "true",
    "lost_after_seconds": "1558800",
    "deduplicate": "key",
}
LAMBDA = {
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",  # pragma: allowlist secret
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "POWERTOOLS_SERVICE_NAME": "test",
    "POWERTOOLS_METRICS_NAMESPACE": "DataPipeline",
    "HOME": "/nowhere",
}

# What takes most of a cold start: the SDK, HTTP and TLS, a validator of schemas, asyncio.
HEAVY = {"boto3", "botocore.session", "botocore.client", "http.client", "ssl", "fastjsonschema", "asyncio", "uuid"}
# The modules of each function, with room for other versions of Python. Raise a number only with a reason.
BUDGETS = {
    "handlers.api.breaker": 225,
    "handlers.api.compactor": 205,
    "handlers.api.ingest": 205,
    "handlers.api.reconciler": 230,
    "handlers.api.redrive": 225,
    "handlers.api.report": 205,
    "handlers.api.worker": 225,
    "handlers.csv.redrive": 225,
    "handlers.csv.worker": 275,
    "handlers.iot.watcher": 205,
    "handlers.iot.worker": 220,
}
# Results may hold UUIDs, and objects and states have random ids.
NEED_UUID = {
    "handlers.api.breaker",
    "handlers.api.worker",
    "handlers.csv.worker",
    "handlers.iot.worker",
    "handlers.iot.watcher",
}


def modules_after(code: str) -> set[str]:
    """Return what a fresh process has imported after some code."""
    environment = {**LAMBDA, **{name.upper(): value for name, value in INGEST.items()}, "PATH": os.environ["PATH"]}
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}\nprint(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_every_function_has_a_budget() -> None:
    found = {
        ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for file in (ROOT / "handlers").rglob("*.py")
        if "\ndef handler(" in file.read_text(encoding="utf-8")
    }
    assert found == BUDGETS.keys()


@pytest.mark.parametrize("name", BUDGETS)
def test_a_function_imports_nothing_heavy_before_it_is_called(name: str) -> None:
    found = modules_after(f"import {name}")
    assert found & HEAVY <= ({"uuid"} if name in NEED_UUID else set())
    assert len(found) <= BUDGETS[name]


def request(route: str, body: Any = None) -> Mapping[str, Any]:
    context = {"requestId": "r", "http": {"sourceIp": "192.0.2.1", "userAgent": "test"}}
    path = route.partition(" ")[2]
    return {"routeKey": route, "rawPath": path, "headers": {}, "requestContext": context, "body": json.dumps(body)}


def answering(event: Mapping[str, Any], status: int) -> str:
    """Return code that has ingest answer a request, with the schemas file and the services of a test."""
    return f"""
from pathlib import Path
from handlers.api import ingest
ingest.SCHEMAS_FILE = type("File", (), {{"read_text": lambda self: "{{}}"}})()
def call(client, operation, parameters):
    return {{
        "SendMessageBatch": {{"Successful": [{{"Id": "0"}}]}}, "BatchExecuteStatement": {{"Responses": [{{}}]}}
    }}[operation]
if {status} == 202:
    from handlers.shared.aws_json import JsonClient
    JsonClient.call = call
assert ingest.handler({event!r}, None)["statusCode"] == {status}
"""


def test_a_health_check_imports_nothing_of_aws() -> None:
    found = modules_after(answering(request("GET /health"), 200))
    assert found & (HEAVY | {"handlers.shared.aws_json", "handlers.api.submissions", "handlers.api.objects"}) == set()
    assert len(found) <= BUDGETS["handlers.api.ingest"]


def test_an_event_is_accepted_without_botocore_and_without_a_validator() -> None:
    found = modules_after(answering(request("POST /events", {"n": 1}), 202))
    assert found & HEAVY == {"http.client", "ssl"}
