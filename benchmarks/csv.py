"""Speed, memory and correctness of the CSV engine and of the whole worker. A part of `make bench`.

Generated files with known results are read by separate processes:

- engine: streaming, with compressed output, as in the worker; `parquet` is the same with Parquet output;
- worker: the whole function, with S3, SQS, SNS and DynamoDB in the emulator, for both outputs;
- baseline, the common approach: csv.DictReader over the whole file, the same conditions checked with float, int,
  strptime and re, the same statistics from lists and sets, and json.dumps(indent=2) of whole lists, not compressed;
- bare: csv.DictReader and json.dumps(indent=2) without checks;
- unchecked: the work of bare with the engine's functions, which shows the cost of reading and writing.

The promised ratios compare equal work: engine with baseline, unchecked with bare. Wrong counts or sums are
errors.
"""

import argparse
import csv
import gzip
import io
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.figures import Rows, Size
    from local.engine import Running
    from local.services import Clients

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "tests/samples"

BAD_SHARE = 0.03
BLOCK_BYTES = 2**18
OUTPUT_FORMATS = ("jsonl.gz", "parquet")


def generate(path: Path, rows: int, seed: int = 1) -> dict[str, Any]:
    """Write a file of about 60 bytes per row. Return the expected results."""
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


def lengthen(path: Path, copies: int) -> None:
    """Repeat the rows of a file until it has so many times as many."""
    header, _, body = path.read_bytes().partition(b"\r\n")
    with path.open("wb") as file:
        file.write(header + b"\r\n")
        for _ in range(copies):
            file.write(body)


def engine(path: Path) -> dict[str, Any]:
    """Read a file as the worker does, without S3."""
    from handlers.csv.columns import FileFormat  # noqa: PLC0415  each process measures its own imports
    from handlers.csv.content import Content  # noqa: PLC0415
    from handlers.csv.engine import CsvEngine, blocks  # noqa: PLC0415
    from handlers.csv.gzip_stream import GzipStream  # noqa: PLC0415

    file_format = FileFormat.from_json(_columns())
    reader, processed, rejected = CsvEngine(file_format), GzipStream(), GzipStream()
    with path.open("rb") as file:
        for block in blocks(reader, Content(file.read, file_format.max_expansion).read):
            processed.write(block.processed)
            rejected.write(block.rejected)
    return _found(reader.report())


def parquet(path: Path) -> dict[str, Any]:
    """The engine with Parquet output."""
    from handlers.csv.columns import FileFormat  # noqa: PLC0415
    from handlers.csv.content import Content  # noqa: PLC0415
    from handlers.csv.engine import CsvEngine, blocks  # noqa: PLC0415
    from handlers.csv.parquet import ParquetWriter  # noqa: PLC0415

    file_format = FileFormat.from_json(_columns("double"))
    writer = ParquetWriter()
    reader = CsvEngine(file_format, encode=writer.encode)
    with path.open("rb") as file:
        for _ in blocks(reader, Content(file.read, file_format.max_expansion).read):
            pass
    writer.finish([check.column for check in reader.checks])
    return _found(reader.report())


def unchecked(path: Path) -> dict[str, Any]:
    """Read and write cells with the engine's functions, without checks."""
    from isal import igzip  # noqa: PLC0415

    from handlers.csv.column_types import check_of  # noqa: PLC0415
    from handlers.csv.columns import Column  # noqa: PLC0415
    from handlers.csv.json_lines import json_lines  # noqa: PLC0415
    from handlers.csv.text import plain_columns  # noqa: PLC0415

    rows = 0
    with path.open("rb") as file:
        checks = [check_of(Column(name)) for name in file.readline().decode().strip().split(",")]
        while data := file.read(BLOCK_BYTES) + file.readline():
            columns = plain_columns(data.decode(), ",", len(checks)) or []
            count = len(columns[0])
            igzip.compress(json_lines(checks, columns, count, is_plain=True), 1, mtime=0)
            rows += count
    return {"rows": rows}


def _found(report: Mapping[str, Any]) -> dict[str, Any]:
    sums = {column: report["columns"][column]["sum"] for column in ("amount", "quantity")}
    return {"rows": report["rows"], "processed": report["processed"], **sums}


