"""Settings that would let a file pass, as far as what was rejected can tell. None is ever applied."""

import codecs
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from handlers.csv.column_types import check_of
from handlers.csv.columns import Column, FileFormat
from handlers.csv.evidence import Cause, Evidence, suggestion
from handlers.csv.spellings import NULL_WORDS, reading_options

MOST_SUGGESTIONS = 20
# Causes that are looked at, those of the most rows first.
MOST_CAUSES = 100
_SAME_NAME = 0.8
_TOTALS = ("Total", "Grand total", "Sum", "Summe", "Gesamt", "TOTAL")
_OTHER_ENCODING = "windows-1252"

Suggestion = Mapping[str, Any]
Good = Mapping[str, tuple[Sequence[str], int]]


def suggestions(
    file_format: FileFormat,
    evidence: Evidence,
    reasons: Counter[Cause],
    delimiter: str,
    width: int,
    good: Good,
) -> list[Suggestion]:
    """Return suggestions for a file's rejected rows, those of the most rows first.

    `good`: by column, a sample of the values of the processed rows and their number.
    """
    columns = {column.name: column for column in file_format.columns}
    found: list[Suggestion] = []
    for cause, count in reasons.most_common(MOST_CAUSES):
        samples = evidence.of(cause)
        name, reason = cause
        if not samples or len(found) >= MOST_SUGGESTIONS:
            continue
        if name is None:
            suggest = _OF_ROWS.get(reason)
            found += suggest(file_format, samples, count, delimiter, width) if suggest else ()
        elif name in columns:
            found += _of_column(columns[name], file_format, samples, count, good.get(name, ((), 0)))
    return found[:MOST_SUGGESTIONS]


def similar_names(missing: Sequence[str], unknown: Sequence[str]) -> list[Suggestion]:
    """Return an alias for each column that a file lacks and may have under another name."""
    return [
        suggestion(
            f"input.columns.{name}.aliases",
            [[match]],
            f"the file lacks the column {name}, and {match} is not configured",
        )
        for name in missing[:MOST_SUGGESTIONS]
        for match in get_close_matches(name, unknown, n=1, cutoff=_SAME_NAME)
    ]


def _of_column(
    column: Column, file_format: FileFormat, samples: Sequence[str], count: int, good: tuple[Sequence[str], int]
) -> Iterator[Suggestion]:
    setting = f"input.columns.{column.name}"
    known = file_format.null_values if column.null_values is None else column.null_values
    words = tuple(sorted(cell for cell in samples if cell in NULL_WORDS))
    if words and not column.required:
        shown = ", ".join(map(repr, words))
        values = {"null_values": [*known, *words]}
        yield suggestion(setting, [values], f"{shown} in {column.name} may mean that there is no value")
    rest = [cell for cell in samples if cell and cell not in words]
    if not rest:
        return
    example = f"{count} cells in {column.name} are rejected, such as {rest[0]!r}"
    options = [each for each in _options(column, file_format, rest) if _lost(column, each, *good) < count]
    if len(options) == 1:
        point = "; cells such as 1.234 were read with a decimal point" if options[0].get("group") == "." else ""
        yield suggestion(setting, options, example + point)
    elif options:
        yield suggestion(setting, options, f"{example}, which has {len(options)} meanings: set the right one")
    elif column.type == "integer" and not check_of(replace(column, type="number")).read(rest).problems:
        yield suggestion(setting, [{"type": "number"}], f"{example}: it is no whole number")
    elif _is_read(column, file_format, [cell.lstrip(" ") for cell in rest]):
        yield suggestion("input.skip_initial_space", [True], f"{example}: it begins with a space")


def _options(column: Column, file_format: FileFormat, cells: Sequence[str]) -> list[Mapping[str, Any]]:
    """Return the options, besides those that the column has, with which it reads the cells."""
    found: list[Mapping[str, Any]] = []
    for options in reading_options(column, cells, file_format.numbers):
        if (options.get("decimal") or column.decimal) == (options.get("group") or column.group) is not None:
            continue
        changes = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items()}
        for key in ("format", "true_values", "false_values"):
            if key in changes:
                changes[key] = [*getattr(column, key), *changes[key]]
        found.append(changes)
    return found


def _lost(column: Column, options: Mapping[str, Any], good: Sequence[str], count: int) -> float:
    """Return an estimate of the cells that are read today and would not be with the options."""
    if not good or not {"decimal", "group"} & options.keys():
        return 0
    # The sample has the output's spelling, with a point.
    cells = [cell.replace(".", column.decimal or ".") for cell in good]
    changes: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
    return len(check_of(replace(column, unique=False, **changes)).read(cells).problems) / len(good) * count


