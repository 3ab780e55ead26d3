"""Spellings of values that programs write, and the options of a column that read them."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import chain, product
from typing import Any

from handlers.csv.column_types import check_of
from handlers.csv.columns import Column

NULL_WORDS = frozenset(
    ("NA", "N/A", "n/a", "na", "#N/A", "NULL", "Null", "null", "(null)", "\\N", "None", "nil", "NaN", "nan")
) | {"-", "--", "?", "."}
_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y-%m-%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%m-%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
_TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")
DATE_FORMATS = _DATES
DATETIME_FORMATS = (*map("{0[0]} {0[1]}".format, product(_DATES, _TIMES)), "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S", *_DATES)
_FIELDS = {
    **dict.fromkeys("dmHI", r"\d{1,2}"),
    **dict.fromkeys("yMS", r"\d{2}"),
    "Y": r"\d{4}",
    "f": r"\d{1,6}",
    "p": "[AaPp][Mm]",
    "b": "[A-Za-z]{3}",
    "B": "[A-Za-z]{3,9}",
}
_TRUE = frozenset(
    ("wahr", "ja", "vrai", "oui", "vero", "sì", "si", "sí", "verdadero", "sim", "verdadeiro", "tak", "on")
)
_FALSE = frozenset(("falsch", "nein", "faux", "non", "falso", "não", "nie", "off"))
# Decimal separator and separator of groups. None: the default.
_SEPARATORS = ((None, None), (",", None), (None, ","), (",", "."), (",", " "), (None, " "), (None, "'"), (",", "'"))
_UNIT_CHARACTERS = 5

_prefix = re.compile(r"[^\d.,+()\-]*").match
# A minus sign after the digits is a sign.
_suffix = re.compile(r"[^\d.,+()\-]*\Z").search


def options_of(kind: str, cells: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """Yield options of a column of a type that may read the cells, the most usual first."""
    match kind:
        case "number" | "integer" | "decimal":
            strip = _units(cells)
            for decimal, group in _SEPARATORS:
                options = {"decimal": decimal, "group": group, "strip": strip}
                # Without any of them, `(12.50)` is not a number.
                yield {key: value for key, value in options.items() if value} or {"decimal": "."}
        case "date" | "datetime":
            first = next(iter(cells), "")
            formats = DATETIME_FORMATS if kind == "datetime" else (*DATE_FORMATS, *DATETIME_FORMATS)
            yield from ({"format": (each,)} for each in dict.fromkeys(formats) if _shape(each).fullmatch(first))
        case "boolean":
            yield {
                key: values
                for key, words in (("true_values", _TRUE), ("false_values", _FALSE))
                if (values := tuple(sorted(cell for cell in cells if cell.lower() in words)))
            }


def reading_options(column: Column, cells: Sequence[str], numbers: Any = "text") -> list[Mapping[str, Any]]:
    """Return the options with which the column reads all the cells. Several: they read them differently."""
    found: list[tuple[tuple[str, ...], Mapping[str, Any]]] = []
    for options in options_of(column.type, cells):
        if not options:
            continue
        reading = check_of(replace(column, null_values=(), **options), numbers).read(cells)
        if reading.problems:
            continue
        values = tuple(reading.changed.get(position, cell) for position, cell in enumerate(cells))
        if values not in (before for before, _ in found):
            found.append((values, options))
    return [options for _, options in found]


def _units(cells: Collection[str]) -> tuple[str, ...]:
    """Return the sign or unit around numbers, and a space if there is one; nothing if they have several units."""
    around = [part for cell in cells for part in _around(cell)]
    units = {part.strip() for part in around} - {""}
    if len(units) > 1 or any(len(unit) > _UNIT_CHARACTERS for unit in units):
        return ()
    spaces = set(chain.from_iterable(around)) & {" ", "\xa0"}
    return (*units, *sorted(spaces))


def _around(cell: str) -> tuple[str, str]:
    inner = cell.removeprefix("(").removesuffix(")")
    prefix, suffix = _prefix(inner), _suffix(inner)
    return (prefix[0] if prefix else "", suffix[0] if suffix else "")


@cache
def _shape(form: str) -> re.Pattern[str]:
    """Return a pattern of the texts that a format may read. datetime.strptime compiles one at almost every call."""
    parts = re.split("%(.)", form)
    return re.compile("".join(_FIELDS[part] if number % 2 else re.escape(part) for number, part in enumerate(parts)))
