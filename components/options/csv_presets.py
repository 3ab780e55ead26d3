"""Formats that programs write, as defaults of `input` and of its columns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Preset = Literal["postgres", "mysql", "excel-de", "excel-us", "rfc4180"]
EscapeStyle = Literal["literal", "mysql", "postgres"]


@dataclass(frozen=True)
class _Defaults:
    """Values of a preset, used where the configuration is silent."""

    input: Mapping[str, Any]
    columns: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options of columns by type."""


_TEXT_DUMP = {"delimiter": "\t", "quoting": "none", "escape": "\\", "header": "none"}
_EXCEL_ENCODINGS = ["utf-8", "windows-1252"]
# Excel stores a date as a time of midnight. Libraries that read workbooks write it as such.
_MIDNIGHT = "%Y-%m-%d %H:%M:%S"
_DAY = "%Y-%m-%d"
_US_TIMES = ("%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y %I:%M %p", "%m/%d/%Y %I:%M:%S %p")

_PRESETS: Mapping[str, _Defaults] = {
    # https://www.postgresql.org/docs/current/sql-copy.html, "Text Format". Old versions end the data with `\.`.
    "postgres": _Defaults({**_TEXT_DUMP, "footer": {"starts_with": ["\\."]}}),
    # https://dev.mysql.com/doc/refman/8.4/en/load-data.html, "Field and Line Handling"
    "mysql": _Defaults(_TEXT_DUMP),
    "excel-de": _Defaults(
        {"delimiter": ";", "encodings": _EXCEL_ENCODINGS},
        {
            **{key: {"decimal": ",", "group": "."} for key in ("number", "integer", "decimal")},
            "boolean": {"true_values": ["WAHR"], "false_values": ["FALSCH"]},
            "date": {"format": ["%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", _MIDNIGHT]},
            "datetime": {"format": ["%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y", _DAY]},
        },
    ),
    "excel-us": _Defaults(
        {"delimiter": ",", "encodings": _EXCEL_ENCODINGS},
        {
            **{key: {"group": ","} for key in ("number", "integer", "decimal")},
            "date": {"format": ["%m/%d/%Y", *_US_TIMES, _MIDNIGHT]},
            "datetime": {"format": [*_US_TIMES, "%m/%d/%Y", _DAY]},
        },
    ),
    # pandas writes a column of times as dates if all are midnight.
    "rfc4180": _Defaults({"delimiter": ",", "quoting": "standard"}, {"datetime": {"format": [_DAY]}}),
}


def with_preset(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys given for `input` with the defaults of their preset."""
    preset = _PRESETS.get(str(given.get("preset")))
    if preset is None:
        return dict(given)
    defaults = {key: value for key, value in preset.input.items() if key != "encodings" or "encoding" not in given}
    merged = {**defaults, **given}
    if isinstance(columns := given.get("columns"), (list, tuple)):
        merged["columns"] = [
            {**preset.columns.get(str(column.get("type", "string")), {}), **column}
            if isinstance(column, Mapping)
            else column
            for column in columns
        ]
    return merged


def escape_style(preset: str | None) -> EscapeStyle:
    """Return what an escape before a letter means."""
    return "mysql" if preset == "mysql" else "postgres" if preset == "postgres" else "literal"
