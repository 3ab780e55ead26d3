"""The column types. An entry here is all that the engine and its outputs need to know of a type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from handlers.csv import parquet_types
from handlers.csv.checks import BooleanCheck, Check, DateCheck, DatetimeCheck, MicrosecondCheck, string_check
from handlers.csv.columns import SCALE, Column
from handlers.csv.number_checks import PRECISION, DecimalCheck, DoubleCheck, IntegerCheck, NumericCheck
from handlers.csv.parquet_types import ParquetType
from handlers.csv.statistics import StatisticsKind
from handlers.csv.translations import TranslatingCheck, needs_translation


@dataclass(frozen=True, kw_only=True)
class ColumnType:
    """Check, output format and statistics of a column type."""

    check: Callable[[Column], Check]
    quoted: bool
    """JSON Lines hold a JSON string. Otherwise, the text that the check returns must be a JSON literal."""
    parquet: Callable[[Column], ParquetType]
    statistics: StatisticsKind
    double_check: Callable[[Column], Check] | None = None
    """Replaces `check` if the output stores numbers as doubles, and times as microseconds (`FileFormat.numbers`)."""


# Each type needs a cell in CELLS of tests/handlers/csv/test_column_types.py.
COLUMN_TYPES: Mapping[str, ColumnType] = {
    "string": ColumnType(
        check=string_check,
        quoted=True,
        parquet=lambda _: parquet_types.STRING,
        statistics="distinct",
    ),
    "integer": ColumnType(
        check=IntegerCheck,
        quoted=False,
        parquet=lambda _: parquet_types.INT64,
        statistics="integers",
    ),
    "number": ColumnType(
        check=NumericCheck,
        double_check=DoubleCheck,
        quoted=False,
        parquet=lambda _: parquet_types.DOUBLE,
        statistics="numbers",
    ),
    "decimal": ColumnType(
        check=DecimalCheck,
        quoted=False,
        parquet=lambda column: parquet_types.decimal(SCALE if column.scale is None else column.scale, PRECISION),
        statistics="numbers",
    ),
    "boolean": ColumnType(
        check=BooleanCheck,
        quoted=False,
        parquet=lambda _: parquet_types.BOOLEAN,
        statistics="counts",
    ),
    "date": ColumnType(
        check=DateCheck,
        quoted=True,
        parquet=lambda _: parquet_types.DATE,
        statistics="range",
    ),
    "datetime": ColumnType(
        check=DatetimeCheck,
        double_check=MicrosecondCheck,
        quoted=True,
        parquet=lambda _: parquet_types.TIMESTAMP,
        statistics="times",
    ),
}


def check_of(column: Column, numbers: Literal["text", "double"] = "text", null_values: tuple[str, ...] = ()) -> Check:
    """Return the check of a column; `numbers` and `null_values` as in FileFormat."""
    nulls = null_values if column.null_values is None else column.null_values
    check = _check_of(column, numbers)
    return TranslatingCheck(column, check, nulls) if needs_translation(column, nulls) else check


def _check_of(column: Column, numbers: Literal["text", "double"]) -> Check:
    column_type = COLUMN_TYPES[column.type]
    if numbers == "double" and column_type.double_check is not None:
        return column_type.double_check(column)
    return column_type.check(column)
