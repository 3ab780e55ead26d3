"""What a cold start imports: by name and number, as times differ from machine to machine."""

import json
import os
import subprocess
import sys
from collections import Counter
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
# The modules of each function, with room for other versions of Python, and the kilobytes of source outside the standard
# library. Raise a number only with a reason.
BUDGETS = {
    "handlers.api.breaker": (225, 680),
    "handlers.api.compactor": (205, 575),
    "handlers.api.ingest": (205, 610),
    "handlers.api.reconciler": (230, 640),
    "handlers.api.redrive": (225, 620),
    "handlers.api.report": (205, 575),
    "handlers.api.worker": (225, 650),
    "handlers.csv.redrive": (225, 590),
    "handlers.csv.worker": (275, 850),
    "handlers.iot.watcher": (205, 565),
    "handlers.iot.worker": (220, 635),
}
# Results may hold UUIDs, and objects and states have random ids.
NEED_UUID = {
    "handlers.api.breaker",
    "handlers.api.worker",
    "handlers.csv.worker",
    "handlers.iot.worker",
    "handlers.iot.watcher",
}


# Last, as it imports. Compiled modules have another size on each platform.
TELL = """
import os
def size(name):
    file = getattr(sys.modules[name], "__file__", None) or ""
    is_ours = name.partition(".")[0] not in sys.stdlib_module_names and file.endswith(".py")
    return os.path.getsize(file) if is_ours else 0
print(*(f"{name}:{size(name)}" for name in sorted(sys.modules)), file=sys.stderr)
"""


def modules_after(code: str) -> Mapping[str, int]:
    """Return what a fresh process has imported after some code, with the bytes of what is not the standard library's.

    The standard library's sizes differ from version to version.
    """
    environment = {**LAMBDA, **{name.upper(): value for name, value in INGEST.items()}, "PATH": os.environ["PATH"]}
    code = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}\n{TELL}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = (each.rpartition(":") for each in done.stderr.splitlines()[-1].split())
    return {name: int(size) for name, _, size in told}


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
    assert found.keys() & HEAVY <= ({"uuid"} if name in NEED_UUID else set())
    modules, kilobytes = BUDGETS[name]
    assert len(found) <= modules
    assert sum(found.values()) <= kilobytes * 1_000, Counter(found).most_common(10)


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
    assert (
        found.keys() & (HEAVY | {"handlers.shared.aws_json", "handlers.api.submissions", "handlers.api.objects"})
        == set()
    )
    assert len(found) <= BUDGETS["handlers.api.ingest"][0]


def test_an_event_is_accepted_without_botocore_and_without_a_validator() -> None:
    found = modules_after(answering(request("POST /events", {"n": 1}), 202))
    assert found.keys() & HEAVY == {"http.client", "ssl"}
