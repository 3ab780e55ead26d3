"""Webhooks: signed requests of other services, verified over the exact bytes and accepted as events.

Imported only in stacks with webhooks. A body is parsed only after its signature is verified. A forged request is
counted, logged without its content, and answered with a 401 that gives no reason.
"""

import base64
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from handlers.api import events, identity
from handlers.api.counts import WEBHOOK_COUNTS
from handlers.api.entries import Entry, answer_one
from handlers.api.events import Envelope, InvalidEventError
from handlers.api.identity import Key
from handlers.api.paths import text_of, value_at
from handlers.api.secrets import Secrets
from handlers.api.settings import IngestSettings
from handlers.api.signatures import SENDERS, Algorithm, Encoding, Rule, Scheme, Sender, Verdict, key_of, verify
from handlers.api.submissions import Submissions, group_of, refusal_of
from handlers.processor import SecretError
from handlers.shared import metrics
from handlers.shared.bodies import FORM_TYPE, expanded, form_fields, is_json_type, json_text, media_type, packed
from handlers.shared.errors import BadRequestError, NotFoundError, TooLargeError, UnauthorizedError
from handlers.shared.http import (
    Request,
    known_parameters,
    response,
    single_parameters,
    text_response,
    unavailable_error,
)
from handlers.shared.log import logger
from handlers.shared.text import printable

PATH = "/webhooks/"
CHALLENGE_PATTERN = "[ -~]{1,1024}"
# Processors that parse the exact bytes need them.
CONTENT_HEADERS = ("content-type", "content-encoding")
# API Gateway accepts no more of all headers together.
HEADER_LENGTH = 10_240
# GitHub and Slack send JSON in a form with this one field.
PAYLOAD_FIELD = "payload"
# Forged requests cause secrets to be read again at most this often.
DOUBT_SECONDS = 30
# A secret that is compared as it is.
PLAIN = Rule("hmac")

_is_challenge = re.compile(CHALLENGE_PATTERN).fullmatch

