"""Why the messages of files are dead."""

from collections.abc import Sequence

from handlers.csv.files import SUCCEEDED, FileTable, UnreadableNotificationError, read_notification
from handlers.shared import aws
from handlers.shared.dead_letters import SUCCEEDED_SINCE, UNKNOWN, Cause, Letter, recorded

UNREADABLE_FILE = "unreadable"


class FileCauses:
    """Of files. Error types are the reasons of reports."""

    def __init__(self, table_name: str) -> None:
        self._table = FileTable(table_name)

    def __call__(self, letters: Sequence[Letter]) -> list[Cause]:
        """See Explain."""
        return aws.each(lambda letter: recorded(letter, "file_id") or self._of_files(letter), letters)

    def _of_files(self, letter: Letter) -> Cause:
        """S3 announces one file a message, as a rule; of several it is the first that something is known of."""
        try:
            files = read_notification(letter.body)
        except UnreadableNotificationError as error:
            return Cause(None, UNREADABLE_FILE, str(error))
        items = [item for file in files if (item := self._table.read(file.id))]
        for item in items:
            if item["status"] != SUCCEEDED:
                return Cause(item["id"], item.get("reason") or UNKNOWN, item.get("error"))
        return Cause(files[0].id if files else None, UNKNOWN, SUCCEEDED_SINCE if items else None)
