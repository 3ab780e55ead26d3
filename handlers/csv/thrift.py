"""Thrift's compact protocol, as far as Parquet's metadata needs it.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Value(NamedTuple):
    """An encoded value with its type code."""

    type: int
    data: bytes


def unsigned(value: int) -> bytes:
    """Encode a number in groups of seven bits, lowest first."""
    data = bytearray()
    while value > 0x7F:  # noqa: PLR2004
        data.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*data, value])


def i32(value: int) -> Value:
    """Encode a 32-bit integer that is not negative."""
    return Value(5, unsigned(value << 1))  # zigzag


def i64(value: int) -> Value:
    """Encode a 64-bit integer that is not negative."""
    return Value(6, unsigned(value << 1))


def text(value: str) -> Value:
    """Encode a string."""
    return binary(value.encode())


def binary(data: bytes) -> Value:
    """Encode bytes."""
    return Value(8, unsigned(len(data)) + data)


def array(values: Sequence[Value]) -> Value:
    """Encode a list of values of one type."""
    (kind,) = {value.type for value in values}
    short = len(values) < 15  # noqa: PLR2004
    size = bytes([len(values) << 4 | kind]) if short else bytes([0xF0 | kind]) + unsigned(len(values))
    return Value(9, size + b"".join(value.data for value in values))


def struct(fields: Mapping[int, Value]) -> Value:
    """Encode fields by number. The numbers must ascend in steps of less than 16."""
    data, before = [], 0
    for number, field in fields.items():
        data += [bytes([(number - before) << 4 | field.type]), field.data]
        before = number
    return Value(12, b"".join(data) + b"\0")


TRUE = Value(1, b"")
EMPTY = struct({})
