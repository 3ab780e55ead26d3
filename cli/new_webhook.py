"""`pipeline new NAME --webhook SIGNATURE`: a stack that receives the requests of one sender."""

import json
from collections.abc import Mapping
from typing import Any

from cli.core.suggestions import suggest

Files = Mapping[str, str]

# The type in its header, where the sender has it there, and a body like the sender's.
SAMPLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "github": ("push", {"ref": "refs/heads/main", "repository": {"full_name": "octo/shop"}, "commits": []}),
    "stripe": ("", {"id": "evt_1", "object": "event", "type": "invoice.paid", "data": {"object": {"id": "in_1"}}}),
    "slack": ("", {"type": "event_callback", "event_id": "Ev1", "event": {"type": "app_mention", "text": "hello"}}),
    "shopify": ("orders/create", {"id": 1, "total_price": "19.90"}),
    "standard": ("", {"type": "contact.created", "timestamp": "2026-01-01T12:00:00Z", "data": {"id": "1"}}),
    "hmac": ("", {"n": 1}),
}
# Base64, as Standard Webhooks requires of a secret.
DUMMY = "ZHVtbXk="


def stack_file(variant: str, options: str) -> str:
    """Return a stack file with some options."""
    return (
        "# yaml-language-server: $schema=schemas/stack.schema.json\n"
        f"config:\n  datapipeline:variant: {variant}\n  datapipeline:environment: dev\n{options}"
    )


def webhook_files(name: str, signature: str, region: str) -> Files:
    """Return the files of a stack with one webhook."""
    event_type, sample = SAMPLES[signature]
    details = "      hmac: { header: X-Signature }      # algorithm, encoding, prefix\n" if signature == "hmac" else ""
    options = (
        "  datapipeline:api:\n    auth: iam                        # all other routes, for your own clients\n"
        f"  datapipeline:webhooks:\n    {signature}:                          # POST /webhooks/{signature}\n"
        f"      signature: {signature}\n{details}"
        "      # The ARN of the secret that you share with the sender.\n"
        f"      secrets: [arn:aws:secretsmanager:{region}:123456789012:secret:{name}/{signature}-AbC123]\n"
        f"  datapipeline:worker:\n    processor: processors.{name}:process\n"
    )
    return {
        f"Pulumi.{name}.yaml": stack_file("api", options),
        f"samples/{name}.json": json.dumps(sample, indent=2) + "\n",
        f"processors/{name}.py": _processor(name, signature),
        f"tests/processors/test_{name}.py": _test(name, signature, event_type),
    }


def webhook_steps(name: str, signature: str) -> list[str]:
    """Return the commands that run the stack and send the sample."""
    event_type, _ = SAMPLES[signature]
    typed = ["--type", event_type] if event_type else []
    return [
        f"PIPELINE_SECRET_WEBHOOK_{signature.upper()}={DUMMY} {suggest('local', '--stack', name)}",
        suggest("webhook", "send", signature, f"samples/{name}.json", *typed, "--stack", name),
    ]


def _processor(name: str, signature: str) -> str:
    return f'''"""The function of the stack {name}: what the webhook {signature} sends."""

from collections.abc import Mapping
from typing import Any

from handlers.processor import Context, Rejected


def process(event: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Return the result of a delivery. Raises Rejected for one that can never succeed."""
    # The signature is verified. context.headers and context.body have the request as it was sent.
    if not event:
        raise Rejected("the delivery is empty")
    return {{"type": context.type, "delivery": context.idempotency_key, "fields": sorted(event)}}
'''


def _test(name: str, signature: str, event_type: str) -> str:
    return f'''"""The function of the stack {name}, called directly with the sample, and the resources of the stack."""

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.processor import Context, Rejected
from processors.{name} import process

SAMPLE = (Path.cwd() / "samples" / "{name}.json").read_bytes()


def test_the_sample_is_processed() -> None:
    context = Context(type="{event_type or "default"}", idempotency_key="delivery-1", body=SAMPLE)
    event = json.loads(SAMPLE)
    expected = {{"type": "{event_type or "default"}", "delivery": "delivery-1", "fields": sorted(event)}}
    assert process(event, context) == expected


def test_an_empty_delivery_is_rejected() -> None:
    with pytest.raises(Rejected, match="empty"):
        process({{}}, Context())


def test_the_webhook_has_its_route_and_its_secret(synthesised_stack: Any) -> None:
    graph = synthesised_stack("{name}")
    routes = [route.inputs["routeKey"] for route in graph.of_type("aws:apigatewayv2/route:Route")]
    assert "POST /webhooks/{signature}" in routes
    ingest = graph.find("aws:lambda/function:Function", "pipeline-ingest")
    (webhook,) = json.loads(ingest.inputs["environment"]["variables"]["WEBHOOKS"]).values()
    assert len(webhook["secrets"]) == 1
'''
