"""The table with one item for each uploaded file, and with the pointers to current outputs."""

import re
import time
from collections.abc import Sequence
from typing import cast

from handlers.csv.files import (
    PROCESSING,
    Checkpoint,
    File,
    FileItem,
    FileKeys,
    Item,
    Pointer,
    Progress,
    Upload,
    outputs_of,
)
from handlers.shared.dynamodb import Table

ALERTS_KEPT_SECONDS = 86_400


class LostError(Exception):
    """Another run has taken over the file, so this one must not change it any more."""


class FileTable:
    """The items of files, by id."""

    def __init__(self, name: str) -> None:
        self._table = Table(name)

    def claim(
        self, file: File, owner: str, *, now: int, until: int, started_at: str, expires_at: int
    ) -> FileItem | None:
        """Claim a file for a run. Returns its item; None if the file is done, or another run works on it."""
        first = {"started_at": started_at, **_begun(started_at), **file.upload}
        return self._update(
            file.id,
            {
                "status": PROCESSING,
                "owner": owner,
                "lease_until": until,
                "expires_at": expires_at,
                **_keys(file),
            },
            "attribute_not_exists(id) OR (#status = :status AND lease_until < :now)",
            {"now": now, "none": 0, "one": 1, **first},
            more=", ".join(
                [
                    "attempts = if_not_exists(attempts, :none) + :one",
                    *(f"#{name} = if_not_exists(#{name}, :{name})" for name in first),
                ]
            ),
        )

    def begin_again(
        self, file: File, seen: FileItem, owner: str, *, until: int, started_at: str, upload: Upload
    ) -> FileItem | None:
        """Claim a file that is done as its next generation. Returns None if another run was quicker."""
        generation = seen.get("generation", 0)
        as_seen = "generation = :seen" if "generation" in seen else "attribute_not_exists(generation)"
        previous = sorted({*seen.get("previous_outputs", ()), *outputs_of(seen)})
        begun = {"status": PROCESSING, "owner": owner, "lease_until": until, "attempts": 1, "started_at": started_at}
        kept = {"generation": generation + 1, "previous_outputs": previous, **_keys(file), **upload}
        kept |= _begun(started_at)
        return self._update(
            file.id,
            {**begun, **kept},
            f"#status = :before AND settled = :true AND {as_seen}",
            {"before": seen["status"], "true": True, **({"seen": generation} if "generation" in seen else {})},
            remove=_OF_THE_END,
        )

    def read(self, file_id: str) -> FileItem | None:
        """Return the item of a file, strongly consistent."""
        return cast("FileItem | None", self._table.item({"id": file_id}))

    def checkpoint(self, file_id: str, owner: str, place: Item, *, keep: bool) -> None:
        """Record a Checkpoint; with `keep` the run goes on. Raises LostError."""
        released = {} if keep else {"lease_until": 0}
        self._owned(file_id, owner, {**place, **released, "attempts": 0})

    def progress(self, file_id: str, owner: str, progress: Progress) -> None:
        """Record how far the run is. Raises LostError."""
        self._owned(file_id, owner, {**progress})

    def release(self, file_id: str, owner: str, error: str) -> None:
        """Release a file after a failure, so that the next attempt need not wait for the lease. Raises LostError."""
        self._owned(file_id, owner, {"lease_until": 0, "error": error})

    def restart(self, file_id: str, owner: str) -> None:
        """Remove a checkpoint that cannot be resumed. Raises LostError."""
        self._owned(file_id, owner, {"lease_until": 0}, remove=_CHECKPOINT)

    def finish(self, file_id: str, owner: str, outcome: Item) -> FileItem:
        """Record the outcome of a file. Returns its item. Raises LostError."""
        status_time = f"{outcome['status']}#{outcome['completed_at']}"
        ended = {"status_time": status_time, "settled": False, "lease_until": 0}
        return self._owned(file_id, owner, {"error": None, **outcome, **ended}, remove=_PROGRESS)

    def settle(self, file_id: str) -> None:
        """Record that all notices about the outcome have been sent."""
        self.note(file_id, {"settled": True})

    def note(self, file_id: str, facts: Item) -> None:
        """Record facts about a file that is done, if its item has not expired."""
        self._update(file_id, facts, "attribute_exists(id)", {})

    def claim_alert(self, cause: str, claimant: str) -> bool:
        """Claim the one alert of a cause and minute, for a file or a message; again, for one whose run died since."""
        now = int(time.time())
        minute = {"minute": now // 60, "file_id": claimant, "expires_at": now + ALERTS_KEPT_SECONDS}
        condition = "attribute_not_exists(id) OR #minute < :minute OR file_id = :file_id"
        return self._update(f"alert#{cause}", minute, condition, {}) is not None

    def pointer(self, file: File) -> Pointer | None:
        """Return the pointer to the current outputs of a file's key, strongly consistent."""
        return cast("Pointer | None", self._table.item({"id": _pointer_id(file)}))

    def point(self, file: File, pointer: Pointer, before: Pointer | None) -> bool:
        """Replace the pointer of a file's key. Returns False if it is no longer as it was `before`."""
        condition, values = "attribute_not_exists(id)", {}
        if before:
            # The key of a report holds the id of the file and its generation.
            condition = "report_key = :before AND sequencer = :order"
            values = {"before": before["report_key"], "order": before["sequencer"]}
        changes = {"bucket": file.bucket, "key": file.key, **pointer}
        return self._update(_pointer_id(file), changes, condition, values) is not None

    def _owned(self, file_id: str, owner: str, changes: Item, *, remove: Sequence[str] = ()) -> FileItem:
        condition = "#owner = :own AND #status = :processing"
        item = self._update(file_id, changes, condition, {"own": owner, "processing": PROCESSING}, remove=remove)
        if item is None:
            raise LostError(f"another run has taken over the file {file_id}")
        return item

    def _update(
        self,
        file_id: str,
        changes: Item,
        condition: str,
        values: Item,
        *,
        more: str = "",
        remove: Sequence[str] = (),
    ) -> FileItem | None:
        """Return the item after the update, None if the condition did not hold."""
        assignments = [f"#{name} = :{name}" for name in changes] + ([more] if more else [])
        removed = f" REMOVE {', '.join(f'#{name}' for name in remove)}" if remove else ""
        item = self._table.update(
            {"id": file_id},
            f"SET {', '.join(assignments)}{removed}",
            condition,
            names={*changes, *remove, *re.findall(r"#(\w+)", condition + more)},
            values={**changes, **values},
        )
        return cast("FileItem | None", item)


_PROGRESS = tuple(Progress.__annotations__)
_CHECKPOINT = (*Checkpoint.__annotations__, *_PROGRESS)
_OF_THE_END = (
    "completed_at", "processed", "rejected", "success_rate", "processed_key", "rejected_key", "report_key", "reason",
    "error", "failed_message_id", "removes", "is_current", "supersedes", "superseded_by", "missing_columns",
    "suggestions", "settled", *_CHECKPOINT,
)  # fmt: skip


def _begun(started_at: str) -> Item:
    """Return the keys of a file in the index of days."""
    return {"day": started_at[:10], "status_time": f"{PROCESSING}#{started_at}"}


def _pointer_id(file: File) -> str:
    return f"current:{file.bucket}/{file.key}"


def _keys(file: File) -> FileKeys:
    return {name: getattr(file, name) for name in FileKeys.__annotations__}  # type: ignore[return-value]
