"""`pipeline csv schema`: how a reader reads a stack's processed rows with the types of their columns.

JSON has no dates, and a column that is null throughout a file has no type there. A schema gives every file the same.
"""

import json
from collections.abc import Callable, Mapping
from typing import Literal

from cli.core.stack import Stack
from cli.core.terminal import inert, write_lines
from components.options.csv import CsvPipelineConfig
from handlers.csv.columns import SCALE
from handlers.csv.provenance import COLUMNS as PROVENANCE
from local.errors import LocalError

Reader = Literal["athena", "duckdb", "spark", "pyarrow", "polars"]


def _types(*names: str) -> Mapping[str, str]:
    """Return a reader's names of the column types, with `{scale}` in that of decimals."""
    return dict(zip(("string", "integer", "number", "decimal", "boolean", "date", "datetime"), names, strict=True))


TYPES: Mapping[Reader, Mapping[str, str]] = {
    "athena": _types("string", "bigint", "double", "decimal(18,{scale})", "boolean", "date", "timestamp"),
    "duckdb": _types("VARCHAR", "BIGINT", "DOUBLE", "DECIMAL(18,{scale})", "BOOLEAN", "DATE", "TIMESTAMPTZ"),
    "spark": _types("STRING", "BIGINT", "DOUBLE", "DECIMAL(18,{scale})", "BOOLEAN", "DATE", "TIMESTAMP"),
    "pyarrow": _types(
        "pa.string()",
        "pa.int64()",
        "pa.float64()",
        "pa.decimal128(18, {scale})",
        "pa.bool_()",
        "pa.date32()",
        'pa.timestamp("us", "UTC")',
    ),
    "polars": _types(
        "pl.String",
        "pl.Int64",
        "pl.Float64",
        "pl.Decimal(18, {scale})",
        "pl.Boolean",
        "pl.Date",
        'pl.Datetime("us", "UTC")',
    ),
}


def run_csv_schema(stack: str, reader: str, location: str) -> int:
    """Print the text that reads the processed rows of a stack below a location."""
    known = next((each for each in TYPES if each == reader), None)
    if known is None:
        raise LocalError(f"--for {inert(reader)}: choose one of {', '.join(TYPES)}")
    config = Stack(stack).config_as(CsvPipelineConfig)
    scales = {column.name: column.scale for column in config.input.columns if column.scale is not None}
    write_lines(schema(known, columns_of(config), config.output.format, location.rstrip("/"), scales))
    if config.input.unknown_columns == "keep":
        comment = "--" if reader in ("athena", "duckdb") else "#"
        write_lines(
            [f"{comment} Unknown columns that files have are kept as strings. Add those that you want to read."]
        )
    return 0


def columns_of(config: CsvPipelineConfig) -> Mapping[str, str]:
    """Return the types of the columns of processed rows, by name."""
    columns: dict[str, str] = {column.name: column.type for column in config.input.columns}
    return columns | ({column.name: column.type for column in PROVENANCE} if config.output.provenance else {})


def schema(
    reader: Reader,
    columns: Mapping[str, str],
    output_format: str,
    location: str,
    scales: Mapping[str, int] | None = None,
) -> list[str]:
    """Return the lines for a reader. `columns`: types by name. `location`: a folder or a prefix, without a slash.

    `scales`: of decimals with another scale than `SCALE`.
    """
    types = {name: TYPES[reader][kind].format(scale=(scales or {}).get(name, SCALE)) for name, kind in columns.items()}
    return _READERS[reader](types, output_format, location)


def _athena(types: Mapping[str, str], output_format: str, location: str) -> list[str]:
    is_parquet = output_format == "parquet"
    # The JSON SerDe reads no ISO 8601: from_iso8601_timestamp does.
    shown = {name: "string" if kind == "timestamp" and not is_parquet else kind for name, kind in types.items()}
    columns = [f"  `{name.replace('`', '``')}` {kind}" for name, kind in shown.items()]
    stored = "STORED AS PARQUET" if is_parquet else "ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'"
    return [
        "CREATE EXTERNAL TABLE processed (",
        *(f"{line}," for line in columns[:-1]),
        columns[-1],
        f") {stored}",
        f"LOCATION {_text_of_sql(location + '/')};",
        *(
            f'-- A time: from_iso8601_timestamp("{name}")'
            for name, kind in types.items()
            if kind == "timestamp" and not is_parquet
        ),
    ]


