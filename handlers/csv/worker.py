"""The function behind the queue of files: each row ends in `processed/` or `rejected/`, a report in `reports/`.

A file is named by bucket, key and version. Whatever is announced twice has one effect, and the steps stand in an order
that loses nothing wherever the function dies: outputs first (their bytes follow from the file's alone, and their keys
hold its id, so that a repeat overwrites itself), then the report, then the item says that the file is done, then people
are told and a failed file's message is put with the dead letters, and only then the item says that all is settled. A
message that comes again goes on from there. So a notice can be sent twice when the function dies right after sending
it, and never not at all.

A file that is too long for one run: before the time runs out the outputs so far and the engine's state are stored, the
item names them (that is the checkpoint), and the message returns to the queue at once; the next run goes on there. The
message is never sent anew, so nothing can loop. SQS's receive count goes up with every run, so it is not the number of
attempts: that is counted in the item, from the last progress on.
"""

import os
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

from botocore.exceptions import BotoCoreError, ClientError

from handlers.csv import notices
from handlers.csv.columns import FileFormat
from handlers.csv.file_table import FileTable, LostError
from handlers.csv.files import (
    FAILED,
    PROCESSING,
    SKIPPED,
    SUCCEEDED,
    File,
    FileItem,
    Item,
    Progress,
    UnreadableNotificationError,
    read_notification,
)
from handlers.csv.finishing import Finishing, logged
from handlers.csv.notices import NotSentError
from handlers.csv.objects import SkippedError, UploadLostError
from handlers.csv.run import STORING_SECONDS, Run, StaleCheckpointError
from handlers.csv.settings import CsvWorkerSettings
from handlers.csv.text import FileError
from handlers.csv.versions import Versions, later
from handlers.shared import metrics, queues
from handlers.shared.alerts import AlertTopic
from handlers.shared.context import LambdaContext
from handlers.shared.dynamodb import TableError
from handlers.shared.keys import has_suffix
from handlers.shared.log import logger, write_record
from handlers.shared.places import described
from handlers.shared.queues import Message, backoff_seconds, batch_response
from handlers.shared.times import timestamp

OutsideError = (BotoCoreError, ClientError, NotSentError, TableError)

# components/variants/csv.py puts it beside the handlers.
COLUMNS_FILE = Path(__file__).parents[2] / "columns.json"
# After the end of a function that died its message comes back, and its lease is over by then.
SECONDS_AFTER_DEATH = 10
SECONDS_A_DAY = 86_400


COUNTS = (
    "Messages",
    "FilesSucceeded",
    "FilesFailed",
    "FilesSkipped",
    "FilesContinued",
    "RowsProcessed",
    "RowsRejected",
    "BatchItemFailures",
)

End = Literal["done", "continue", "retry", "busy"]


@dataclass
class Outcome:
    """What a run made of a message. `delay`: seconds until it comes back, None when it is done."""

    delay: int | None = None
    ends: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)


