"""The webhooks of a stack in its OpenAPI document."""

from collections.abc import Mapping

from cli.openapi_parts import CORRELATION_ID, TEXT, Json, answer_with, gateway_error
from components.api import Route
from components.options.api import ApiOptions
from components.options.webhooks import ChallengeOptions, WebhookOptions
from components.webhooks import routes
from handlers.api.signatures import Rule, sign
from handlers.api.webhooks import CHALLENGE_PATTERN
from handlers.shared.bodies import FORM_TYPE

_DUMMY = "AAAA"


def webhook_operations(webhooks: Mapping[str, WebhookOptions], api: ApiOptions) -> dict[Route, Json]:
    """Return the operations of all webhooks."""
    operations: dict[Route, Json] = {}
    for name, options in webhooks.items():
        for method, path in routes(name, options):
            challenge = options.challenge if method == "GET" else None
            operation = _challenge(name, challenge) if challenge else _receive(name, options, api)
            operations[method, path] = operation
    return operations


def _receive(name: str, options: WebhookOptions, api: ApiOptions) -> Json:
    header = options.hmac.header if options.hmac else ""
    # A signature of nothing, for the names of its headers.
    signed = sign(Rule(options.signature, header=header), _DUMMY, b"", message_id="", now=0)
    parameters = [{"name": each, "in": "header", "required": True, "schema": TEXT} for each in signed]
    return {
        "operationId": f"webhook-{name}",
        "summary": f"Receive a request of the webhook {name}",
        "description": (
            f"Signed by its sender ({options.signature}). The body may be of any type and at most "
            f"{options.max_body_bytes} bytes."
        ),
        "parameters": [*parameters, CORRELATION_ID],
        "requestBody": {"required": True, "content": {"application/json": {}, FORM_TYPE: {}}},
        "responses": {
            **(
                {"200": {"description": "Slack's handshake or a form: accepted."}}
                if options.signature == "slack"
                else {}
            ),
            "202": answer_with("The event is in the queue, or was before.", "Accepted"),
            "400": answer_with(
                "A header is invalid, or the body is not what its content type or schema says.", "Error"
            ),
            "401": answer_with("The sender did not sign this request, or not just now.", "Error"),
            "413": answer_with("The body or the event is too large.", "Error", *gateway_error(api)),
            "415": answer_with("An encoding or character set that is not supported.", "Error"),
            "503": answer_with("Nothing was accepted; send it again.", "Error"),
        },
    }


def _challenge(name: str, options: ChallengeOptions) -> Json:
    schema = {**TEXT, "pattern": f"^{CHALLENGE_PATTERN}$"}
    parameters = [{"name": options.parameter, "in": "query", "required": True, "schema": schema}]
    if options.token_parameter:
        parameters.append({"name": options.token_parameter, "in": "query", "required": True, "schema": TEXT})
    return {
        "operationId": f"webhook-{name}-challenge",
        "summary": f"Answer a challenge of the sender of the webhook {name}",
        "parameters": [*parameters, CORRELATION_ID],
        "responses": {
            "200": {"description": "The challenge.", "content": {"text/plain": {"schema": schema}}},
            "400": answer_with("A parameter or header is invalid.", "Error"),
            "401": answer_with("Not the token of this webhook.", "Error"),
            "503": answer_with("A service did not respond.", "Error"),
        },
    }
