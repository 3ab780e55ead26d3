"""Signatures of webhooks: how each sender signs a request, and whether a request is genuine. It contains no AWS code.

Every scheme is an HMAC over the exact bytes of the body, in some schemes with a timestamp and an id before it:

- `github`: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
- `stripe`: https://docs.stripe.com/webhooks#verify-manually
- `slack`: https://api.slack.com/docs/verifying-requests-from-slack
- `shopify`: https://shopify.dev/docs/apps/build/webhooks/verify-deliveries
- `standard`: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
- `hmac`: any other sender that signs the body alone
"""

import base64
import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Scheme = Literal["github", "stripe", "slack", "shopify", "standard", "hmac"]
Algorithm = Literal["sha1", "sha256", "sha512"]
Encoding = Literal["hex", "base64"]
Verdict = Literal["genuine", "forged", "stale"]

STANDARD_SECRET_PREFIX = "whsec_"  # noqa: S105  a prefix  # pragma: allowlist secret
MAXIMUM_SIGNATURES = 20
_is_epoch = re.compile("[0-9]{1,12}").fullmatch


@dataclass(frozen=True)
class Sender:
    """Places of a delivery's type and id in a sender's requests, and the headers that a processor may need."""

    type_header: str = ""
    type_field: str = ""
    key_header: str = ""
    key_field: str = ""
    headers: tuple[str, ...] = ()


SENDERS: Mapping[Scheme, Sender] = {
    # https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
    "github": Sender(
        type_header="X-GitHub-Event",
        key_header="X-GitHub-Delivery",
        headers=("X-GitHub-Event", "X-GitHub-Delivery", "X-GitHub-Hook-ID"),
    ),
    # https://docs.stripe.com/api/events/object
    "stripe": Sender(type_field="type", key_field="id"),
    # https://docs.slack.dev/apis/events-api
    "slack": Sender(
        type_field="event.type", key_field="event_id", headers=("X-Slack-Retry-Num", "X-Slack-Retry-Reason")
    ),
    # https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates
    "shopify": Sender(
        type_header="X-Shopify-Topic",
        key_header="X-Shopify-Event-Id",
        headers=("X-Shopify-Topic", "X-Shopify-Event-Id", "X-Shopify-Shop-Domain", "X-Shopify-Triggered-At"),
    ),
    "standard": Sender(type_field="type", key_header="webhook-id", headers=("webhook-id", "webhook-timestamp")),
    "hmac": Sender(),
}


@dataclass(frozen=True)
class Rule:
    """Signature rules of one webhook. The fields after `tolerance_seconds` apply to the scheme `hmac` only."""

    scheme: Scheme
    tolerance_seconds: int = 300
    """Largest distance between a request's timestamp and now."""
    header: str = ""
    algorithm: Algorithm = "sha256"
    encoding: Encoding = "hex"
    prefix: str = ""


@dataclass(frozen=True)
class _Signed:
    """The signatures in a request, and the text before the body that is signed with it."""

    signatures: Sequence[str]
    before: str = ""
    timestamp: str | None = None


def key_of(rule: Rule, secret: str) -> bytes:
    """Return the key of the HMAC. Line breaks at its end came with the file that it was read from.

    Raises ValueError for an empty one, with which anybody could sign, and for a secret of Standard Webhooks that is not
    base64.
    """
    secret = secret.rstrip("\r\n")
    if rule.scheme == "standard":
        text = secret.removeprefix(STANDARD_SECRET_PREFIX)
        # Some senders leave out the padding.
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    else:
        key = secret.encode()
    if not key:
        raise ValueError("the secret is empty")
    return key


def verify(rule: Rule, keys: Sequence[bytes], headers: Mapping[str, str], body: bytes, now: float) -> Verdict:
    """Return whether one of the keys signed a request. `headers` have lower-case names.

    Only a request whose signature is right can be stale. Comparisons take the same time wherever texts differ.
    """
    signed = _READERS[rule.scheme](rule, headers)
    if signed is None or not 0 < len(signed.signatures) <= MAXIMUM_SIGNATURES:
        return "forged"
    expected = [_signature(rule, key, signed.before, body) for key in keys]
    # All are compared, so that the time does not tell which key or signature was right.
    matches = [_are_equal(given, right) for given in signed.signatures for right in expected]
    if not any(matches):
        return "forged"
    if signed.timestamp is not None and abs(now - int(signed.timestamp)) > rule.tolerance_seconds:
        return "stale"
    return "genuine"


