"""Records of what operators delete."""

import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from cli.core.errors import one_line
from cli.core.stack import Stack
from local.errors import LocalError


class Record:
    """A record in the worker's log group, with the caller: `pipeline logs` shows it.

    `act` is a verb (`purge`), `acted` the messages of both lines (`dead letters are being purged`, `dead letters were
    purged`) and `facts` what else each line has. Raises LocalError if nothing can be recorded.

    Rights on AWS: `logs:CreateLogStream` and `logs:PutLogEvents` on that group.
    """

    def __init__(self, stack: Stack, act: str, acted: tuple[str, str], facts: Mapping[str, Any]) -> None:
        self._beginning, self._end = acted
        self._facts = {"stack": stack.name, **facts}
        groups: Any = stack.outputs.get("log_groups") or {}
        if "worker" not in groups:
            raise LocalError(f"stack {stack.name!r} has no output 'log_groups'; deploy it again with this version")
        self._group = groups["worker"]
        try:
            self._caller = str(boto3.client("sts").get_caller_identity()["Arn"])
            self._logs = boto3.client("logs")
            self._stream = f"{act}/{datetime.now(UTC):%Y-%m-%dT%H.%M.%S.%fZ}"
            self._logs.create_log_stream(logGroupName=self._group, logStreamName=self._stream)
        except (BotoCoreError, ClientError) as error:
            raise LocalError(f"who {act}s cannot be recorded, so nothing was deleted: {one_line(error)}") from error

    def begins(self) -> None:
        """Write down that it begins. Raises LocalError."""
        self._write(self._beginning, {})

    def ended(self, facts: Mapping[str, Any]) -> None:
        """Write down what was deleted. Raises LocalError."""
        self._write(self._end, facts)

    def _write(self, message: str, facts: Mapping[str, Any]) -> None:
        line = {
            "level": "WARNING",
            "message": message,
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "caller": self._caller,
            **self._facts,
            **facts,
        }
        event: Any = {"timestamp": round(time.time() * 1_000), "message": json.dumps(line)}
        try:
            self._logs.put_log_events(logGroupName=self._group, logStreamName=self._stream, logEvents=[event])
        except (BotoCoreError, ClientError) as error:
            raise LocalError(f"{message}, which was not recorded: {one_line(error)}") from error
