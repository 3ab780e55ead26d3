"""The columns of the `csv` variant."""

import re
import unicodedata
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from components.options.common import Options

# handlers/csv/columns.py normalises headers the same way; tests/test_contract.py holds the two together.
_SIGNS = str.maketrans({"%": " pct ", "#": " nr ", "€": " eur ", "$": " usd "})


def normalised(name: str) -> str:
    """Return a column's name trimmed, in NFC and in snake case, with the signs of units as words."""
    composed = unicodedata.normalize("NFC", name).translate(_SIGNS).strip()
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", composed)
    return re.sub(r"[^\w]+", "_", spaced).strip("_").lower()


class ColumnOptions(Options):
    """One column of the files. An empty cell is null."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,99}$")]
    """Name in snake case. Headers are converted: `Order Date`, `orderDate` and `order_date` are all `order_date`."""
    type: Literal["string", "integer", "number", "decimal", "boolean", "date", "datetime"] = "string"
    """Type of the cells."""
    required: bool = False
    """The header must contain the column, and none of its cells may be empty."""
    unique: bool = False
    """No two rows of a file share a value: a row with the value of an earlier one is rejected. Nulls are no values."""
    aliases: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Other names of the column in headers."""
    min: float | str | None = None
    """Smallest number, earliest date or time, or shortest string."""
    max: float | str | None = None
    """Largest number, latest date or time, or longest string."""
    pattern: str | None = None
    """Python regular expression that must match the whole string."""
    choices: tuple[str, ...] = ()
    """Allowed strings. Default: all."""
    null_values: tuple[str, ...] | None = None
    """Cells that are null, besides empty ones. Default: `input.null_values`."""
    scale: Annotated[int, Field(ge=0, le=18)] | None = None
    """Digits of decimals after the point; one with more is rejected. 18 digits in all. Default: 2."""
    format: tuple[Annotated[str, Field(pattern="%")], ...] = ()
    """Formats of dates and times as in Python's `strptime`, such as `%d.%m.%Y`. ISO 8601 is always read."""
    decimal: Literal[".", ","] | None = None
    """Decimal separator of numbers. Default: a point."""
    group: Literal[".", ",", " ", "'", "_"] | None = None
    """Separator between groups of three digits. Default: none."""
    strip: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Texts removed at both ends of a number, such as `€`, `%` or a space. `(12.50)` is then -12.50."""
    true_values: tuple[str, ...] = ()
    """Cells of booleans that are true, besides true, yes, t, y and 1."""
    false_values: tuple[str, ...] = ()
    """Cells of booleans that are false, besides false, no, f, n and 0."""

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"is not a regular expression: {error}") from error
        return value

    @field_validator("format", "null_values", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _spellings_fit_the_type(self) -> Self:
        types = {
            "format": ("date", "datetime"),
            **dict.fromkeys(("decimal", "group", "strip"), ("number", "integer", "decimal")),
            "scale": ("decimal",),
            **dict.fromkeys(("true_values", "false_values"), ("boolean",)),
        }
        for key, allowed in types.items():
            if getattr(self, key) not in (None, ()) and self.type not in allowed:
                raise ValueError(
                    f"column {self.name!r}: {key} goes with type {' or '.join(allowed)}, not {self.type!r}"
                )
        if self.group and self.group == (self.decimal or "."):
            raise ValueError(f"column {self.name!r}: decimal and group are both {self.group!r}; set the other one, too")
        if both := sorted({*self.true_values} & {*self.false_values}):
            raise ValueError(f"column {self.name!r}: {both[0]!r} is in true_values and in false_values; remove one")
        return self

    @model_validator(mode="after")
    def _conditions_fit_the_type(self) -> Self:
        if (self.pattern is not None or self.choices) and self.type != "string":
            raise ValueError(f"column {self.name!r}: pattern and choices go with type 'string', not {self.type!r}")
        if self.type == "boolean" and (self.min is not None or self.max is not None):
            raise ValueError(f"column {self.name!r}: min and max do not go with type 'boolean'")
        for key, limit in (("min", self.min), ("max", self.max)):
            if limit is not None and not self._is_limit(limit):
                example = {"date": "'2024-01-31'", "datetime": "'2024-01-31T12:30:00Z'"}.get(self.type, "a number")
                raise ValueError(f"column {self.name!r}: {key} {limit!r} must be {example} with type {self.type!r}")
        return self

    def _is_limit(self, limit: float | str) -> bool:
        if self.type not in ("date", "datetime"):
            return not isinstance(limit, str)
        if not isinstance(limit, str):
            return False
        try:
            if self.type == "date":
                return date.fromisoformat(limit).isoformat() == limit
            datetime.fromisoformat(limit)
        except ValueError:
            return False
        return True
