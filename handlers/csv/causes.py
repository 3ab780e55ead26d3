"""Causes of the dead letters of the csv variant."""

from collections.abc import Sequence

from handlers.csv.file_table import FileTable
from handlers.csv.files import SUCCEEDED, UnreadableNotificationError, read_notification
from handlers.shared import aws
from handlers.shared.letters import SUCCEEDED_SINCE, UNKNOWN, Cause, Letter, recorded

UNREADABLE_FILE = "unreadable"


class FileCauses:
    """Explain why messages of files are dead. Error types are the reasons in reports."""

    def __init__(self, table_name: str) -> None:
        self._table = FileTable(table_name)

    def __call__(self, letters: Sequence[Letter]) -> list[Cause]:
        """Return the causes, in order. Raises `outside_errors`."""
        return aws.each(lambda letter: recorded(letter, "file_id") or self._of_files(letter), letters)

    def _of_files(self, letter: Letter) -> Cause:
        """Return the cause of the first file that has one. S3 usually announces one file in a message."""
        try:
            files = read_notification(letter.body)
        except UnreadableNotificationError as error:
            return Cause(None, UNREADABLE_FILE, str(error))
        items = [item for file in files if (item := self._table.read(file.id))]
        for item in items:
            if item["status"] != SUCCEEDED:
                return Cause(item["id"], item.get("reason") or UNKNOWN, item.get("error"), item.get("attempts"))
        return Cause(files[0].id if files else None, UNKNOWN, SUCCEEDED_SINCE if items else None)
