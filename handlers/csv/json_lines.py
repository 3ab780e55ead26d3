"""Rows as JSON Lines."""

import json
import re
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring

from handlers.csv.checks import Check
from handlers.csv.column_types import COLUMN_TYPES
from handlers.csv.columns import Cells, Problem

_needs_escape = re.compile(r'["\\\x00-\x1f]').search


def json_lines(checks: Sequence[Check], columns: Sequence[Cells], count: int, *, is_plain: bool) -> bytes:
    """Encode `count` rows: constant texts and cells are interleaved in one list, which is joined once.

    `is_plain`: no cell contains a character that JSON escapes.
    """
    parts: list[Sequence[str]] = []
    before = "{"
    for check, column in zip(checks, columns, strict=True):
        before += f"{json.dumps(check.column.name, ensure_ascii=False)}:"
        if column is None:
            before += "null,"
            continue
        cells, after = column, ","
        if check.column.type in ("number", "decimal"):
            cells = _decimals(column)
        quoted = COLUMN_TYPES[check.column.type].quoted
        if "" in column:
            text: Callable[[str], str] = encode_basestring if quoted else str
            cells = [text(cell) if cell else "null" for cell in cells]
        elif quoted:
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


def _decimals(cells: Sequence[str]) -> Sequence[str]:
    """Return numbers with a point or an exponent. Readers infer integers if the first ones of a file have neither."""
    if "".join(cells).count(".") == len(cells):
        return cells
    return [cell if not cell or "." in cell or "e" in cell or "E" in cell else f"{cell}.0" for cell in cells]


def rejected_line(row: int, line: int, problems: Sequence[Problem], raw: str) -> bytes:
    """Encode a rejected row with its number, its first line and its problems."""
    errors = []
    for problem in problems:
        column = "null" if problem.column is None else encode_basestring(problem.column)
        reason, message = encode_basestring(problem.reason), encode_basestring(problem.message)
        errors.append(f'{{"column":{column},"reason":{reason},"message":{message}}}')
    # Not json.dumps, which took a tenth of the total time when three rows in a hundred were rejected.
    text = f'{{"row":{row},"line":{line},"errors":[{",".join(errors)}],"raw":{encode_basestring(raw)}}}\n'
    # Undecodable bytes are lone surrogates, which JSON escapes as `\udcff`.
    return text.encode("utf-8", "backslashreplace")
