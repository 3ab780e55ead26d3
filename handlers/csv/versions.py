"""Which outputs of a key are current, when an object is put again under the same key, or read again.

The pointer of the key moves to the outputs of the newest version that succeeded. Outputs that no longer apply are
removed after the new ones are complete and the pointer says so: those of earlier generations of the file, and with
`output.versions: latest` those of older versions. A function that dies in between goes on with the same steps: what has
to be removed is in the item before the pointer moves. Keys of outputs are never used again for other runs
(`FileItem.generation`), so nothing current can be removed.
"""

from typing import Any

from handlers.csv import objects
from handlers.csv.file_table import FileTable
from handlers.csv.files import SKIPPED, SUCCEEDED, File, FileItem, Item, Pointer, Upload, outputs_of
from handlers.shared.dynamodb import TableError

LATEST = "latest"
# Each attempt that fails means that another version of the key was faster.
ATTEMPTS = 5


def is_later(upload: Upload | FileItem, other: Upload | FileItem | Pointer | None) -> bool:
    """Return True if an object was put after another one, or at the same time, or if S3 did not say.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html ("sequencer")
    """
    for name in ("sequencer", "uploaded_at"):
        mine, theirs = upload.get(name), other.get(name) if other else None
        if mine and theirs:
            return _order(str(mine)) >= _order(str(theirs))
    return True


def later(file: File, item: FileItem) -> Upload:
    """Return the later upload of a content: that of a notification, or the one in the item."""
    upload: Upload = {"sequencer": item.get("sequencer", ""), "uploaded_at": item.get("uploaded_at", "")}
    # A request to reprocess has no sequencer.
    is_known = upload["sequencer"] and not file.upload["sequencer"]
    return upload if is_known or not is_later(file.upload, upload) else file.upload


class Versions:
    """The versions of the objects of one pipeline. `kept`: `all` or `latest`."""

    def __init__(self, table: FileTable, bucket: str, kept: str) -> None:
        self._table = table
        self._bucket = bucket
        self._kept = kept

    def must_be_read_again(self, file: File, item: FileItem) -> bool:
        """Return True if an object that is put again has to be read: it was not read, or its outputs were removed."""
        if item["status"] == SKIPPED:
            return _is_put_again(file, item)
        is_superseded = bool(item.get("superseded_by")) and self._kept == LATEST
        return is_superseded and is_later(file.upload, self._table.pointer(file))

    def expected(self, file: File, item: FileItem) -> Item:
        """Return the place of a file that succeeds, unless the pointer moves before it is made current."""
        return self._place(file, item, self._table.pointer(file))

    def _place(self, file: File, item: FileItem, before: Pointer | None) -> Item:
        """Return what an item says of its place among the versions, and which outputs go."""
        upload = later(file, item)
        removed = {*item.get("removes", ()), *item.get("previous_outputs", ())}
        is_same = before is not None and before["file_id"] == file.id
        if before is not None and not is_same and not is_later(upload, before):
            removed |= {*outputs_of(item)} if self._kept == LATEST else set()
            return {"is_current": False, "superseded_by": before["file_id"], "removes": sorted(removed)}
        facts: dict[str, Any] = {"is_current": True, "superseded_by": "", **upload}
        if before is not None:
            # The same PUT, under an id of before ids named the content.
            is_same_put = before["sequencer"] == upload["sequencer"] != ""
            if is_same or is_same_put or self._kept == LATEST:
                removed |= {*outputs_of(before)} - {*outputs_of(item)}
            if not is_same:
                facts["supersedes"] = before["file_id"]
        return {**facts, "removes": sorted(removed - {*outputs_of(item)})}

    def make_current(self, file: File, item: FileItem) -> FileItem:
        """Move the pointer to a file that succeeded, unless a later one did. Returns the file's item.

        Raises TableError and botocore's errors.
        """
        for _ in range(ATTEMPTS):
            before = self._table.pointer(file)
            pointer = _pointer(file, item)
            if before and (before["report_key"], before["sequencer"]) == (pointer["report_key"], pointer["sequencer"]):
                break
            # Not by generation, which begins anew when the item has expired.
            if before and before["file_id"] == file.id and before["completed_at"] > item["completed_at"]:
                break
            facts = self._place(file, item, before)
            if any(item.get(name) != value for name, value in facts.items()):
                self._table.note(file.id, facts)
                item = {**item, **facts}  # type: ignore[typeddict-item]  # facts has keys of the item only
            if not facts["is_current"]:
                break
            if before and before["file_id"] != file.id:
                self._table.note(before["file_id"], {"superseded_by": file.id, "is_current": False})
            if self._table.point(file, pointer, before):
                break
        else:
            raise TableError(f"the pointer of {file.key} changed {ATTEMPTS} times")
        objects.remove(self._bucket, item.get("removes", ()))
        return item

    def take_notice(self, file: File, item: FileItem) -> None:
        """Take a notification about a file that is done: its object may have been put again."""
        if item["status"] == SUCCEEDED and _is_put_again(file, item):
            self.make_current(file, item)


def _is_put_again(file: File, item: FileItem) -> bool:
    sequencer = file.upload["sequencer"]
    return bool(sequencer) and _order(sequencer) > _order(item.get("sequencer", ""))


def _pointer(file: File, item: FileItem) -> Pointer:
    return {
        "file_id": file.id,
        "generation": item.get("generation", 0),
        **later(file, item),
        "processed_key": item.get("processed_key"),
        "rejected_key": item.get("rejected_key"),
        "report_key": item["report_key"],
        "completed_at": item["completed_at"],
    }


def _order(mark: str) -> str:
    return mark.lower().ljust(64, "0")
