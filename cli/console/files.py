"""Files of a stack of the variant csv: the reports that are in the output bucket."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import boto3

from cli.core.stack import Stack
from handlers.csv.run import REPORTS

# One page of a listing of S3.
LISTED = 1_000


class Files:
    """The reports on files. The stack's AWS clients must be aimed already."""

    def __init__(self, stack: Stack) -> None:
        self._bucket = stack.output("output_bucket")
        self._s3 = boto3.client("s3")

    def newest(self, name: str) -> tuple[Sequence[Mapping[str, Any]], bool]:
        """Return the newest reports whose key contains a text, and whether S3 has more than were looked at."""
        answer = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=REPORTS, MaxKeys=LISTED)
        found = [each for each in answer.get("Contents", []) if name in each["Key"]]
        return sorted(found, key=lambda each: each["LastModified"], reverse=True)[:100], answer["IsTruncated"]

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