Accept = Callable[[Sequence[Entry], dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Webhook:
    """One webhook, as components/webhooks.py describes it. `secrets` and `token` are ARNs."""

    signature: Scheme
    secrets: Sequence[str]
    max_body_bytes: int
    tolerance_seconds: int = 300
    header: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""
    type_header: str = ""
    type_field: str = ""
    key_header: str = ""
    key_field: str = ""
    headers: Sequence[str] = ()
    challenge_parameter: str = ""
    token_parameter: str = ""
    token: str = ""

    @cached_property
    def rule(self) -> Rule:
        """The way in which its requests are signed."""
        return Rule(self.signature, self.tolerance_seconds, self.header, self.algorithm, self.encoding, self.prefix)

    @cached_property
    def sender(self) -> Sender:
        """The places of type and key: those that the stack names, else those of the sender's documents."""
        known = SENDERS[self.signature]
        by_type = (self.type_header, self.type_field)
        by_key = (self.key_header, self.key_field)
        return Sender(
            *(by_type if any(by_type) else (known.type_header, known.type_field)),
            *(by_key if any(by_key) else (known.key_header, known.key_field)),
            (*CONTENT_HEADERS, *known.headers, *self.headers),
        )


class Webhooks:
    """The routes of the webhooks. `submissions` knows ids and schemas."""

    def __init__(self, settings: IngestSettings, submissions: Submissions) -> None:
        self._settings = settings
        self._submissions = submissions
        given: dict[str, Any] = json.loads(settings.webhooks)
        self._webhooks = {name: Webhook(**fields) for name, fields in given.items()}
        arns = {arn for each in self._webhooks.values() for arn in (*each.secrets, each.token) if arn}
        self._secrets = Secrets({arn: arn for arn in arns})
        # Of each webhook, so that forged requests to one do not delay a new secret of another.
        self._doubted_at = dict.fromkeys(self._webhooks, time.monotonic())

    def answer(self, request: Request, facts: dict[str, Any], accept: Accept) -> dict[str, Any]:
        """Return the response to a request. Raises ApiError."""
        method, _, path = request.route.partition(" ")
        name = path.removeprefix(PATH)
        webhook = self._webhooks.get(name) if path.startswith(PATH) else None
        if webhook is None or not (method == "POST" or (method == "GET" and webhook.challenge_parameter)):
            raise NotFoundError("no_such_route", "there is no such route")
        facts["webhook"] = name
        if method == "GET":
            return self._answer_challenge(name, webhook, request)
        return self._receive(name, webhook, request, facts, accept)

    def _receive(
        self, name: str, webhook: Webhook, request: Request, facts: dict[str, Any], accept: Accept
    ) -> dict[str, Any]:
        if len(request.body) > webhook.max_body_bytes:
            raise TooLargeError("body_too_large", f"the body is larger than {webhook.max_body_bytes} bytes")
        verdict = facts["signature"] = self._verdict(name, webhook, request)
        if verdict != "genuine":
            raise _unauthorized(name, verdict)
        known_parameters(request, ())
        data = _data(request)
        if webhook.signature == "slack" and data.get("type") == "url_verification":
            return response(200, {"challenge": _slack_challenge(data)})
        try:
            entry = self._entry(name, webhook, request, data)
        except InvalidEventError as error:
            raise refusal_of(error) from error
        accept([entry], facts)
        answered = answer_one(entry)
        metrics.emit({WEBHOOK_COUNTS[verdict]: 1}, webhook=name)
        if webhook.signature == "slack" and media_type(request.headers) == FORM_TYPE:
            # Slack shows the body of this response to the user: https://docs.slack.dev/interactivity/handling-user-interaction
            return text_response("")
        return answered

    def _verdict(self, name: str, webhook: Webhook, request: Request) -> Verdict:
        """Verify the signature; a forged one again with newly read secrets. Raises UnavailableError as `_verified`."""
        verdict = self._verified(webhook, request)
        return self._verified(webhook, request) if verdict == "forged" and self._doubts(name, webhook) else verdict

    def _doubts(self, name: str, webhook: Webhook) -> bool:
        """Have the secrets of a webhook read again, and return True. Return False if that was done just now.

        They may have been rotated under their ARNs, and not every sender retries.
        """
        now = time.monotonic()
        if now < self._doubted_at[name] + DOUBT_SECONDS:
            return False
        self._doubted_at[name] = now
        self._secrets.doubt([*webhook.secrets, webhook.token])
        return True

    def _verified(self, webhook: Webhook, request: Request) -> Verdict:
        """Verify the signature. Raises UnavailableError if a secret that cannot be read could be the right one."""
        keys = [self._key(webhook.rule, arn) for arn in webhook.secrets]
        known = [key for key in keys if key is not None]
        verdict = verify(webhook.rule, known, request.headers, request.body, time.time())
        if verdict == "forged" and len(known) < len(keys):
            raise unavailable_error()
        return verdict

    def _key(self, rule: Rule, arn: str) -> bytes | None:
        """Return the HMAC key of a secret. A secret that cannot be used is logged, and None is returned."""
        try:
            return key_of(rule, self._secrets[arn])
        except SecretError as error:
            problem = str(error)
        except ValueError:
            # Its words could quote the secret.
            problem = "it is empty, or not base64 as Standard Webhooks requires"
        logger.error("a secret of a webhook cannot be used", extra={"arn": arn, "error": problem})
        return None

    def _entry(self, name: str, webhook: Webhook, request: Request, data: dict[str, Any]) -> Entry:
        """Return the event. Raises InvalidEventError."""
        settings, sender = self._settings, webhook.sender
        text = events.check_form(data, settings.max_depth)
        named = text_of(_at(request, data, sender.type_header, sender.type_field))
        event_type = named if named is not None and events.is_type(named) else events.DEFAULT_TYPE
        self._submissions.check_delivery(event_type, data)
        given = _at(request, data, sender.key_header, sender.key_field)
        # Shopify uses one id for events of several types.
        place = sender.key_header or f"/{sender.key_field.replace('.', '/')}"
        key = None if given is None else identity.named_key(text_of(given), place, f"webhook {event_type}")
        delivery = key.text if key else ""
        if key is None and settings.deduplicate == "content":
            key = Key("content", identity.fingerprint(data))
        caller = f"webhook {name}"
        (received_at,) = events.received_times(1)
        envelope = Envelope(
            id=self._submissions.id_of(caller, key),
            type=event_type,
            received_at=received_at,
            source_ip=request.source_ip,
            user_agent=request.user_agent,
            correlation_id=request.correlation_id,
            fingerprint=identity.fingerprint({caller: [key.kind, key.text]}) if key else "",
            data=data,
            idempotency_key=delivery,
            headers={
                each.lower(): printable(request.headers[each.lower()], HEADER_LENGTH)
                for each in sender.headers
                if each.lower() in request.headers
            },
            body=packed(request.body),
        )
        return Entry(envelope, events.message_of(envelope, text), self._group(name, data), sends=True)

    def _group(self, name: str, data: Mapping[str, Any]) -> str:
        """Return the group: that of the event, or one for all events of the webhook without any."""
        path = self._settings.group_field or self._settings.fair_field
        if not path:
            return ""
        return name if value_at(data, path) is None else group_of(data, self._settings)

    def _answer_challenge(self, name: str, webhook: Webhook, request: Request) -> dict[str, Any]:
        """Answer the challenge with which a sender verifies the URL."""
        parameters = single_parameters(request)
        if webhook.token:
            given = parameters.get(webhook.token_parameter, "")
            is_right = self._is_token(webhook, given)
            if not (is_right or (self._doubts(name, webhook) and self._is_token(webhook, given))):
                raise _unauthorized(name, "forged")
        challenge = parameters.get(webhook.challenge_parameter, "")
        if not _is_challenge(challenge):
            message = f"{webhook.challenge_parameter} must be 1 to 1024 printable ASCII characters"
            raise BadRequestError(
                "invalid_parameter", message, [{"path": webhook.challenge_parameter, "message": message}]
            )
        return text_response(challenge)

    def _is_token(self, webhook: Webhook, given: str) -> bool:
        token = self._key(PLAIN, webhook.token)
        if token is None:
            raise unavailable_error()
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), token)