def _duckdb(types: Mapping[str, str], output_format: str, location: str) -> list[str]:
    # Without hive_partitioning = false a name like `date=x.csv` in a key of a former release would become a column.
    files = _text_of_sql(f"{location}/**/*.{output_format}")
    if output_format == "parquet":
        read = f"read_parquet({files}, union_by_name = true, hive_partitioning = false)"
        return [f"SELECT * FROM {read};"]  # noqa: S608  printed, not run
    columns = ", ".join(f"{_text_of_sql(name)}: '{kind}'" for name, kind in types.items())
    options = "format = 'newline_delimited', hive_partitioning = false"
    return [f"SELECT * FROM read_json({files}, {options},", f"  columns = {{{columns}}});"]  # noqa: S608  as above


def _spark(types: Mapping[str, str], output_format: str, location: str) -> list[str]:
    columns = ", ".join(f"`{name.replace('`', '``')}` {kind}" for name, kind in types.items())
    reading = "parquet" if output_format == "parquet" else "json"
    return [
        f"schema = {json.dumps(columns, ensure_ascii=False)}",
        'reader = spark.read.schema(schema).option("recursiveFileLookup", "true")',
        f"frame = reader.{reading}({json.dumps(location)})",
    ]


def _pyarrow(types: Mapping[str, str], output_format: str, location: str) -> list[str]:
    lines = [
        "import pyarrow as pa",
        "import pyarrow.dataset as ds",
        *(["import pyarrow.json as pj"] if output_format != "parquet" else []),
        "",
        "schema = pa.schema({",
        *(f"    {json.dumps(name, ensure_ascii=False)}: {kind}," for name, kind in types.items()),
        "})",
    ]
    if output_format == "parquet":
        return [*lines, f'table = ds.dataset({json.dumps(location)}, schema, "parquet").to_table()']
    return [
        *lines,
        "# Dates and times are strings in JSON, and are cast.",
        "texts = pa.schema([field.with_type(pa.string()) if pa.types.is_temporal(field.type) else field",
        "                   for field in schema])",
        'options = pj.ParseOptions(explicit_schema=texts, unexpected_field_behavior="ignore")',
        "lines = ds.JsonFileFormat(parse_options=options)",
        f"table = ds.dataset({json.dumps(location)}, texts, lines).to_table().cast(schema)",
    ]


def _polars(types: Mapping[str, str], output_format: str, location: str) -> list[str]:
    files = json.dumps(f"{location}/**/*.{output_format}")
    lines = [
        "import polars as pl",
        "",
        "schema = {",
        *(f"    {json.dumps(name, ensure_ascii=False)}: {kind}," for name, kind in types.items()),
        "}",
    ]
    if output_format == "parquet":
        return [*lines, f"frame = pl.scan_parquet({files}, schema=schema, hive_partitioning=False).collect()"]
    if not any(kind.startswith("pl.Decimal") for kind in types.values()):
        return [*lines, f"frame = pl.scan_ndjson({files}, schema=schema).collect()"]
    return [
        *lines,
        "# Polars reads the numbers of JSON as doubles, of 15 digits; with Parquet decimals keep them all.",
        "doubles = {name: pl.Float64 if kind == pl.Decimal else kind for name, kind in schema.items()}",
        f"frame = pl.scan_ndjson({files}, schema=doubles).cast(schema).collect()",
    ]


def _text_of_sql(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_READERS: Mapping[Reader, Callable[[Mapping[str, str], str, str], list[str]]] = {
    "athena": _athena,
    "duckdb": _duckdb,
    "spark": _spark,
    "pyarrow": _pyarrow,
    "polars": _polars,
}