class CsvWorker:
    """`service` names the pipeline in notices."""

    def __init__(self, settings: CsvWorkerSettings, file_format: FileFormat, service: str) -> None:
        self._settings = settings
        self._format = file_format
        self._service = service
        self._table = FileTable(settings.table_name)
        self._versions = Versions(self._table, settings.bucket_name, settings.output_versions)
        self._finishing = Finishing(settings, self._table, self._versions, service)

    def handle(self, records: Sequence[Mapping[str, Any]], context: LambdaContext) -> dict[str, Any]:
        """`{"batchItemFailures": [{"itemIdentifier"}]}`: the messages that return to the queue."""
        outcomes: dict[str, Outcome] = {}
        delays: dict[str, int] = {}
        for record in records:
            message = Message.from_record(record)
            outcome = outcomes[message.id] = self._take(message, context)
            if outcome.delay is not None:
                delays[message.receipt_handle] = outcome.delay
        self._return_after(delays)
        self._report(list(outcomes.values()))
        returning = [message_id for message_id, outcome in outcomes.items() if outcome.delay is not None]
        return batch_response(returning)

    def _take(self, message: Message, context: LambdaContext) -> Outcome:
        outcome = Outcome()
        try:
            files = read_notification(message.body)
        except UnreadableNotificationError as error:
            self._refuse(message, str(error), outcome)
            return outcome
        for file in files:
            if file.is_folder:
                continue
            self._note(outcome, self._take_file(file, message, context, outcome))
        return outcome

    def _note(self, outcome: Outcome, end: tuple[End, int]) -> None:
        """Counts how a file ended; the message comes back for the file that wants it first."""
        how, delay = end
        outcome.ends[how] += 1
        if how != "done":
            outcome.delay = delay if outcome.delay is None else min(delay, outcome.delay)

    def _refuse(self, message: Message, error: str, outcome: Outcome) -> None:
        """A message that nobody will ever be able to read: an alert, and it goes to the dead letters."""
        logger.error("a message is not a notification of S3", extra={"message_id": message.id, "reason": error})
        try:
            if self._table.claim_alert("unreadable", message.id):
                notices.publish_refusal(AlertTopic.of(self._settings, self._service), message.id)
            notices.send_dead_letter(self._settings.dead_letter_queue_url, message.body, "", "unreadable", error)
        except OutsideError:
            logger.exception("a service did not answer; the message returns to the queue")
            outcome.ends["retry"] += 1
            outcome.delay = self._backoff_seconds(message.receives)

    def _take_file(self, file: File, message: Message, context: LambdaContext, outcome: Outcome) -> tuple[End, int]:
        """How it ended, and in how many seconds the message should come back if it is to."""
        seconds_left = context.get_remaining_time_in_millis() / 1_000
        if seconds_left < STORING_SECONDS:
            return "continue", 0
        now = time.time()
        owner = uuid.uuid4().hex
        until = int(now + seconds_left) + 1
        # Of a file that cannot be claimed, only the message can say how often.
        attempts = message.receives
        try:
            item = self._claim(file, message, owner, until)
            if isinstance(item, int):
                return "busy", item
            if item is None:
                return "done", 0
            attempts = item["attempts"]
            self._return_after({message.receipt_handle: int(seconds_left) + SECONDS_AFTER_DEATH})
            return self._work(file, message, item, context, outcome)
        except LostError as error:
            logger.warning(str(error))
            return "busy", SECONDS_AFTER_DEATH
        except Exception as error:  # noqa: BLE001  it is logged, and the message returns at once
            _log_failure(error, file)
            return "retry", self._backoff_seconds(attempts)

    def _claim(self, file: File, message: Message, owner: str, until: int) -> FileItem | int | None:
        """The file's item, now this run's; the seconds until another run is over; or None: the file is done."""
        settings = self._settings
        now = time.time()
        started_at = timestamp(datetime.now(UTC))
        item = self._table.claim(
            file,
            owner,
            now=int(now),
            until=until,
            started_at=started_at,
            expires_at=int(now) + settings.items_expire_after_days * SECONDS_A_DAY,
        )
        if item is not None:
            return item
        item = self._table.read(file.id)
        if item is None:
            return 0
        if item["status"] == PROCESSING:
            return max(1, int(item["lease_until"] - now) + 1)
        was_settled = item["settled"]
        if not was_settled:
            self._finishing.settle(file, item)
        if self._must_be_read_again(file, item, message) if was_settled else _is_to_reprocess(file, item):
            upload = later(file, item)
            again = self._table.begin_again(file, item, owner, until=until, started_at=started_at, upload=upload)
            return again or 0
        if was_settled:
            self._versions.take_notice(file, item)
        return None

    def _must_be_read_again(self, file: File, item: FileItem, message: Message) -> bool:
        if item["status"] == FAILED and item["failed_message_id"] != message.id:
            return True
        return _is_to_reprocess(file, item) or self._versions.must_be_read_again(file, item)

    def _work(
        self, file: File, message: Message, item: FileItem, context: LambdaContext, outcome: Outcome
    ) -> tuple[End, int]:
        run = Run(self._settings, self._format, file, item)
        attempts = item["attempts"]
        if attempts > self._settings.max_attempts:
            # The last one died without a word.
            died = f"{attempts - 1} runs ended without progress: {item.get('error') or 'they died'}"
            self._finish(run, message, outcome, FAILED, {"reason": "gave_up", "error": died})
            return "done", 0
        try:
            self._check_suffix(file)
            if not run.read(context, partial(self._record, file, item)):
                self._table.checkpoint(file.id, item["owner"], run.save(), keep=False)
                outcome.files.append({**logged(file), "outcome": "continued", "rows": run.engine.rows})
                return "continue", 0
            if run.is_in_parts and run.has_progressed:
                # Completing an upload cannot be repeated: whoever comes after must find all of its parts.
                self._table.checkpoint(file.id, item["owner"], run.save(), keep=True)
            self._finish(run, message, outcome, SUCCEEDED, run.store_outputs())
        except FileError as error:
            run.abort()
            self._finish(run, message, outcome, FAILED, {"reason": error.reason, "error": str(error)})
        except SkippedError as error:
            run.abort()
            self._finish(run, message, outcome, SKIPPED, {"reason": error.reason, "error": str(error)})
        except (UploadLostError, StaleCheckpointError) as error:
            logger.warning(str(error), extra=logged(file))
            self._table.restart(file.id, item["owner"])
            return "retry", self._backoff_seconds(attempts)
        except LostError:
            raise
        except Exception as error:  # noqa: BLE001  whatever it is, the next attempt must not wait for the lease to end
            if attempts >= self._settings.max_attempts:
                said = f"{attempts} runs ended without progress: {described(error)}"
                run.abort()
                self._finish(run, message, outcome, FAILED, {"reason": "gave_up", "error": said})
                return "done", 0
            _log_failure(error, file)
            self._table.release(file.id, item["owner"], notices.shown(described(error)))
            return "retry", self._backoff_seconds(attempts)
        return "done", 0

    def _record(self, file: File, item: FileItem, progress: Progress) -> None:
        """Record how far a run is. Raises LostError: another run has the file, so this one need not go on."""
        try:
            self._table.progress(file.id, item["owner"], progress)
        except OutsideError:
            # The run is worth more than what people see of it.
            logger.exception("the progress of a file was not recorded", extra=logged(file))

    def _check_suffix(self, file: File) -> None:
        if not has_suffix(file.key, self._settings.suffixes):
            message = f"the key ends in none of {self._settings.suffixes} (input.suffixes)"
            raise SkippedError("unknown_suffix", message)

    def _finish(self, run: Run, message: Message, outcome: Outcome, status: str, facts: Item) -> None:
        finished = self._finishing.finish(run, message.id, status, facts)
        outcome.counts.update(finished.counts)
        outcome.latencies_ms += finished.latencies_ms
        outcome.files.append(finished.logged)

    def _return_after(self, delays: Mapping[str, int]) -> None:
        if not delays:
            return
        try:
            queues.return_after(self._settings.queue_url, delays)
        except OutsideError:
            # They come back all the same, after the queue's visibility timeout.
            logger.exception("the visibility of messages was not changed")

    def _backoff_seconds(self, attempts: int) -> int:
        settings = self._settings
        return backoff_seconds(attempts, settings.backoff_base_seconds, settings.backoff_maximum_seconds)

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        counts = sum((outcome.counts for outcome in outcomes), Counter[str]())
        counts["Messages"] = len(outcomes)
        counts["FilesContinued"] = sum(outcome.ends["continue"] for outcome in outcomes)
        # A file that goes on has not failed, whatever Lambda calls it.
        counts["BatchItemFailures"] = sum(bool(outcome.ends["retry"]) for outcome in outcomes)
        metrics.emit(
            {name: counts[name] for name in COUNTS},
            [latency for outcome in outcomes for latency in outcome.latencies_ms],
        )
        write_record("batch", files=[file for outcome in outcomes for file in outcome.files])


def _is_to_reprocess(file: File, item: FileItem) -> bool:
    return file.wanted_generation > item.get("generation", 0)


def _log_failure(error: Exception, file: File) -> None:
    what = "a service did not answer" if isinstance(error, OutsideError) else "an unexpected error"
    logger.exception("%s; the message returns to the queue", what, extra=logged(file))


@cache
def _worker() -> CsvWorker:
    settings = CsvWorkerSettings.from_environment()
    return CsvWorker(settings, FileFormat.from_json(COLUMNS_FILE.read_text()), os.environ["POWERTOOLS_SERVICE_NAME"])


def handler(event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
    """The Lambda entry point."""
    return _worker().handle(event["Records"], context)