def _unauthorized(name: str, verdict: Verdict) -> UnauthorizedError:
    metrics.emit({WEBHOOK_COUNTS[verdict]: 1}, webhook=name)
    return UnauthorizedError("unauthorized", "the request is not authentic")


def _slack_challenge(data: Mapping[str, Any]) -> str:
    challenge = data.get("challenge")
    if not isinstance(challenge, str):
        raise BadRequestError("invalid_event", "the challenge of a url_verification must be text")
    return challenge


def _data(request: Request) -> dict[str, Any]:
    """Return a body as an event. Raises ApiError for one that is not what its content type says."""
    headers, kind = request.headers, media_type(request.headers)
    if kind == FORM_TYPE:
        fields = form_fields(request.body, headers)
        return _payload(fields) or fields
    if is_json_type(kind):
        value = events.parse_json(json_text(request.body, headers))
        return value if isinstance(value, dict) else {"data": value}
    content = expanded(request.body, headers)
    try:
        return {"data": content.decode()}
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(content).decode()}


def _payload(fields: Mapping[str, str | list[str]]) -> dict[str, Any] | None:
    """Return the JSON object in a form that has nothing else."""
    given = fields.get(PAYLOAD_FIELD)
    if len(fields) > 1 or not isinstance(given, str):
        return None
    try:
        value = events.parse_json(given)
    except BadRequestError:
        return None
    return value if isinstance(value, dict) else None


def _at(request: Request, data: Mapping[str, Any], header: str, field: str) -> object:
    """Return what stands in a header or a field, None if there is nothing."""
    if header:
        return request.headers.get(header.lower())
    return value_at(data, field) if field else None
