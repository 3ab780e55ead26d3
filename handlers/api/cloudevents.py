"""CloudEvents 1.0 in the three modes of its HTTP binding, each read into the same event.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md

That event has the attributes, all as text, and the payload: `data` for JSON and text, else `data_base64`.
"""

import base64
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

from handlers.api.events import InvalidEventError, parse_json
from handlers.api.identity import MAXIMUM_KEY_LENGTH, Key
from handlers.shared.bodies import check_charset, expanded, is_json_type, media_type
from handlers.shared.errors import BadRequestError

SPECVERSION = "1.0"
REQUIRED = ("specversion", "id", "source", "type")
STRUCTURED_TYPE, BATCH_TYPE = "application/cloudevents+json", "application/cloudevents-batch+json"
HEADER_PREFIX = "ce-"
# What may stand in the attributes that are text. https://datatracker.ietf.org/doc/html/rfc3986 has no other
# characters in a source.
PATTERNS = {
    "id": (f"[ -~]{{1,{MAXIMUM_KEY_LENGTH}}}", f"1 to {MAXIMUM_KEY_LENGTH} printable ASCII characters"),
    "source": ("[!-~]{1,1024}", "1 to 1024 printable ASCII characters without spaces, as a URI reference is"),
    "type": (".{1,1024}", "1 to 1024 characters on one line"),
    "subject": (".{0,1024}", "at most 1024 characters on one line"),
}

Mode = Literal["structured", "batched", "binary"]
_PAYLOAD = ("data", "data_base64")
_is_attribute = re.compile("[a-z0-9]{1,64}").fullmatch
# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
_is_time_form = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII).fullmatch
_without_backslash = re.compile(r"\\(.)").sub


def mode_of(kind: str, headers: Mapping[str, str]) -> Mode | None:
    """Return how a request carries CloudEvents, None if it does not. The content type decides first."""
    if kind == STRUCTURED_TYPE:
        return "structured"
    if kind == BATCH_TYPE:
        return "batched"
    return "binary" if any(f"{HEADER_PREFIX}{name}" in headers for name in REQUIRED) else None


def from_binary(headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    """Return the event of a request in binary mode, as structured mode has it. Raises the errors of `expanded`."""
    if _is_text(media_type(headers)):
        check_charset(headers)
    event: dict[str, Any] = {}
    for name, value in headers.items():
        if name.startswith(HEADER_PREFIX):
            try:
                event[name.removeprefix(HEADER_PREFIX)] = unquote_to_bytes(_unquoted(value)).decode()
            except UnicodeDecodeError as error:
                raise BadRequestError("invalid_header", f"{name} is not percent-encoded UTF-8") from error
    if "content-type" in headers:
        event["datacontenttype"] = headers["content-type"]
    if data := expanded(body, headers):
        event["data_base64"] = base64.b64encode(data).decode()
    return event


def _unquoted(value: str) -> str:
    """Return a header's value without double quotes, which earlier versions of the binding allowed."""
    is_quoted = len(value) > 1 and value.startswith('"') and value.endswith('"')
    return _without_backslash(r"\1", value[1:-1]) if is_quoted else value


def canonical(given: object) -> dict[str, Any]:
    """Return a CloudEvent in the one form that it has in every mode. Raises InvalidEventError."""
    if not isinstance(given, dict):
        raise _invalid("", "a CloudEvent is a JSON object")
    attributes = {
        name: _attribute(name, value) for name, value in given.items() if name not in _PAYLOAD and value is not None
    }
    for name in REQUIRED:
        if not attributes.get(name):
            raise _invalid(name, "is missing; a CloudEvent has specversion, id, source and type")
    if attributes["specversion"] != SPECVERSION:
        raise _invalid("specversion", f"must be {SPECVERSION}, not {attributes['specversion'][:20]!r}")
    for name, (pattern, what) in PATTERNS.items():
        if name in attributes and not (isinstance(given[name], str) and re.fullmatch(pattern, given[name])):
            raise _invalid(name, f"must be text of {what}")
    if "time" in attributes and not _is_time(attributes["time"]):
        raise _invalid("time", "must be an RFC 3339 time with a zone")
    return _with_payload(attributes, given)


def key_of(event: Mapping[str, Any]) -> Key:
    """Return the key of a canonical CloudEvent: producers must ensure that source and id are unique together."""
    # A source is a URI reference, so it has no space.
    return Key("cloudevent", f"{event['source']} {event['id']}")


def _attribute(name: str, value: object) -> str:
    if not _is_attribute(name):
        raise _invalid(name[:64], "is no name of an attribute: lower-case letters and digits")
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, int | str):
        return str(value)
    raise _invalid(name, "must be text, a whole number or a truth value")


def _is_time(text: str) -> bool:
    if not _is_time_form(text):
        return False
    # A minute with a leap second has a second 60.
    moment = f"{text[:17]}59{text[19:]}" if text[17:19] == "60" else text
    try:
        datetime.fromisoformat(moment.upper())
    except ValueError:
        return False
    return True


def _is_text(kind: str) -> bool:
    return kind.startswith("text/") or kind.endswith(("/xml", "+xml"))


def _with_payload(attributes: dict[str, str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return attributes and payload. Without a content type the payload is JSON."""
    has_data, encoded = given.get("data") is not None, given.get("data_base64")
    if has_data and encoded is not None:
        raise _invalid("data_base64", "cannot be combined with data")
    if not has_data and encoded is None:
        return attributes
    kind, _, parameters = attributes.get("datacontenttype", "application/json").partition(";")
    kind = kind.strip().lower()
    is_json = is_json_type(kind) is not None
    # JSON is UTF-8, so a charset says nothing.
    event: dict[str, Any] = {
        **attributes,
        "datacontenttype": kind if is_json or not parameters else f"{kind};{parameters}",
    }
    if has_data:
        return {**event, "data": given["data"]}
    data = _decoded(encoded)
    if is_json:
        return {**event, "data": _json(data)}
    if _is_text(kind):
        try:
            return {**event, "data": data.decode()}
        except UnicodeDecodeError:
            pass  # it stays as bytes
    return {**event, "data_base64": base64.b64encode(data).decode()}


def _decoded(encoded: object) -> bytes:
    if not isinstance(encoded, str):
        raise _invalid("data_base64", "must be text, base64")
    try:
        return base64.b64decode(encoded, validate=True)
    except ValueError as error:
        raise _invalid("data_base64", "is not base64") from error


def _json(data: bytes) -> Any:
    try:
        return parse_json(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _invalid("data", "is not UTF-8 text") from error
    except BadRequestError as error:
        raise _invalid("data", error.message) from error


def _invalid(name: str, message: str) -> InvalidEventError:
    return InvalidEventError([{"path": f"/{name}" if name else "", "message": message}])