def sign(rule: Rule, secret: str, body: bytes, *, message_id: str, now: int) -> dict[str, str]:
    """Return the headers with which the sender signs a request. Raises ValueError as `key_of` does."""
    key = key_of(rule, secret)
    match rule.scheme:
        case "stripe":
            return {"Stripe-Signature": f"t={now},v1={_signature(rule, key, f'{now}.', body)}"}
        case "slack":
            signature = _signature(rule, key, f"v0:{now}:", body)
            return {"X-Slack-Request-Timestamp": str(now), "X-Slack-Signature": f"v0={signature}"}
        case "standard":
            signature = _signature(rule, key, f"{message_id}.{now}.", body)
            return {
                "webhook-id": message_id,
                "webhook-timestamp": str(now),
                "webhook-signature": f"v1,{signature}",
            }
        case "github":
            return {"X-Hub-Signature-256": f"sha256={_signature(rule, key, '', body)}"}
        case "shopify":
            return {"X-Shopify-Hmac-Sha256": _signature(rule, key, "", body)}
        case "hmac":
            return {rule.header: f"{rule.prefix}{_signature(rule, key, '', body)}"}


def _are_equal(given: str, right: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), right.encode())


def _signature(rule: Rule, key: bytes, before: str, body: bytes) -> str:
    digest = hmac.digest(key, before.encode("utf-8", "surrogatepass") + body, _algorithm(rule))
    in_base64 = rule.encoding == "base64" if rule.scheme == "hmac" else rule.scheme in ("shopify", "standard")
    return base64.b64encode(digest).decode() if in_base64 else digest.hex()


def _algorithm(rule: Rule) -> str:
    return rule.algorithm if rule.scheme == "hmac" else "sha256"


# Readers return None for a request that lacks what its scheme requires.


def _after(prefix: str, header: str, headers: Mapping[str, str]) -> _Signed | None:
    value = headers.get(header, "")
    return _Signed([value.removeprefix(prefix)]) if value.startswith(prefix) and value != prefix else None


def _github(_rule: Rule, headers: Mapping[str, str]) -> _Signed | None:
    return _after("sha256=", "x-hub-signature-256", headers)


def _shopify(_rule: Rule, headers: Mapping[str, str]) -> _Signed | None:
    return _after("", "x-shopify-hmac-sha256", headers)


def _hmac(rule: Rule, headers: Mapping[str, str]) -> _Signed | None:
    return _after(rule.prefix, rule.header.lower(), headers)


def _slack(_rule: Rule, headers: Mapping[str, str]) -> _Signed | None:
    signed, timestamp = _after("v0=", "x-slack-signature", headers), headers.get("x-slack-request-timestamp", "")
    return signed and _timed(signed.signatures, timestamp, f"v0:{timestamp}:")


def _stripe(_rule: Rule, headers: Mapping[str, str]) -> _Signed | None:
    pairs = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
    timestamps = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    # Repeated headers are joined with commas, too: neither two timestamps nor a part without a name are Stripe's.
    if len(timestamps) != 1 or not all(separator for _, separator, _ in pairs):
        return None
    return _timed(signatures, timestamps[0], f"{timestamps[0]}.")


def _standard(_rule: Rule, headers: Mapping[str, str]) -> _Signed | None:
    message_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = [part.partition(",") for part in headers.get("webhook-signature", "").split(" ")]
    signatures = [value for version, _, value in given if version == "v1"]
    # Repeated headers are joined with commas, which a signature does not have.
    if not message_id or not all(value and "," not in value for _, _, value in given):
        return None
    return _timed(signatures, timestamp, f"{message_id}.{timestamp}.")


def _timed(signatures: Iterable[str], timestamp: str, before: str) -> _Signed | None:
    return _Signed(list(signatures), before, timestamp) if _is_epoch(timestamp) else None


_READERS: Mapping[Scheme, Callable[[Rule, Mapping[str, str]], _Signed | None]] = {
    "github": _github,
    "stripe": _stripe,
    "slack": _slack,
    "shopify": _shopify,
    "standard": _standard,
    "hmac": _hmac,
}
