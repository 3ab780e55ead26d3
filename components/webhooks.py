"""Webhooks: routes to the function that accepts events, and what it needs to verify signatures."""

from collections.abc import Iterator, Mapping
from typing import Any

from pulumi import Output

from components.api import ROUTES, WEBHOOKS, Backend, Route
from components.function import Function
from components.grants import Grant
from components.observability import Alarm, counts_panel, own_metric
from components.options.api import ApiAlarmOptions
from components.options.secrets import SecretOptions
from components.options.webhooks import WebhookOptions, described
from components.part import Part
from components.secrets import grants_read

ORDINALS = ("second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
COUNTS = ("WebhookAccepted", "WebhookForged", "WebhookStale")


def accepting_backend(ingest: Function, webhooks: Mapping[str, WebhookOptions]) -> Backend:
    """The function that accepts events behind the API's own routes, and behind those of the webhooks."""
    throttling = {route: options.throttling for name, options in webhooks.items() for route in routes(name, options)}
    return Backend(ingest, (*ROUTES, *throttling), throttling=throttling)


def routes(name: str, options: WebhookOptions) -> tuple[Route, ...]:
    """The routes of a webhook."""
    post, get = ("POST", f"{WEBHOOKS}{name}"), ("GET", f"{WEBHOOKS}{name}")
    return (post, get) if options.challenge else (post,)


def urls(api_url: Output[str], webhooks: Mapping[str, WebhookOptions]) -> dict[str, Output[Any]]:
    """The URLs to give to the senders, as an output of the stack."""
    if not webhooks:
        return {}
    return {"webhook_urls": Output.all(**{name: Output.concat(api_url, WEBHOOKS, name) for name in webhooks})}


def _labelled(name: str, options: WebhookOptions) -> Iterator[tuple[str, SecretOptions]]:
    """Yield each secret and what statements call it: `of the webhook shop`, `second of the webhook shop`."""
    for ordinal, secret in zip(("", *ORDINALS), options.secrets, strict=False):
        yield f"{ordinal} of the webhook {name}".strip(), secret
    if options.challenge and options.challenge.token:
        yield f"token of the webhook {name}", options.challenge.token


def webhooks_part(webhooks: Mapping[str, WebhookOptions], alarms: ApiAlarmOptions, *, service: str) -> Part:
    """Settings, rights to read the secrets, and an alarm and a graph for each webhook."""
    if not webhooks:
        return Part()
    secrets = {label: secret for name, options in webhooks.items() for label, secret in _labelled(name, options)}
    return Part(
        ingest_grants=[*grants_read(secrets), Grant((), (), {"WEBHOOKS": described(webhooks)})],
        alarms={
            f"webhook-{name}-forged": Alarm(
                f"Requests to the webhook {name} are not signed with its secrets: somebody forges them, or the sender "
                "has another secret.",
                own_metric("WebhookForged", service, "Sum", webhook=name),
                threshold=alarms.forged_webhook_requests,
                section="webhook-forged",
                step="ingest",
            )
            for name in webhooks
        },
        panels=[counts_panel(f"Webhook {name}", service, *COUNTS, webhook=name) for name in webhooks],
    )
