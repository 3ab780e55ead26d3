"""The CSV engine beside other programs on one file: `python -m benchmarks.csv_peers`, a part of `make bench-csv`.

Each reads the file, finds the bad rows as well as it can (types, required cells, the pattern of one column), and writes
the good ones as compressed JSON Lines, in a process of its own. Frictionless only validates. The file has bad rows of
five kinds, and their number is known. `make peers` installs the other programs; a row of one that is not installed says
so. CPU seconds are those of all threads, and include no import.
"""

import argparse
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".build/peers/bin/python"
ROWS = 200_000
REPEATS = 3
EMAIL = r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+"


def duckdb(path: Path, out: Path) -> int:
    """Types by `store_rejects`, the rest in SQL."""
    connection = import_module("duckdb").connect()
    kinds = "{name: 'VARCHAR', email: 'VARCHAR', amount: 'DOUBLE', date: 'DATE', quantity: 'BIGINT'}"
    read = f"read_csv('{path}', header = true, columns = {kinds}, store_rejects = true, rejects_limit = 0)"
    good = f"name IS NOT NULL AND regexp_full_match(email, '{EMAIL}')"
    connection.execute(f"CREATE TABLE t AS SELECT * FROM {read}")  # noqa: S608  all of it stands here
    connection.execute(f"COPY (SELECT * FROM t WHERE {good}) TO '{out}' (FORMAT json, COMPRESSION gzip)")  # noqa: S608
    count = "(SELECT count(DISTINCT line) FROM reject_errors) + (SELECT count(*) FROM t WHERE NOT coalesce({}, false))"
    return int(connection.execute("SELECT " + count.format(good)).fetchone()[0])


def polars(path: Path, out: Path) -> int:
    """Casts that are not strict: a cell that becomes null is bad."""
    pl = import_module("polars")
    texts = pl.read_csv(path, infer_schema=False)
    typed = texts.with_columns(
        pl.col("amount").cast(pl.Float64, strict=False),
        pl.col("date").str.to_date("%Y-%m-%d", strict=False),
        pl.col("quantity").cast(pl.Int64, strict=False),
    )
    good = typed.filter(pl.all_horizontal(pl.all().is_not_null()) & pl.col("email").str.contains(f"^{EMAIL}$"))
    with gzip.open(out, "wb", compresslevel=1) as file:
        good.write_ndjson(file)
    return len(texts) - len(good)


def frictionless(path: Path, out: Path) -> int:  # noqa: ARG001  it writes nothing
    """Its validation with a schema."""
    module = import_module("frictionless")
    fields = [
        {"name": "name", "type": "string", "constraints": {"required": True}},
        {"name": "email", "type": "string", "constraints": {"required": True, "pattern": EMAIL}},
        {"name": "amount", "type": "number"},
        {"name": "date", "type": "date"},
        {"name": "quantity", "type": "integer"},
    ]
    schema = module.Schema.from_descriptor({"fields": fields})
    os.chdir(path.parent)  # it refuses absolute paths
    report = module.validate(path.name, schema=schema, limit_errors=10**9)
    return len({error["rowNumber"] for error in report.tasks[0].to_descriptor()["errors"]})


WAYS: Mapping[str, Callable[[Path, Path], int]] = {"duckdb": duckdb, "polars": polars, "frictionless": frictionless}


def _run_one(way: str, path: Path) -> None:
    import_module(way)  # its time is not the file's
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        bad = WAYS[way](path, Path(folder, "out.jsonl.gz"))
        seconds = time.process_time() - started
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"bad": bad, "seconds": seconds, "peak_mb": peak_mb}) + "\n")


def measure(way: str, path: Path) -> dict[str, Any] | None:
    """Return the bad rows found, CPU seconds and peak memory of a program; None if it is not installed."""
    if not PEERS_PYTHON.exists():
        return None
    # -P: benchmarks/csv.py must not hide the standard library's csv.
    command = [str(PEERS_PYTHON), "-P", str(Path(__file__)), "--way", way, "--file", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    if f"No module named '{way}'" in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"{way}: {done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def generate(path: Path, rows: int) -> dict[str, Any]:
    """Write the file. Return the expected results."""
    from benchmarks import csv  # noqa: PLC0415  the other programs' environment has not what it imports

    return csv.generate(path, rows)


def measure_engine(path: Path) -> dict[str, Any]:
    """Return the same of the engine."""
    from benchmarks import csv  # noqa: PLC0415  as above

    result = csv.measure("engine", path)
    return {**result, "bad": result["found"]["rows"] - result["found"]["processed"]}


def compare(folder: Path, rows: int = ROWS, repeats: int = REPEATS) -> list[str]:
    """Print the table: medians of `repeats` runs in turns. Return what is wrong with the engine's results."""
    path = folder / "compared.csv"
    bad = rows - generate(path, rows)["processed"]
    runs: dict[str, list[dict[str, Any] | None]] = {"engine": [], **{way: [] for way in WAYS}}
    for _ in range(repeats):
        for way, results in runs.items():
            results.append(measure_engine(path) if way == "engine" else measure(way, path))
    sys.stdout.write(f"{'':<15}{'rows':>10}{'rows / CPU s':>14}{'peak MB':>9}{'bad rows found':>16}{'of':>8}\n")
    for way, results in runs.items():
        done = [result for result in results if result]
        if not done:
            sys.stdout.write(f"{way:<15}  not installed: run make peers\n")
            continue
        seconds = statistics.median(result["seconds"] for result in done)
        peak_mb = statistics.median(result["peak_mb"] for result in done)
        found = done[0]["bad"]
        sys.stdout.write(f"{way:<15}{rows:>10}{rows / seconds:>14.0f}{peak_mb:>9.0f}{found:>16}{bad:>8}\n")
    wrong = {result["bad"] for result in runs["engine"] if result} - {bad}
    return [f"the engine found {found} bad rows, not {bad}" for found in wrong]


def main() -> int:
    """Print the table. Return 1 if the engine's result is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.way:
        _run_one(options.way, options.file)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        wrong = compare(Path(folder), options.rows, options.repeats)
    sys.stderr.writelines(f"wrong: {line}\n" for line in wrong)
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
