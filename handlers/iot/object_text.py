"""The text of an uploaded object: gunzip it and find its JSON values. Contains no AWS code.

An object is UTF-8 text, plain or gzipped: JSON values, or arrays of values, one after the other, with or without lines
between them. Every number is read as an exact Decimal.
"""

import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from itertools import chain

from handlers.iot.readings import InvalidReadingError, UnusableObjectError, shown

_GZIP = b"\x1f\x8b"
_BYTE_ORDER_MARK = "\ufeff"
_READ_BYTES = 1_048_576
# What lies behind a member is copied for each member: small pieces keep that linear.
_PIECE_BYTES = 16_384
_SMALLEST_WINDOW = 65_536

_blank = re.compile(r"[ \t\r\n]*")


def decoded(chunks: Iterable[bytes], maximum_bytes: int) -> str:
    """Return the text of an object, gunzipped if it is gzipped. Raises UnusableObjectError.

    Reading stops at `maximum_bytes`, counted before and after unzipping, as members of a gzip may hold nothing.
    A byte that is not UTF-8 becomes half a surrogate pair, which no field of a reading may hold: it costs its own
    reading only.
    """
    data = bytearray()
    for part in _gunzipped(chunks, maximum_bytes):
        data += part
        _check_size(len(data), maximum_bytes)
    return data.decode("utf-8", "surrogateescape").removeprefix(_BYTE_ORDER_MARK)


def _check_size(size: int, maximum_bytes: int) -> None:
    if size > maximum_bytes:
        raise UnusableObjectError(f"the object holds more than {maximum_bytes} bytes (readings.max_object_mb)")


def _gunzipped(chunks: Iterable[bytes], maximum_bytes: int) -> Iterator[bytes]:
    iterator = iter(chunks)
    head = b""
    for chunk in iterator:
        head += chunk
        if len(head) >= len(_GZIP):
            break
    if not head.startswith(_GZIP):
        yield head
        yield from iterator
        return
    yield from _members(_pieces(head, iterator, maximum_bytes), maximum_bytes)


def _pieces(head: bytes, rest: Iterator[bytes], maximum_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in chain((head,), rest):
        size += len(chunk)
        _check_size(size, maximum_bytes)
        for start in range(0, len(chunk), _PIECE_BYTES):
            yield chunk[start : start + _PIECE_BYTES]


def _members(pieces: Iterator[bytes], maximum_bytes: int) -> Iterator[bytes]:
    """Yield the unzipped bytes of a gzip in pieces; several members in a row are one text, as in gzip itself."""
    unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    pending = b""
    try:
        while pending or (pending := next(pieces, b"")):
            if unzip.eof:
                unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            yield unzip.decompress(pending, min(_READ_BYTES, maximum_bytes + 1))
            pending = unzip.unconsumed_tail or unzip.unused_data
    except zlib.error as error:
        raise UnusableObjectError(f"the object is not the gzip that it begins as: {error}") from error
    if not unzip.eof:
        raise UnusableObjectError("the gzip ends in the middle")


def _object(pairs: list[tuple[str, object]]) -> object:
    fields = dict(pairs)
    if len(fields) == len(pairs):
        return fields
    # JSON does not define which one counts: a measurement would be lost silently.
    names = Counter(name for name, _ in pairs)
    return InvalidReadingError(f"a field occurs twice: {shown(next(name for name in names if names[name] > 1))}")


# Every number is a Decimal, so that a float in a value is NaN or an infinity.
_scan: Callable[[str, int], tuple[object, int]] = json.JSONDecoder(
    parse_float=Decimal,
    parse_int=Decimal,
    parse_constant=float,
    object_pairs_hook=_object,
).scan_once  # type: ignore[attr-defined]  # the scanner under raw_decode, which takes a place to begin at


def values(text: str) -> Iterator[tuple[object, int, int]]:
    """Yield the JSON values of a text with their start and end; what is not JSON yields an InvalidReadingError.

    One loop serves single values, arrays and lines: values and arrays follow each other, separated by white space or
    by nothing, and by commas in an array. What cannot be read costs the rest of its line.
    """
    position = _after_blank(text, 0)
    window, left_out = max(_SMALLEST_WINDOW, len(text) // 64), 0
    in_array = broken = False
    while True:
        position = _after_blank(text, position)
        if position == len(text):
            if in_array:
                yield InvalidReadingError("not JSON: the array has no end"), left_out + position, left_out + position
            return
        # The line that was lost may have had the end of its array.
        if text[position] == "[" and (broken or not in_array):
            in_array, broken = True, False
            position += 1
            continue
        if in_array and text[position] == "]":
            in_array = broken = False
            position += 1
            continue
        value, end = _value(text, position)
        broken = isinstance(value, InvalidReadingError)
        yield value, left_out + position, left_out + end
        position = end
        if position > window:
            # An error counts the lines before its place, which took quadratic time in all.
            text, position, left_out = text[position:], 0, left_out + position
        if in_array:
            position = _after_blank(text, position)
            if text[position : position + 1] == ",":
                position += 1


def _after_blank(text: str, position: int) -> int:
    match = _blank.match(text, position)
    return match.end() if match else position


def _value(text: str, position: int) -> tuple[object, int]:
    try:
        return _scan(text, position)
    except (StopIteration, ValueError, InvalidOperation, RecursionError) as error:
        newline = text.find("\n", position)
        return InvalidReadingError(f"not JSON: {_why(error)}"), len(text) if newline < 0 else newline


def _why(error: Exception) -> str:
    match error:
        case json.JSONDecodeError():
            return error.msg
        case RecursionError():
            return "too many levels"
        case InvalidOperation():
            return "a number is too large"
        case _:
            return "no value"
