"""Which outputs of a key are current, when an object is put again under the same key.

The pointer of the key moves to the outputs of the newest version that succeeded. With `output.versions: latest` those
of the older ones are removed, after the new ones are complete and the pointer says so. A function that dies in between
goes on with the same steps: what has to be removed is in the item before the pointer moves. Keys of outputs are never
used again for other runs (`FileItem.generation`), so nothing current can be removed.
"""

from collections.abc import Iterable

from handlers.csv import objects
from handlers.csv.files import File, FileItem, FileTable, Pointer
from handlers.shared.dynamodb import TableError

LATEST = "latest"
# Each attempt that fails means that another version of the key was faster.
ATTEMPTS = 5


def is_later(file: File, pointer: Pointer | None) -> bool:
    """Return True if a file is later than what a pointer points to, or if S3 did not say.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html ("sequencer")
    """
    if pointer is None or not pointer["sequencer"] or not file.sequencer:
        return True
    return _order(file.sequencer) >= _order(pointer["sequencer"])


class Versions:
    """The versions of the objects of one pipeline. `kept`: `all` or `latest`."""

    def __init__(self, table: FileTable, bucket: str, kept: str) -> None:
        self._table = table
        self._bucket = bucket
        self._kept = kept

    def is_put_again(self, file: File, item: FileItem) -> bool:
        """Return True if a file was superseded, and the notification says that its object was put once more since."""
        return bool(item.get("superseded_by")) and is_later(file, self._table.pointer(file))

    @property
    def are_kept(self) -> bool:
        """True if the outputs of older versions are kept."""
        return self._kept != LATEST

    def make_current(self, file: File, item: FileItem) -> FileItem:
        """Move the pointer of a file that succeeded, unless a later one did. Returns what is to be told of the file.

        Raises TableError and botocore's errors.
        """
        for _ in range(ATTEMPTS):
            before = self._table.pointer(file)
            if before and before["file_id"] == file.id:
                break
            if not is_later(file, before):
                return self._supersede(file, item, before)
            item = self._note_replaced(file, item, before)
            if self._table.point(file, _pointer(file, item, before), before):
                break
        else:
            raise TableError(f"the pointer of {file.key} changed {ATTEMPTS} times")
        self._remove(item.get("replaces", ()))
        return item

    def _note_replaced(self, file: File, item: FileItem, before: Pointer | None) -> FileItem:
        if before is None:
            return item
        self._table.note(before["file_id"], {"superseded_by": file.id})
        replaced = sorted({*item.get("replaces", ()), *_outputs(before)})
        self._table.note(file.id, {"replaces": replaced, "superseded_by": ""})
        return {**item, "replaces": replaced, "superseded_by": ""}

    def _supersede(self, file: File, item: FileItem, current: Pointer | None) -> FileItem:
        """Record that a later version succeeded before this one, whose outputs are not current."""
        facts = {"superseded_by": current["file_id"] if current else ""}
        self._table.note(file.id, facts)
        self._remove((*item.get("replaces", ()), *_outputs(item)))
        return {**item, **facts}  # type: ignore[typeddict-item]  # facts has keys of the item only

    def _remove(self, keys: Iterable[str]) -> None:
        if not self.are_kept:
            objects.remove(self._bucket, keys)


def _pointer(file: File, item: FileItem, before: Pointer | None) -> Pointer:
    return {
        "file_id": file.id,
        "sequencer": file.sequencer or (before["sequencer"] if before else ""),
        "processed_key": item.get("processed_key"),
        "rejected_key": item.get("rejected_key"),
        "report_key": item["report_key"],
        "completed_at": item["completed_at"],
    }


def _outputs(keys: Pointer | FileItem) -> list[str]:
    return [key for key in (keys.get("processed_key"), keys.get("rejected_key")) if key]


def _order(sequencer: str) -> str:
    return sequencer.lower().ljust(64, "0")
