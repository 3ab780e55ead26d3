"""The CSV engine beside other programs on one file. A part of `make bench`.

Each reads the file, finds the bad rows as well as it can (types, required cells, the pattern of one column), and writes
the good ones as compressed JSON Lines, in a process of its own. Frictionless only validates. The file has bad rows of
five kinds, and their number is known. `make peers` installs the other programs; one that is not installed
has no row. CPU seconds are those of all threads, and include no import.
"""

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.figures import Rows, Size

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".build/peers/bin/python"
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
    # Not by getrusage, which counts the parent process at the fork, too.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    peak_mb = int(line.split()[1]) / 1_024
    sys.stdout.write(json.dumps({"bad": bad, "seconds": seconds, "peak_mb": peak_mb}) + "\n")


def run(way: str, path: Path) -> dict[str, Any] | None:
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


def run_engine(path: Path) -> dict[str, Any]:
    """Return the same of the engine."""
    from benchmarks import csv  # noqa: PLC0415  as above

    result = csv.run("engine", path)
    return {**result, "bad": result["found"]["rows"] - result["found"]["processed"]}


def measure(size: "Size") -> "Rows":
    """Return each program's speed, memory and bad rows, and the engine's speed as a ratio to it.

    Raises RuntimeError when the engine does not find every bad row.
    """
    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "compared.csv")
        bad = size.compared_rows - generate(path, size.compared_rows)["processed"]
        for _ in range(size.rounds):
            engine = run_engine(path)
            if engine["bad"] != bad:
                raise RuntimeError(f"the engine found {engine['bad']} bad rows, not {bad}")
            for name, result in (("engine", engine), *((way, run(way, path)) for way in WAYS)):
                if result is not None:
                    rows[name]["rows_per_s"].append(size.compared_rows / result["seconds"])
                    rows[name]["peak_mb"].append(result["peak_mb"])
                    rows[name]["bad_found"].append(result["bad"])
                    rows[name]["bad"].append(bad)
                    rows[name]["ratio_engine"].append(result["seconds"] / engine["seconds"])
    return rows


def main() -> None:
    """Run one program on one file and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    _run_one(options.way, options.file)


if __name__ == "__main__":
    main()
