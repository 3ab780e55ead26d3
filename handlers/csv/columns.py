"""The configured columns and format of CSV files."""

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

# The cells of an output column, "" for null. None: the file lacks the column, so every cell is null.
Cells = Sequence[str] | None
EscapeStyle = Literal["literal", "mysql", "postgres"]

SCALE = 2


@dataclass(frozen=True)
class Column:
    """A configured column. `min` and `max` limit numbers, dates and the length of strings in characters."""

    name: str
    type: str = "string"
    """A key of handlers.csv.column_types.COLUMN_TYPES."""
    required: bool = False
    aliases: tuple[str, ...] = ()
    min: float | str | None = None
    max: float | str | None = None
    pattern: str | None = None
    choices: tuple[str, ...] = ()
    null_values: tuple[str, ...] | None = None
    """Replaces FileFormat.null_values."""
    format: tuple[str, ...] = ()
    """Formats of dates and times besides ISO 8601, as in datetime.strptime."""
    decimal: str | None = None
    group: str | None = None
    scale: int | None = None
    """Digits of a decimal after the point; None is `SCALE`."""
    strip: tuple[str, ...] = ()
    unique: bool = False
    """No two processed rows of a file have the same value."""
    true_values: tuple[str, ...] = ()
    false_values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Footer:
    """Lines at the end of a file that are not rows."""

    last_rows: int = 0
    """The number of these rows."""
    starts_with: tuple[str, ...] = ()
    """What they begin with."""


@dataclass(frozen=True)
class FileFormat:
    """Format of the files. The delimiter is detected by default."""

    columns: tuple[Column, ...]
    unknown_columns: Literal["keep", "drop", "reject"] = "drop"
    header: Literal["first", "find", "none"] = "first"
    """The first line; the first line with the names of all required columns; or none: columns by position."""
    skip_lines: int = 0
    """Lines before the header that are not read."""
    comment: str | None = None
    """What the lines begin with that are not rows."""
    footer: Footer = Footer()
    delimiter: str | None = None
    quote: str = '"'
    escape: str | None = None
    """The character that makes a quote, a delimiter, a line end or itself text."""
    escape_style: EscapeStyle = "literal"
    """What an escape before another character means: itself (`literal`), or what the database writes with it."""
    quoting: Literal["standard", "none"] | None = None
    """None: as `standard`, but a row of a tab-separated file that may be several rows is rejected."""
    skip_initial_space: bool = False
    """Spaces after a delimiter are not part of the cell."""
    encodings: tuple[str, ...] = ("utf-8",)
    """Tried in this order for the whole file, unless it has a byte order mark. If none fits, the first is used."""
    line_ending: Literal["header", "any"] = "header"
    """What ends a row: that which ends the header line, so that a lone CR is text; or any of CR, LF and CR LF."""
    short_rows: Literal["reject", "pad"] = "reject"
    long_rows: Literal["reject", "drop_empty_cells"] = "reject"
    empty_rows: Literal["skip", "reject"] = "skip"
    null_values: tuple[str, ...] = ()
    """Cells that are null, besides empty ones."""
    max_expansion: int = 250
    """Largest ratio of a gzip file's content to its compressed size."""
    numbers: Literal["text", "double"] = "text"
    """How the output stores numbers: with all digits, or as doubles, which cannot hold every number exactly."""
    provenance: bool = False
    """Processed rows have the columns of handlers/csv/provenance.py."""

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the format in the JSON written by components/options/csv.py."""
        values = json.loads(text)
        columns = tuple(Column(**_with_tuples(column)) for column in values.pop("columns"))
        footer = Footer(**_with_tuples(values.pop("footer", None) or {}))
        return cls(columns=columns, footer=footer, **_with_tuples(values))


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


@dataclass(frozen=True)
class Problem:
    """Why a row is rejected: a `reason` code to count by and a readable `message`. `column` None: the whole row."""

    column: str | None
    reason: str
    message: str
    cell: str | None = None
    """The cell as written, if it is to blame."""


# Signs that tell two columns apart: `Amount (€)` and `Amount ($)`.
_SIGNS = str.maketrans({"%": " pct ", "#": " nr ", "€": " eur ", "$": " usd "})


def normalised(name: str) -> str:
    """Return a header's name trimmed, in NFC and in snake case: ` orderDate ` becomes `order_date`.

    Signs of units keep their meaning: `Share (%)` becomes `share_pct`.
    """
    composed = unicodedata.normalize("NFC", name).translate(_SIGNS).strip()
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", composed)
    return re.sub(r"[^\w]+", "_", spaced).strip("_").lower()