def _require(holds: bool, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise ValueError(otherwise)


def baseline(path: Path) -> dict[str, Any]:
    """The common approach. It accepts `1_000` as a number, so its counts are wrong."""
    is_email = re.compile(r"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+").fullmatch
    good: list[dict[str, Any]] = []
    bad = []
    for number, row in enumerate(csv.DictReader(io.StringIO(path.read_bytes().decode())), 1):
        try:
            _require(bool(row["name"]), "name is empty")
            _require(is_email(row["email"]) is not None, "email is not an address")
            datetime.strptime(row["date"], "%Y-%m-%d")  # noqa: DTZ007
            good.append({**row, "amount": float(row["amount"]), "quantity": int(row["quantity"])})
        except ValueError as error:
            bad.append({"row": number, "error": str(error), "data": row})
    statistics: dict[str, Any] = {
        column: {"count": len([row for row in good if row[column]]), "distinct": len({row[column] for row in good})}
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
    """The baseline without checks."""
    rows = list(csv.DictReader(io.StringIO(path.read_bytes().decode())))
    json.dumps(rows, indent=2)
    return {"rows": len(rows)}


def _columns(numbers: str = "text") -> str:
    """Return the columns of the shipped stack as JSON."""
    import yaml  # noqa: PLC0415

    given = yaml.safe_load((SAMPLES / "Pulumi.csv.yaml").read_text())["config"]["datapipeline:input"]["columns"]
    return json.dumps({"columns": [{"aliases": [], "choices": [], **column} for column in given], "numbers": numbers})


def worker(path: Path) -> dict[str, Any]:
    """The whole function, from the message to the report. `path` contains the message."""
    from handlers.csv import worker  # noqa: PLC0415
    from handlers.csv.columns import FileFormat  # noqa: PLC0415
    from handlers.csv.settings import CsvWorkerSettings  # noqa: PLC0415

    class Context:
        aws_request_id = "run"

        def get_remaining_time_in_millis(self) -> int:
            return 900_000

    message = json.loads(path.read_text())
    settings = CsvWorkerSettings.from_environment()
    numbers = "double" if settings.output_format == "parquet" else "text"
    made = worker.CsvWorker(settings, FileFormat.from_json(_columns(numbers)), "benchmark")
    answer = made.handle([message], Context())
    if answer != {"batchItemFailures": []}:
        raise RuntimeError(f"the worker answered {answer}")
    return {}


WAYS = {
    "worker": worker,
    "engine": engine,
    "parquet": parquet,
    "baseline": baseline,
    "bare": bare,
    "unchecked": unchecked,
}


def upload(aws: "Clients", outputs: Mapping[str, str], body: Any) -> dict[str, Any]:
    """Put an object. Return the message that says so as Lambda passes it to the worker, taken off the queue."""
    aws("s3").put_object(Bucket=outputs["input_bucket"], Key=f"raw/{uuid.uuid4().hex}.csv", Body=body)
    while not (
        found := aws("sqs").receive_message(QueueUrl=outputs["queue_url"], AttributeNames=["All"]).get("Messages")
    ):
        time.sleep(0.1)
    (message,) = found
    aws("sqs").delete_message(QueueUrl=outputs["queue_url"], ReceiptHandle=message["ReceiptHandle"])
    return {
        "messageId": message["MessageId"],
        "receiptHandle": message["ReceiptHandle"],
        "body": message["Body"],
        "attributes": message["Attributes"],
    }


def run_worker(up: "Running", path: Path, output_format: str) -> dict[str, Any]:
    """Run the worker once. `up` runs the csv stack, with the event source mapping disabled."""
    from handlers.csv.files import File  # noqa: PLC0415  not in the processes that are measured
    from local.services import Clients  # noqa: PLC0415

    aws, outputs = Clients(up.emulator), up.outputs
    with path.open("rb") as body:
        record = upload(aws, outputs, body)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(record))
        file.flush()
        (function,) = up.engine.functions
        environment = {**up.environment(), **function.environment, "OUTPUT_FORMAT": output_format}
        result = run("worker", Path(file.name), environment)
    key = json.loads(record["body"])["Records"][0]["s3"]["object"]["key"]
    mark = File(outputs["input_bucket"], key, "", "", 0, {}).key_mark
    reports = aws("s3").list_objects_v2(Bucket=outputs["output_bucket"], Prefix="reports/")["Contents"]
    (listed,) = (each for each in reports if f"/{mark}-" in each["Key"])
    report = json.loads(aws("s3").get_object(Bucket=outputs["output_bucket"], Key=listed["Key"])["Body"].read())
    stored = aws("s3").get_object(Bucket=outputs["output_bucket"], Key=report["processed_key"])["Body"]
    return {**result, "found": {**_found(report), "processed": _stored_rows(stored, output_format)}}


def _stored_rows(body: Any, output_format: str) -> int:
    if output_format == "parquet":
        from pyarrow import parquet as reader  # type: ignore[import-untyped]  # noqa: PLC0415

        rows: int = reader.read_table(io.BytesIO(body.read())).num_rows
        return rows
    with gzip.open(body) as lines:
        return sum(1 for _ in lines)


def run(way: str, path: Path, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run one way in a separate process. Return its results, CPU seconds and peak memory."""
    command = [sys.executable, "-m", "benchmarks.csv", "--way", way, "--file", str(path)]
    done = subprocess.run(  # noqa: S603  our own command
        command, cwd=ROOT, capture_output=True, text=True, check=True, env={**os.environ, **(environment or {})}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])  # after the worker's logs
    return found


def _run_one(way: str, path: Path) -> None:
    if way not in ("baseline", "bare"):
        # Imports belong to the cold start and are not timed, but their memory counts.
        import handlers.csv.worker  # noqa: F401, PLC0415
    started = time.process_time()
    found = WAYS[way](path)
    seconds = time.process_time() - started
    sys.stdout.write(json.dumps({"found": found, "seconds": seconds, "peak_mb": _peak_mb()}) + "\n")


def _peak_mb() -> float:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    # Not on Linux, where this would include the parent process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def one_round(up: "Running", path: Path, size: "Size") -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Run everything once. Yields name, rows and result. Raises RuntimeError when a result is wrong."""
    truth = generate(path, size.csv_rows)
    for way in ("baseline", "bare", "unchecked"):
        yield way, size.csv_rows, run(way, path)
    for way in ("engine", "parquet"):
        yield way, size.csv_rows, _correct(way, run(way, path), truth)
    for output_format in OUTPUT_FORMATS:
        name = f"worker, {output_format}"
        yield name, size.csv_rows, _correct(name, run_worker(up, path, output_format), truth)
    lengthen(path, size.csv_copies)
    truth = {name: value * size.csv_copies for name, value in truth.items()}
    for output_format in OUTPUT_FORMATS:
        name = f"worker, {output_format}, large file"
        yield name, size.csv_rows * size.csv_copies, _correct(name, run_worker(up, path, output_format), truth)


def measure(size: "Size") -> "Rows":
    """Return speed and memory of each way, and its speed as a ratio to the baseline's and to bare's."""
    from local.engine import running  # noqa: PLC0415  not in the processes that are measured
    from local.project import load_project  # noqa: PLC0415  as above
    from local.services import Clients  # noqa: PLC0415  as above

    rows: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory() as folder, running(load_project(SAMPLES, "csv")) as up:
        functions = Clients(up.emulator)("lambda")
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        for _ in range(size.rounds):
            speeds: dict[str, float] = {}
            for name, count, result in one_round(up, Path(folder, "rows.csv"), size):
                speeds[name] = count / result["seconds"]
                figures = {"rows": count, "rows_per_s": speeds[name], "peak_mb": result["peak_mb"]}
                figures["ratio_baseline"] = speeds[name] / speeds["baseline"]
                if "bare" in speeds:
                    figures["ratio_bare"] = speeds[name] / speeds["bare"]
                for column, value in figures.items():
                    rows[name][column].append(value)
    return rows


def _correct(name: str, result: dict[str, Any], truth: Mapping[str, Any]) -> dict[str, Any]:
    found = result["found"]
    # Floats of many rows add up to nearly the same.
    if {**found, "amount": round(found["amount"], 2)} != {**truth, "amount": round(truth["amount"], 2)}:
        raise RuntimeError(f"{name}: found {found}, expected {truth}")
    return result


def main() -> None:
    """Run one way on one file and print what it came to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--way", choices=WAYS, required=True)
    parser.add_argument("--file", type=Path, required=True)
    options = parser.parse_args()
    _run_one(options.way, options.file)


if __name__ == "__main__":
    main()
