"""Bodies of requests: decompressed, decoded, and refused by name where they are of another kind."""

import base64
import re
import zlib
from collections.abc import Mapping
from urllib.parse import parse_qsl

from handlers.shared.errors import BadRequestError, TooLargeError, UnsupportedError

# Lambda's limit for a request: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
# A compressed body may not become larger than an uncompressed one could have been.
MAXIMUM_BODY_BYTES = 6 * 1024 * 1024
# No larger form fits into a message of 1 MiB, as a byte takes at most three when it is percent-encoded.
MAXIMUM_FORM_BYTES = 3 * 1024 * 1024
MAXIMUM_FORM_FIELDS = 10_000
JSON_TYPE, FORM_TYPE = "application/json", "application/x-www-form-urlencoded"

_GZIP = ("gzip", "x-gzip")
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WBITS = 16 + zlib.MAX_WBITS
_UTF_8 = ("", "utf-8", "utf8", "us-ascii")
_SHOWN_LENGTH = 100

# Structured syntax suffixes: https://www.rfc-editor.org/rfc/rfc6839#section-3.1
is_json_type = re.compile(r"(application|text)/json|[a-z]+/[a-z0-9!#$&^_.-]+\+json").fullmatch
_is_bad_escape = re.compile("%(?![0-9A-Fa-f]{2})").search
_charset = re.compile(r';\s*charset\s*=\s*"?([^\s;"]*)', re.IGNORECASE).search


def media_type(headers: Mapping[str, str]) -> str:
    """Return the media type of a request in lower case, without parameters. A missing one counts as JSON."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() or JSON_TYPE


def was_expanded(body: bytes, headers: Mapping[str, str]) -> bool:
    """Return True for a body that is not compressed although its header says gzip: a gateway has expanded it."""
    return _encoding(headers) in _GZIP and not body.startswith(_GZIP_MAGIC)


def expanded(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the body without its compression.

    Raises UnsupportedError for an encoding other than gzip, TooLargeError above `MAXIMUM_BODY_BYTES`, BadRequestError
    for a body that is no gzip, is truncated, is followed by other bytes, or was compressed twice.
    """
    encoding = _encoding(headers)
    if encoding in ("", "identity"):
        return body
    if encoding not in _GZIP:
        message = f"Content-Encoding {encoding[:_SHOWN_LENGTH]!r} is not supported; send gzip, or no encoding"
        raise UnsupportedError("unsupported_encoding", message)
    inflater = zlib.decompressobj(_GZIP_WBITS)
    try:
        # One byte more than allowed: expansion stops there, whatever the body claims.
        data = inflater.decompress(body, MAXIMUM_BODY_BYTES + 1)
    except zlib.error as error:
        raise BadRequestError("invalid_gzip", "the body is not gzip, as Content-Encoding says") from error
    if len(data) > MAXIMUM_BODY_BYTES:
        raise TooLargeError("body_too_large", f"the expanded body is larger than {MAXIMUM_BODY_BYTES} bytes")
    if not inflater.eof:
        raise BadRequestError("invalid_gzip", "the gzip body is truncated")
    if inflater.unused_data:
        raise BadRequestError("invalid_gzip", "the gzip body is followed by other bytes; send one gzip member")
    if data.startswith(_GZIP_MAGIC):
        raise BadRequestError("invalid_gzip", "the body is compressed twice; compress it once")
    return data


def json_text(body: bytes, headers: Mapping[str, str]) -> str:
    """Return the text of a JSON body, without a byte order mark. Raises UnsupportedError and the errors of `expanded`.

    JSON is UTF-8: https://www.rfc-editor.org/rfc/rfc8259#section-8.1
    """
    if not is_json_type(media_type(headers)):
        raise _unsupported_type(headers, JSON_TYPE)
    try:
        return _text(body, headers, "utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequestError("invalid_json", "the body is not UTF-8 text") from error


def form_fields(body: bytes, headers: Mapping[str, str]) -> dict[str, str | list[str]]:
    """Return the fields of a form. A repeated field has a list of its values.

    Raises as `json_text` does, and TooLargeError above `MAXIMUM_FORM_BYTES` or `MAXIMUM_FORM_FIELDS`.

    Parts of no length are ignored: https://url.spec.whatwg.org/#urlencoded-parsing
    """
    try:
        given = _text(body, headers, "utf-8")
    except UnicodeDecodeError as error:
        raise BadRequestError("invalid_form", "the body is not UTF-8 text") from error
    # Each field and each escape takes far more memory than its text.
    if len(given) > MAXIMUM_FORM_BYTES or given.count("&") >= MAXIMUM_FORM_FIELDS:
        limits = f"{MAXIMUM_FORM_FIELDS} fields and {MAXIMUM_FORM_BYTES} bytes"
        raise TooLargeError("body_too_large", f"the form is larger than {limits}")
    text = "&".join(part for part in given.split("&") if part)
    if _is_bad_escape(text):
        raise BadRequestError("invalid_form", "the body is not a URL-encoded form: a % must precede two hex digits")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict") if text else []
    except ValueError as error:
        message = "the body is not a URL-encoded form in UTF-8, name=value&name=value"
        raise BadRequestError("invalid_form", message) from error
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def packed(body: bytes) -> str:
    """Return bytes as text for a message: compressed, in base64."""
    return base64.b64encode(zlib.compress(body)).decode()


def unpacked(text: str) -> bytes:
    """Return the bytes that `packed` was given. Raises ValueError for another text."""
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(base64.b64decode(text, validate=True), MAXIMUM_BODY_BYTES + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(body) > MAXIMUM_BODY_BYTES or not inflater.eof:
        raise ValueError("too large, or truncated")
    return body


def is_packed(text: str) -> bool:
    """Return True for a text that `packed` can have returned."""
    try:
        unpacked(text)
    except ValueError:
        return False
    return True


def _encoding(headers: Mapping[str, str]) -> str:
    return headers.get("content-encoding", "").strip().lower()


def _unsupported_type(headers: Mapping[str, str], *supported: str) -> UnsupportedError:
    given = headers.get("content-type", "")[:_SHOWN_LENGTH]
    return UnsupportedError(
        "unsupported_media_type", f"Content-Type {given!r} is not supported; send {' or '.join(supported)}"
    )


def _text(body: bytes, headers: Mapping[str, str], codec: str) -> str:
    check_charset(headers)
    return expanded(body, headers).decode(codec)


def check_charset(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedError for a charset other than UTF-8."""
    charset = _charset(headers.get("content-type", ""))
    if charset and charset[1].lower() not in _UTF_8:
        raise UnsupportedError(
            "unsupported_media_type", f"charset {charset[1][:_SHOWN_LENGTH]!r} is not supported; send UTF-8"
        )
