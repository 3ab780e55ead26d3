"""One table of all column types, and what other programs make of it: `python tests/handlers/csv/peers.py FOLDER`.

It writes one file for each program that is installed, and prints their names. The files are committed beside the tests
(`written/`), so that the tests need none of the programs; `make peers` installs those that are Python packages. Only
the standard library is imported outside the functions.
"""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

COLUMNS: Mapping[str, str] = {
    "id": "integer",
    "name": "string",
    "note": "string",
    "price": "number",
    "total": "number",
    "active": "boolean",
    "day": "date",
    "at": "datetime",
}
NOON = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)
QUARTER = datetime(1969, 7, 20, 20, 17, 40, 250_000, tzinfo=UTC)
MIDNIGHT = datetime(2024, 2, 29, tzinfo=UTC)
TABLE: Sequence[Sequence[Any]] = [
    [1, "Café", 'say "hi", then; C:\\new\tx', 1234.5, Decimal("0.10"), True, date(2024, 1, 31), NOON],
    [2, "two\nlines", None, -0.001, Decimal("-12345678901234567890.12"), False, None, QUARTER],
    [None, "00501", "\\N", None, None, None, date(1999, 12, 1), None],
    [2**53, " padded ", "NULL", 1e300, Decimal("12345.67"), True, date(2024, 2, 29), MIDNIGHT],
    [-7, "日本語 😀 \x85\u2028", "a\r\nb\rc", 2.5e-7, Decimal("-0.01"), False, date(1900, 3, 1), NOON],
    [0, "#1", "=1+1", -0.0, Decimal("0.00"), None, None, None],
    [42, '"', "\\", 100.0, Decimal("1.00"), True, date(2000, 1, 1), NOON],
]


def write_pandas(folder: Path) -> None:
    """DataFrame.to_csv, with its index."""
    pd = import_module("pandas")

    kinds = {"id": "Int64", "name": "string", "note": "string", "price": "Float64", "active": "boolean"}
    frame = pd.DataFrame([dict(zip(COLUMNS, row, strict=True)) for row in TABLE]).astype(kinds)
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    frame.to_csv(folder / "pandas.csv")


def write_polars(folder: Path) -> None:
    """DataFrame.write_csv."""
    pl = import_module("polars")

    numbers = {"id": pl.Int64, "price": pl.Float64, "total": pl.Decimal(38, 2)}
    others = {
        "name": pl.String,
        "note": pl.String,
        "active": pl.Boolean,
        "day": pl.Date,
        "at": pl.Datetime("us", "UTC"),
    }
    kinds = {name: (numbers | others)[name] for name in COLUMNS}
    pl.DataFrame(TABLE, schema=kinds, orient="row").write_csv(folder / "polars.csv")


def write_duckdb(folder: Path) -> None:
    """COPY table TO file."""
    duckdb = import_module("duckdb")

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(
        "CREATE TABLE t (id BIGINT, name TEXT, note TEXT, price DOUBLE, total DECIMAL(38, 2), active BOOLEAN, "
        'day DATE, "at" TIMESTAMPTZ)'
    )
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?, ?, ?, ?, ?)", TABLE)
    connection.execute(f"COPY t TO '{folder / 'duckdb.csv'}'")


def write_excel(folder: Path) -> None:
    """A workbook, read by openpyxl and written with csv.writer. Excel has neither offsets nor more than doubles."""
    openpyxl = import_module("openpyxl")

    book = openpyxl.Workbook()
    for row in (list(COLUMNS), *TABLE):
        plain = [cell.replace(tzinfo=None) if isinstance(cell, datetime) else cell for cell in row]
        book.active.append([float(cell) if isinstance(cell, Decimal) else cell for cell in plain])
        for cell in book.active[book.active.max_row]:
            if cell.data_type == "f":  # a text that looks like a formula
                cell.data_type = "s"
    with tempfile.TemporaryDirectory() as other, (folder / "openpyxl.csv").open("w", newline="") as file:
        path = Path(other, "book.xlsx")
        book.save(path)
        csv.writer(file).writerows(openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True))


def write_postgres(folder: Path) -> None:
    """COPY table TO, in its format `text` and in `csv`, by a server of its own without a network."""
    create = (
        "CREATE TABLE t (id bigint, name text, note text, price double precision, total numeric, active boolean, "
        'day date, "at" timestamptz)'
    )
    rows = ", ".join(f"({', '.join(map(_literal, row))})" for row in TABLE)
    statements = ["SET timezone = 'UTC'", create, f"INSERT INTO t VALUES {rows}"]  # noqa: S608  our own
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as data:
        # The server refuses to run as root.
        user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        Path(data).chmod(0o777)
        cluster = f"{data}/cluster"
        _run([*user, "initdb", "-D", cluster, "-E", "UTF8", "--locale=C.UTF-8", "-U", "postgres", "-A", "trust"])
        options = f"-c listen_addresses='' -c unix_socket_directories={data}"
        _run([*user, "pg_ctl", "-D", cluster, "-o", options, "-l", f"{data}/log", "-w", "start"])
        try:
            psql = [*user, "psql", "-h", data, "-U", "postgres", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
            _run(psql, ";\n".join([*statements, ""]))
            for name, options in (("postgres.txt", ""), ("postgres.csv", "WITH (FORMAT csv, HEADER)")):
                (folder / name).write_bytes(_run(psql, f"SET timezone = 'UTC'; COPY t TO STDOUT {options};\n"))
        finally:
            _run([*user, "pg_ctl", "-D", cluster, "-m", "immediate", "stop"])


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return f"'{value}'"


def _run(command: Sequence[str], text: str = "") -> bytes:
    # A server that goes on must not hold a pipe of ours.
    with tempfile.TemporaryFile() as out:
        done = subprocess.run(command, input=text.encode(), stdout=out, stderr=out, check=False)
        out.seek(0)
        said = out.read()
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said.decode()}")
    return said


# The files of each program.
PEERS: Mapping[str, tuple[Callable[[Path], None], Sequence[str]]] = {
    "pandas": (write_pandas, ["pandas.csv"]),
    "polars": (write_polars, ["polars.csv"]),
    "duckdb": (write_duckdb, ["duckdb.csv"]),
    "openpyxl": (write_excel, ["openpyxl.csv"]),
    "postgres": (write_postgres, ["postgres.txt", "postgres.csv"]),
}


def main(folder: Path) -> None:
    """Write the files of the programs that are installed."""
    for name, (write, files) in PEERS.items():
        if name == "postgres" and not shutil.which("initdb"):
            continue
        try:
            write(folder)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            continue
        sys.stdout.write("".join(f"{file}\n" for file in files))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