def _is_read(column: Column, file_format: FileFormat, cells: Sequence[str]) -> bool:
    return not check_of(column, file_format.numbers, file_format.null_values).read(cells).problems


# Rows


def _of_short_rows(
    _format: FileFormat, samples: Sequence[str], count: int, delimiter: str, width: int
) -> Iterator[Suggestion]:
    totals = tuple(sorted({total for total in _TOTALS for raw in samples if raw.startswith(total)}))
    if totals:
        yield suggestion("input.footer", [{"starts_with": list(totals)}], f"rows begin with {', '.join(totals)}")
    comments = [raw for raw in samples if raw.startswith("#")]
    if comments:
        yield suggestion("input.comment", ["#"], "rows begin with #")
    rest = [raw for raw in samples if not raw.startswith(("#", *totals))]
    if any(raw.count(delimiter) < width - 1 for raw in rest):
        yield suggestion("input.short_rows", ["pad"], f"{count} rows lack cells, if these are the last ones")


def _of_long_rows(
    file_format: FileFormat, samples: Sequence[str], count: int, delimiter: str, width: int
) -> Iterator[Suggestion]:
    extra = [raw for raw in samples if raw.count(delimiter) == width and raw.endswith(delimiter)]
    if any(f"{delimiter} {file_format.quote}" in raw for raw in samples) and not file_format.skip_initial_space:
        yield suggestion("input.skip_initial_space", [True], "there are spaces between delimiters and quotes")
    elif extra:
        yield suggestion("input.long_rows", ["drop_empty_cells"], f"rows end with {delimiter!r} after the last cell")
    elif file_format.escape is None and any("\\" + delimiter in raw for raw in samples):
        yield suggestion("input.escape", ["\\"], f"rows of the {count} that are too long have a backslash")


def _of_quoting(
    file_format: FileFormat, samples: Sequence[str], _count: int, delimiter: str, width: int
) -> Iterator[Suggestion]:
    quote = file_format.quote
    if file_format.escape is None and any("\\" + quote in raw for raw in samples):
        yield suggestion("input.escape", ["\\"], f"there are quotes written as \\{quote}")
    elif any(f"{delimiter} {quote}" in raw for raw in samples) and not file_format.skip_initial_space:
        yield suggestion("input.skip_initial_space", [True], "there are spaces between delimiters and quotes")
    elif all(raw.count(delimiter) == width - 1 for raw in samples):
        yield suggestion("input.quoting", ["none"], "if quotes are text in this file, each of these lines is a row")


def _of_ambiguous_quoting(
    _format: FileFormat, _samples: Sequence[str], count: int, _delimiter: str, _width: int
) -> Iterator[Suggestion]:
    yield suggestion("input.quoting", ["standard", "none"], f"{count} rows have line breaks in quotes, or are several")


def _of_undecodable(
    file_format: FileFormat, samples: Sequence[str], count: int, _delimiter: str, _width: int
) -> Iterator[Suggestion]:
    yield from other_encoding(file_format, "".join(samples).encode("utf-8", "surrogateescape"), f"{count} rows are")


def other_encoding(file_format: FileFormat, data: bytes, what: str) -> Iterator[Suggestion]:
    """Yield an encoding that reads the data, unless it is configured."""
    configured = {codecs.lookup(name).name for name in file_format.encodings}
    if codecs.lookup(_OTHER_ENCODING).name in configured:
        return
    try:
        text = data.decode(_OTHER_ENCODING)
    except UnicodeDecodeError:
        return
    letters = " ".join(sorted({each for each in text if not each.isascii()}))[:40]
    yield suggestion(
        "input.encodings",
        [[*file_format.encodings, _OTHER_ENCODING]],
        f"{what} not in {', '.join(file_format.encodings)}; as {_OTHER_ENCODING} they have {letters}: right?",
    )


_Suggest = Callable[[FileFormat, Sequence[str], int, str, int], Iterator[Suggestion]]
_OF_ROWS: Mapping[str, _Suggest] = {
    "too_few_cells": _of_short_rows,
    "too_many_cells": _of_long_rows,
    "bad_quoting": _of_quoting,
    "ambiguous_quoting": _of_ambiguous_quoting,
    "undecodable": _of_undecodable,
}
