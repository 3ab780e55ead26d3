"""Rows per CPU second, memory and exactness of the CSV engine: `make bench-csv`.

Files with a known truth are generated, then read by two processes of their own: the engine as the worker runs it (isal
for the output, streaming), and the baseline: the usual way, csv.DictReader over the whole file, the same conditions
checked with float, int, strptime and re, the same statistics from lists and sets, and json.dumps(indent=2) of whole
lists. The engine compresses what it writes besides; the baseline does not. Counts and sums that differ from the truth, or more memory or less speed than promised, end it with exit code 1.
"""

import argparse
import csv
import io
import json
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

LARGEST_PEAK_MB = 100
SMALLEST_RATIO = 5
BAD_SHARE = 0.03
BASELINE_ROWS = 1_000_000


def generate(path: Path, rows: int, seed: int = 1) -> dict[str, Any]:
    """Writes a file of about 60 bytes a row; returns the truth about it."""
    chance = random.Random(seed)  # noqa: S311  data, not secrets
    processed = cents = quantities = 0
    with path.open("w", newline="") as file:
        file.write("name,email,amount,date,quantity\r\n")
        for number in range(rows):
            name, email = f"Customer {chance.randrange(10**6):06}", f"user{chance.randrange(10**6):06}@example.com"
            amount, quantity = chance.randrange(10**5), chance.randint(1, 100)
            cells = [
                name,
                email,
                f"{amount // 100}.{amount % 100:02}",
                f"2024-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}",
                str(quantity),
            ]
            if chance.random() < BAD_SHARE:
                column, value = ((1, "nobody"), (2, "1_000"), (3, "2024-02-30"), (4, "many"), (0, ""))[number % 5]
                cells[column] = value
            else:
                processed, cents, quantities = processed + 1, cents + amount, quantities + quantity
            file.write(",".join(cells) + "\r\n")
    return {"rows": rows, "processed": processed, "amount": cents / 100, "quantity": quantities}


def engine(path: Path) -> dict[str, Any]:
    """What the worker does with a file, but for S3."""
    from isal import igzip  # noqa: PLC0415  each process measures its own imports

    from handlers.csv.columns import FileFormat  # noqa: PLC0415
    from handlers.csv.content import Content  # noqa: PLC0415
    from handlers.csv.engine import CsvEngine, blocks  # noqa: PLC0415

    file_format = FileFormat.from_json(_columns())
    reader = CsvEngine(file_format)
    with path.open("rb") as file:
        for block in blocks(reader, Content(file.read, file_format.max_expansion).read):
            igzip.compress(block.processed, 1, mtime=0)
            igzip.compress(block.rejected, 1, mtime=0)
    report = reader.report()
    columns = report["columns"]
    return {
        "rows": report["rows"],
        "processed": report["processed"],
        "amount": columns["amount"]["sum"],
        "quantity": columns["quantity"]["sum"],
    }


def baseline(path: Path) -> dict[str, Any]:
    """The usual way. (It takes `1_000` for a number: its count differs from the truth.)"""
    is_email = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+").fullmatch
    good, bad = [], []
    for number, row in enumerate(csv.DictReader(io.StringIO(path.read_bytes().decode())), 1):
        try:
            if not row["name"]:
                raise ValueError("name is empty")
            if not is_email(row["email"]):
                raise ValueError("email is none")
            datetime.strptime(row["date"], "%Y-%m-%d")  # noqa: DTZ007
            good.append({**row, "amount": float(row["amount"]), "quantity": int(row["quantity"])})
        except ValueError as error:
            bad.append({"row": number, "error": str(error), "data": row})
    statistics: dict[str, Any] = {
        column: {"count": sum(bool(row[column]) for row in good), "distinct": len({row[column] for row in good})}
        for column in ("name", "email")
    }
    for column in ("amount", "quantity"):
        values = [row[column] for row in good]
        total = sum(values)
        statistics[column] = {"sum": total, "avg": total / len(values), "min": min(values), "max": max(values)}
    days = [row["date"] for row in good]
    statistics["date"] = {"min": min(days), "max": max(days)}
    json.dumps(good, indent=2)
    json.dumps(bad, indent=2)
    json.dumps(statistics, indent=2)
    return {"rows": len(good) + len(bad)}


def bare(path: Path) -> dict[str, Any]:
    """The baseline without a single check."""
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode())))
    json.dumps(rows, indent=2)
    return {"rows": len(rows)}


def _columns() -> str:
    """The shipped stack's."""
    import yaml  # noqa: PLC0415

    given = yaml.safe_load((ROOT / "Pulumi.csv.yaml").read_text())["config"]["datapipeline:input"]["columns"]
    return json.dumps({"columns": [{"aliases": [], "choices": [], **column} for column in given]})


WAYS = {"engine": engine, "baseline": baseline, "bare": bare}


def measure(way: str, path: Path) -> dict[str, Any]:
    """Runs one way in a process of its own: what it found, CPU seconds of the work, and the process's peak memory."""
    command = [sys.executable, "-m", "benchmarks.csv", "--way", way, "--file", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _run_one(way: str, path: Path) -> None:
    if way == "engine":
        # A cold start's work, not a row's; its memory counts.
        import handlers.csv_worker  # noqa: F401, PLC0415
    started = time.process_time()
    found = WAYS[way](path)
    seconds = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"found": found, "seconds": seconds, "peak_mb": peak}))


def main() -> int:
    """Prints the table. Returns 1 when something is not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 5_000_000])
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--file", type=Path)
    options = parser.parse_args()
    if options.way:
        _run_one(options.way, options.file)
        return 0
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder, "small.csv")
        generate(small, BASELINE_ROWS)
        usual = {way: measure(way, small) for way in ("baseline", "bare")}
        per_row = {way: each["seconds"] / BASELINE_ROWS for way, each in usual.items()}
        _say(f"{'':<10}{'rows':>10}{'MB':>6}{'rows / CPU s':>14}{'peak MB':>9}{'x baseline':>12}{'x bare':>8}")
        for way, each in usual.items():
            _line(way, BASELINE_ROWS, small, each, per_row)
        for rows in options.rows:
            path = Path(folder, "large.csv")
            truth = generate(path, rows)
            result = measure("engine", path)
            ratio = _line("engine", rows, path, result, per_row)
            found = result["found"]
            exact = {**found, "amount": round(found["amount"], 2)}
            if exact != truth:
                wrong.append(f"{rows} rows: found {found}, the truth is {truth}")
            if result["peak_mb"] > LARGEST_PEAK_MB:
                wrong.append(f"{rows} rows: {result['peak_mb']:.0f} MB, more than {LARGEST_PEAK_MB}")
            if ratio < SMALLEST_RATIO:
                wrong.append(f"{rows} rows: {ratio:.1f} times the baseline, less than {SMALLEST_RATIO}")
    for line in wrong:
        sys.stderr.write(f"wrong: {line}\n")
    return int(bool(wrong))


def _line(way: str, rows: int, path: Path, result: dict[str, Any], per_row: dict[str, float]) -> float:
    own = result["seconds"] / rows
    ratio = per_row["baseline"] / own
    _say(
        f"{way:<10}{rows:>10}{path.stat().st_size / 1e6:>6.0f}{1 / own:>14.0f}{result['peak_mb']:>9.0f}"
        f"{ratio:>12.1f}{per_row['bare'] / own:>8.1f}",
    )
    return ratio


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main())
