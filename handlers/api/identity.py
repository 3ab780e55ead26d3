"""The identity of events: idempotency keys, fingerprints and ids."""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from handlers.api.events import KEY_FIELD, InvalidEventError
from handlers.api.paths import text_of, value_at

MAXIMUM_KEY_LENGTH = 256


@dataclass(frozen=True)
class Key:
    """Identity that a repeat shares with the first event. Keys of different kinds are never equal."""

    kind: str
    text: str


def client_key(event: Mapping[str, Any], header: str | None) -> Key | None:
    """Return the client's own key, from its header or the event. Raises InvalidEventError."""
    inside = event.get(KEY_FIELD)
    path = f"/{KEY_FIELD}" if header is None else "Idempotency-Key"
    if header is not None and inside is not None and header != inside:
        raise InvalidEventError([{"path": path, "message": f"differs from {KEY_FIELD} in the event"}])
    key = inside if header is None else header
    if key is not None and not isinstance(key, str):
        raise _invalid(path)
    return None if key is None else named_key(key, path)


def configured_key(event: Mapping[str, Any], headers: Mapping[str, str], field: str, header: str) -> Key | None:
    """Return the key in the field or header that `api.idempotency` names. Raises InvalidEventError."""
    if header:
        given = headers.get(header.lower())
        return None if given is None else named_key(given, header)
    value = value_at(event, field) if field else None
    return None if value is None else named_key(text_of(value), f"/{field.replace('.', '/')}")


def named_key(text: str | None, path: str, kind: str = "key") -> Key:
    """Return a key that stands at `path`. Raises InvalidEventError if it is unusable."""
    if text is None or not 0 < len(text) <= MAXIMUM_KEY_LENGTH or not text.isprintable():
        raise _invalid(path)
    return Key(kind, text)


def _invalid(path: str) -> InvalidEventError:
    message = f"must be text of 1 to {MAXIMUM_KEY_LENGTH} printable characters"
    return InvalidEventError([{"path": path, "message": message}])


def fingerprint(event: Mapping[str, Any]) -> str:
    """Return a hash that does not depend on white space or on the order of keys."""
    return hashlib.sha256(json.dumps(event, separators=(",", ":"), sort_keys=True).encode()).hexdigest()


def new_id() -> str:
    """Return the id of an event without a key."""
    # Not the module uuid, for its import.
    number = bytearray(os.urandom(16))
    # Version 4, random: https://www.rfc-editor.org/rfc/rfc9562#section-5.4
    number[6], number[8] = number[6] & 0x0F | 0x40, number[8] & 0x3F | 0x80
    return _as_id(number)


def keyed_id(secret: bytes, caller: str, key: Key) -> str:
    """Return the id that follows from a key of a caller, so that no table of keys is needed.

    Without the stack's secret nobody can compute it, and another caller's key is another key.
    """
    # A JSON array, so that no two triples have the same text.
    message = json.dumps([caller, key.kind, key.text]).encode()
    return _as_id(hmac.digest(secret, message, "sha256")[:16])


def _as_id(number: bytes | bytearray) -> str:
    text = number.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
