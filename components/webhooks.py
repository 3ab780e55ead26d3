"""Webhooks: routes to the function that accepts events, and what it needs to verify signatures."""

from collections.abc import Mapping

from components.api import ROUTES, WEBHOOKS, Backend, Route
from components.function import Function
from components.grants import Grant
from components.observability import Alarm, counts_panel, own_metric
from components.options.api import ApiAlarmOptions
from components.options.webhooks import WebhookOptions, described
from components.part import Part
from components.secrets import grants_read

COUNTS = ("WebhookAccepted", "WebhookForged", "WebhookStale")


def accepting_backend(ingest: Function, webhooks: Mapping[str, WebhookOptions]) -> Backend:
    """The function that accepts events behind the API's own routes, and behind those of the webhooks."""
    throttling = {route: options.throttling for name, options in webhooks.items() for route in routes(name, options)}
    return Backend(ingest, (*ROUTES, *throttling), throttling=throttling)


def routes(name: str, options: WebhookOptions) -> tuple[Route, ...]:
    """The routes of a webhook."""
    post, get = ("POST", f"{WEBHOOKS}{name}"), ("GET", f"{WEBHOOKS}{name}")
    return (post, get) if options.challenge else (post,)


def webhooks_part(webhooks: Mapping[str, WebhookOptions], alarms: ApiAlarmOptions, *, service: str) -> Part:
    """What the webhooks are and the rights to read their secrets, an alarm and a graph each."""
    if not webhooks:
        return Part()
    secrets = {
        f"{number} of the webhook {name}": secret
        for name, options in webhooks.items()
        for number, secret in enumerate(options.all_secrets, 1)
    }
    return Part(
        ingest_grants=[*grants_read(secrets), Grant((), (), {"WEBHOOKS": described(webhooks)})],
        alarms={
            f"webhook-{name}-forged": Alarm(
                f"Requests to the webhook {name} are not signed with its secrets: somebody forges them, or the sender "
                "has another secret.",
                own_metric("WebhookForged", service, "Sum", webhook=name),
                threshold=alarms.forged_webhook_requests,
            )
            for name in webhooks
        },
        panels=[counts_panel(f"Webhook {name}", service, *COUNTS, webhook=name) for name in webhooks],
    )
