"""`pipeline webhook send`: a request to a webhook, signed as its sender would sign it."""

import os
import sys
import time
import uuid
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from cli.core.http import Access, Answer, request
from cli.core.json_text import STDIN, write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from components.api import WEBHOOKS
from components.options.api import ApiPipelineConfig
from components.options.secrets import SecretOptions
from components.options.webhooks import WebhookOptions, described_as
from handlers.api.signatures import sign
from handlers.api.webhooks import Webhook
from handlers.shared import aws
from local.errors import LocalError
from local.secrets import VARIABLE_PREFIX, local_id, webhook_secret_name

ACCEPTED = (200, 202)


def run_webhook_send(
    name: str, file: str, stack_name: str, access: Access, *, event_type: str, delivery: str, as_json: bool
) -> int:
    """Send a file and print the answer. Return 1 if it was not accepted."""
    stack = Stack(stack_name)
    webhooks = stack.config_as(ApiPipelineConfig).webhooks
    if name not in webhooks:
        raise LocalError(f"stack {stack_name!r} has no webhook {name!r}; it has {', '.join(webhooks) or 'none'}")
    body = _read(file)
    headers = signed_headers(webhooks[name], _secret(stack, name, webhooks[name]), body, event_type, delivery)
    answer = request("POST", f"{stack.output('api_url')}{WEBHOOKS}{name}", body, headers, access)
    if as_json:
        write_json({"status": answer.status, "answer": answer.json})
    else:
        _show(answer)
    return 0 if answer.status in ACCEPTED else 1


def signed_headers(
    options: WebhookOptions, secret: str, body: bytes, event_type: str = "", delivery: str = ""
) -> dict[str, str]:
    """Return the headers that the sender sends. Raises LocalError for a secret that cannot sign.

    `event_type` and `delivery` are for senders that have type and id in headers; for others they are an error.
    """
    webhook = Webhook(**described_as(options))
    sender = webhook.sender
    for option, given, what, option_group, header, field in (
        ("--type", event_type, "type", "type", sender.type_header, sender.type_field),
        ("--id", delivery, "id", "idempotency", sender.key_header, sender.key_field),
    ):
        if given and not header:
            place = (
                f"has its {what} in the body ({field})" if field else f"has no {what} unless {option_group} names one"
            )
            raise LocalError(f"{option}: a webhook of {options.signature!r} {place}")
    message_id = delivery or str(uuid.uuid4())
    try:
        signed = sign(webhook.rule, secret, body, message_id=message_id, now=int(time.time()))
    except ValueError as error:
        raise LocalError(f"the secret cannot sign as {options.signature!r} does: it is empty, or not base64") from error
    named = {sender.type_header: event_type or "test", sender.key_header: message_id}
    return {**{header: value for header, value in named.items() if header}, **signed}


def _read(file: str) -> bytes:
    if file == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise LocalError(f"cannot read {file}: {error.strerror}") from error


def _secret(stack: Stack, name: str, options: WebhookOptions) -> str:
    """Return the first secret: of its variable, else from where the pipeline reads it."""
    if value := os.environ.get(f"{VARIABLE_PREFIX}{webhook_secret_name(name).upper()}"):
        return value
    stack.aim_aws_clients()
    return _stored(options.secrets[0], local=stack.is_local)


def _stored(secret: SecretOptions, *, local: bool) -> str:
    # The emulator gives a secret another ARN, but not another name.
    place = local_id(secret.arn) if local else secret.arn
    try:
        if secret.service == "ssm":
            return str(aws.client("ssm").get_parameter(Name=place, WithDecryption=True)["Parameter"]["Value"])
        return str(aws.client("secretsmanager").get_secret_value(SecretId=place)["SecretString"])
    except (BotoCoreError, ClientError, KeyError) as error:
        raise LocalError(f"the secret {secret.arn} cannot be read: {error}") from error


def _show(answer: Answer) -> None:
    body = answer.json if isinstance(answer.json, dict) else {}
    if answer.status not in ACCEPTED:
        write_lines([f"{answer.status}: {answer.reason}"], to_stderr=True)
    elif "id" in body:
        write_lines([f"{'a repeat of' if body.get('duplicate') else 'accepted as'} {body['id']}"])
    else:
        write_lines([f"{answer.status} {answer.text}".strip()])
