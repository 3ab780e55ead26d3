"""The end of a file: its report, its item, its place among the versions of its key, and everybody who is to know."""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from handlers.csv import notices, objects
from handlers.csv.file_table import FileTable
from handlers.csv.files import FAILED, SUCCEEDED, File, FileItem, Item
from handlers.csv.run import REPORTS, Run
from handlers.csv.settings import CsvWorkerSettings
from handlers.csv.versions import Versions, later
from handlers.shared.alerts import AlertTopic
from handlers.shared.times import timestamp

# What an item and a notice hold of the report's lists.
TOLD_COLUMNS = 20
TOLD_SUGGESTIONS = 5


@dataclass(frozen=True)
class Finished:
    """The facts about a finished file that are counted and logged."""

    counts: Counter[str]
    latencies_ms: list[float]
    logged: dict[str, Any]


class Finishing:
    """Finishes files. Every step can be repeated."""

    def __init__(self, settings: CsvWorkerSettings, table: FileTable, versions: Versions, service: str) -> None:
        self._settings = settings
        self._table = table
        self._versions = versions
        self._service = service

    def finish(self, run: Run, message_id: str, status: str, facts: Item) -> Finished:
        """Store the report and the outcome of a file, then settle it. Raises LostError, and the errors of services."""
        file, engine = run.file, run.engine
        now = datetime.now(UTC)
        seconds = (now - datetime.fromisoformat(run.item["started_at"])).total_seconds()
        facts = {**facts, "is_current": False, "removes": run.former_output_keys}
        if status == SUCCEEDED:
            facts |= self._versions.expected(file, {**run.item, **facts})  # type: ignore[typeddict-item]  # keys of the item
        report = {
            **self._described(run, status, facts),
            "completed_at": timestamp(now),
            "duration_seconds": round(seconds, 3),
            **engine.report(has_outputs=status == SUCCEEDED),
        }
        report_key = run.output_key(REPORTS, ".json")
        objects.put_report(self._settings.bucket_name, report_key, report)
        counts = {name: report[name] for name in ("rows", "processed", "rejected", "success_rate")}
        item = self._table.finish(
            file.id,
            run.item["owner"],
            {
                "status": status,
                "generation": report["generation"],
                **facts,
                **({"error": notices.shown(facts["error"])} if "error" in facts else {}),
                **counts,
                **({"failed_message_id": message_id} if status == FAILED else {}),
                # An earlier run may have come as far as to make them.
                **({"removes": [*run.output_keys, *facts["removes"]]} if status != SUCCEEDED else {}),
                **_told(report),
                "completed_at": report["completed_at"],
                "report_key": report_key,
            },
        )
        self.settle(file, item)
        counted = {
            f"Files{status.capitalize()}": 1,
            "RowsProcessed": report["processed"],
            "RowsRejected": report["rejected"],
        }
        return Finished(
            Counter(counted),
            [seconds * 1_000] if status == SUCCEEDED else [],
            {**logged(file), "outcome": status, **counts, "reason": facts.get("reason")},
        )

    def _described(self, run: Run, status: str, facts: Item) -> dict[str, Any]:
        """Return what the report says of the file and its outputs."""
        file = run.file
        told = {name: value for name, value in facts.items() if name != "removes"}
        return {
            "id": file.id,
            "status": status,
            "bucket": file.bucket,
            "key": file.key,
            "version": file.version,
            "etag": file.etag,
            "size": file.size,
            "output_bucket": self._settings.bucket_name,
            "processed_key": None,
            "rejected_key": None,
            "reason": None,
            "error": None,
            "generation": run.item.get("generation", 0),
            "supersedes": "",
            "superseded_by": "",
            **later(file, run.item),
            **told,
            "started_at": run.item["started_at"],
        }

    def settle(self, file: File, item: FileItem) -> None:
        """Make the outputs current, tell of the file, and record that. A step that was done before is done again.

        A file that did not succeed leaves no outputs.
        """
        settings = self._settings
        if item["status"] == SUCCEEDED:
            item = self._versions.make_current(file, item)
        else:
            objects.remove(settings.bucket_name, item.get("removes", ()))
        notices.publish_file(settings.notifications_topic_arn, self._service, item, settings.bucket_name)
        if item["status"] == FAILED:
            if self._table.claim_alert(item["reason"], file.id):
                notices.publish_failure(AlertTopic.of(settings, self._service), item)
            body = json.dumps({"Records": [file.record]})
            notices.send_dead_letter(
                settings.dead_letter_queue_url, body, file.id, item["reason"], item["error"] or "", item.get("attempts")
            )
        self._table.settle(file.id)


def logged(file: File) -> dict[str, Any]:
    """Return what identifies a file in the log."""
    return {"id": file.id, "correlation_id": file.id, "key": file.key}


def _told(report: Item) -> Item:
    """Return what items and notices hold of the report: what a person can act on."""
    told = {
        "missing_columns": report["missing_columns"][:TOLD_COLUMNS],
        "suggestions": [
            notices.shown(f"{each['setting']}: {' or '.join(map(json.dumps, each['values']))} ({each['reason']})")
            for each in report["suggestions"][:TOLD_SUGGESTIONS]
        ],
    }
    return {name: values for name, values in told.items() if values}
