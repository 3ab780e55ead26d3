"""Files of a stack of the variant csv: those of a day, from the table's index, and their reports."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import boto3

from cli.core.stack import Stack
from cli.csv_files import STATUSES, files_of, outcome
from handlers.csv.run import REPORTS
from handlers.shared.dynamodb import Table
from local.errors import LocalError

LISTED = 1_000
SHOWN = 100


class Files:
    """The files of a stack and the reports on them. The stack's AWS clients must be aimed already."""

    def __init__(self, stack: Stack) -> None:
        self._bucket = stack.output("output_bucket")
        self._table_name = stack.output("table_name")
        self._s3 = boto3.client("s3")

    def page(self, asked: Mapping[str, str]) -> Mapping[str, Any]:
        """Return what the list shows: the newest files of a day, of a status, and with a text in their keys."""
        today = datetime.now(UTC).date()
        try:
            day = date.fromisoformat(asked.get("day") or today.isoformat())
        except ValueError as error:
            raise LocalError(f"{asked['day']!r} is no day, such as {today}") from error
        status, name = asked.get("status", ""), asked.get("name", "")
        files, has_more = self._newest(day, (status,) if status in STATUSES else STATUSES, name)
        return {
            "title": "Files",
            "files": [{"completed_at": None, "report_key": None, **file, "outcome": outcome(file)} for file in files],
            "has_more": has_more,
            "statuses": STATUSES,
            "given": {"day": day.isoformat(), "status": status, "name": name},
            "before": (day - timedelta(1)).isoformat() if day > date.min else None,
            "listed": LISTED,
        }

    def _newest(self, day: date, statuses: Sequence[str], name: str) -> tuple[Sequence[Mapping[str, Any]], bool]:
        """Return the newest files of a day, and whether there are more than were looked at."""
        # Made here: `aim_aws_clients` has set what the handlers' clients read.
        found = files_of(Table(self._table_name), day, statuses)
        looked = list(islice(found, LISTED if name else SHOWN))
        shown = [each for each in looked if name in each["key"]]
        return shown[:SHOWN], len(shown) > SHOWN or next(found, None) is not None

    def report(self, key: str) -> dict[str, Any] | None:
        """Return a report; None if there is none."""
        if not key.startswith(REPORTS):
            return None
        try:
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
        except self._s3.exceptions.NoSuchKey:
            return None
        report: dict[str, Any] = json.loads(body)
        return report
