"""`pipeline csv rejected`: the rejected rows of an upload as a CSV file, to be corrected and uploaded again."""

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.stack import Stack
from cli.core.suggestions import suggest
from cli.core.terminal import inert
from components.options.csv import CsvInputOptions, CsvPipelineConfig
from handlers.csv.file_report import HEADER_CHARACTERS
from handlers.csv.text import BYTE_ORDER_MARK
from handlers.shared.dynamodb import Table, TableError
from local.errors import LocalError

Json = dict[str, Any]


def run_csv_rejected(stack: str, key: str) -> int:
    """Write the rejected rows of a key's current outputs to standard output. Return 1 if there are none."""
    if sys.stdout.isatty():
        raise LocalError("the rows are as they were uploaded, with any control characters; redirect them: > fix.csv")
    target = Stack(stack)
    options = target.config_as(CsvPipelineConfig).input
    inputs, outputs, table = map(target.output, ("input_bucket", "output_bucket", "table_name"))
    target.aim_aws_clients()
    s3 = boto3.client("s3")
    try:
        current = Table(table).item({"id": f"current:{inputs}/{key}"})
        if current is None:
            raise LocalError(f"no upload with the key {key!r} has succeeded; see `{suggest('csv', 'files')}`")
        report = json.loads(s3.get_object(Bucket=outputs, Key=current["report_key"])["Body"].read())
        rejected_key = current["rejected_key"]
        if rejected_key is None:
            sys.stderr.write(f"no row of {inert(key)} was rejected\n")
            return 1
        rows = _rows(s3.get_object(Bucket=outputs, Key=rejected_key)["Body"], rejected_key)
        footer_rows = (options.footer.last_rows or 0) if options.footer else 0
        count, cut = write(sys.stdout.buffer, lines_before(report, options, key), rows, footer_rows)
    except (BotoCoreError, ClientError, TableError) as error:
        raise LocalError(f"{key}: {one_line(error)}") from error
    if cut:
        sys.stderr.write(f"{cut} rows are too long for rejected/ and are not in the file (row_too_long)\n")
    other = suggest("upload", "fix.csv", "--key", f"{options.prefix}fix.csv", "--stack", stack)
    # Under its own key it would replace the rows that were good.
    sys.stderr.write(f"{count} rows; correct them, and upload them under another key: {other}\n")
    return 0


def lines_before(report: Json, options: CsvInputOptions, key: str) -> Iterator[str]:
    """Yield what stands before the rows, so that a file with these settings is read as the upload was."""
    if "header" not in report:
        again = suggest("csv", "reprocess", "--key", key)
        raise LocalError(f"the report of {key!r} is one of a former release, without the header; run `{again}` first")
    header, delimiter = report["header"], report["delimiter"]
    if len(header) == HEADER_CHARACTERS:
        raise LocalError(f"the header of {key!r} is too long for its report")
    # A mark overrules input.encodings.
    yield BYTE_ORDER_MARK
    yield from ["\n"] * options.skip_lines
    # What was detected from the file, or from its `sep=` line, need not be what these rows suggest.
    if options.delimiter is None and (not header or delimiter != ","):
        yield f"sep={delimiter}\n"
    if header:
        yield f"{header}\n"


def _rows(body: Any, key: str) -> Iterator[Json]:
    lines: Iterable[bytes] = gzip.GzipFile(fileobj=body) if key.endswith(".gz") else body.iter_lines()
    return map(json.loads, lines)


def write(file: BinaryIO, before: Iterable[str], rows: Iterable[Json], footer_rows: int) -> tuple[int, int]:
    """Write a file with as many footer rows. Return how many rows it has, and how many are left out: they were cut."""
    count = cut = 0
    file.writelines(line.encode() for line in before)
    for row in rows:
        if any(error["reason"] == "row_too_long" for error in row["errors"]):
            cut += 1
            continue
        count += 1
        file.write(_bytes(f"{row['raw']}\n"))
    file.write(b"footer\n" * footer_rows)
    file.flush()
    return count, cut


def _bytes(text: str) -> bytes:
    """Return a text in UTF-8. Bytes that were undecodable stay so: nobody must take them for corrected."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Half of a pair in UTF-16.
        return text.encode("utf-8", "surrogatepass")
