"""`pipeline csv files`: the files that a stack began on a day, from the table's index of days."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from heapq import merge
from itertools import islice
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import inert, write_lines
from cli.file_report import percent
from components.options.csv import CsvPipelineConfig
from handlers.csv.files import DAY_INDEX, FAILED, PROCESSING, SKIPPED, SUCCEEDED, FileItem
from handlers.shared.dynamodb import KEYS_A_CALL, Table, TableError
from local.errors import LocalError

STATUSES = (PROCESSING, SUCCEEDED, FAILED, SKIPPED)
SHOWN = (
    "id", "status", "key", "size", "started_at", "completed_at", "rows", "processed", "rejected", "success_rate",
    "reason", "error", "generation", "is_current", "superseded_by", "rows_so_far", "bytes_so_far", "processed_key",
    "rejected_key", "report_key",
)  # fmt: skip


def run_csv_files(stack: str, day: date | None, status: str | None, maximum: int, *, as_json: bool) -> int:
    """Print the files that were begun on a day (UTC; default: today), newest first. Return 1 if there are none."""
    if status is not None and status not in STATUSES:
        raise LocalError(f"--status {inert(status)}: choose one of {', '.join(STATUSES)}")
    target = Stack(stack)
    target.config_as(CsvPipelineConfig)
    name = target.output("table_name")
    target.aim_aws_clients()
    day = day or datetime.now(UTC).date()
    found = 0
    try:
        for item in islice(files_of(Table(name), day, (status,) if status else STATUSES), maximum):
            found += 1
            if as_json:
                write_json({name: value for name, value in item.items() if name in SHOWN})
            else:
                write_lines([line(item)])
    except (BotoCoreError, ClientError, TableError) as error:
        raise LocalError(f"the files cannot be read: {one_line(error)}") from error
    if not found:
        sys.stderr.write(f"no file was begun on {day} (UTC){f' and is {status}' if status else ''}\n")
    return int(not found)


def files_of(table: Table, day: date, statuses: Sequence[str] = STATUSES) -> Iterator[FileItem]:
    """Yield the files that were begun on a day in UTC, newest first: by the end of those that are done.

    Items are read a hundred at a time, as they are asked for. Raises TableError and botocore's errors.
    """

    def of(status: str) -> Iterator[Mapping[str, Any]]:
        for page in table.query(
            IndexName=DAY_INDEX,
            KeyConditionExpression="#day = :day AND begins_with(status_time, :status)",
            ExpressionAttributeNames={"#day": "day"},
            values={"day": day.isoformat(), "status": f"{status}#"},
            ScanIndexForward=False,
        ):
            yield from page

    keys = merge(*map(of, statuses), key=_time, reverse=True)
    seen: set[str] = set()
    while part := list(islice(keys, KEYS_A_CALL)):
        # A file that is done between the queries is found by both of its statuses.
        ids = [each for each in dict.fromkeys(str(key["id"]) for key in part) if each not in seen]
        seen |= {*ids}
        items = {item["id"]: item for item in table.get([{"id": each} for each in ids])}
        # One that expired since is in the index for a moment more.
        yield from (cast("FileItem", items[each]) for each in ids if each in items)


def _time(key: Mapping[str, Any]) -> str:
    return str(key["status_time"]).partition("#")[2]


def line(item: Mapping[str, Any]) -> str:
    """Return the line of a file: when it was done or begun, status, rows, key and reason."""
    at = item.get("completed_at", item["started_at"])
    return f"{at[:19]}Z  {item['id']}  {item['status']:<10}  {inert(item['key'])}  {outcome(item)}".rstrip()


def outcome(item: Mapping[str, Any]) -> str:
    """Return how far a file is, or what became of it, in words."""
    match item["status"]:
        case "processing":
            return progress(item)
        case "succeeded":
            current = "" if item.get("is_current", True) else ", not current"
            return f"{item['processed']} of {item['rows']} rows processed, {item['rejected']} rejected{current}"
        case _:
            return str(item.get("reason") or "")


def progress(item: Mapping[str, Any]) -> str:
    """Return how far the runs over a file are, as far as they have said so."""
    if "rows_so_far" not in item:
        return ""
    share = f", {percent(min(1.0, item['bytes_so_far'] / item['size']))} of its bytes" if item["size"] else ""
    return f"{item['rows_so_far']} rows so far{share}"
