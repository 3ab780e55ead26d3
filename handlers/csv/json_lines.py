"""Rows as JSON Lines."""

import json
import re
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring

from handlers.csv.columns import Cells, Check

_needs_escape = re.compile(r'["\\\x00-\x1f]').search


def json_lines(checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool) -> bytes:
    """`count` rows: constant texts and cells interleaved in one list, which is joined once.

    `is_plain`: no cell has a character that JSON escapes.
    """
    parts: list[Sequence[str]] = []
    before = "{"
    for check, column in zip(checks, columns, strict=True):
        before += f"{json.dumps(check.column.name, ensure_ascii=False)}:"
        if column is None:
            before += "null,"
            continue
        cells, after = column, ","
        if "" in column:
            text: Callable[[str], str] = encode_basestring if check.quoted else str
            cells = [text(cell) if cell else "null" for cell in column]
        elif check.quoted:
            if not is_plain and _needs_escape("".join(column)):
                cells = list(map(encode_basestring, column))
            else:
                before, after = before + '"', '",'
        parts += [[before] * count, cells]
        before = after
    end = before.removesuffix(",") + "}\n"
    interleaved = [end] * (count * (len(parts) + 1))
    for position, part in enumerate(parts):
        interleaved[position :: len(parts) + 1] = part
    return "".join(interleaved).encode()
