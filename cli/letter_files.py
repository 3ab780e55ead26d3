"""Files of dead letters, one JSON object a line, and the record of who purged them."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cli.core.json_text import parse_object
from cli.core.private_file import private_file
from cli.core.record import Record
from cli.core.stack import Stack
from handlers.shared.letters import Found, Wanted
from handlers.shared.queues import Outgoing
from local.errors import LocalError


class LetterFile:
    """A new file of dead letters: it holds whole events."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.written = 0

    def write(self, found: Sequence[Found]) -> None:
        """Write letters, and return when they are on the disk."""
        for each in found:
            letter = each.letter
            line = {
                **each.described(),
                "error": each.cause.error,
                "sent_at": datetime.fromtimestamp(letter.sent_at, UTC).isoformat(timespec="milliseconds"),
                "group": letter.group,
                "attributes": dict(letter.attributes),
                "body": letter.body,
            }
            self._file.write(f"{json.dumps(line)}\n".encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.written += len(found)


@contextmanager
def new_letter_file(path: Path) -> Iterator[LetterFile]:
    """Create a file of dead letters; nothing is overwritten. An empty one is removed. Raises LocalError."""
    with private_file(path) as file:
        letters = LetterFile(file)
        try:
            yield letters
        finally:
            if not letters.written:
                path.unlink()


def export_name(stack: str) -> Path:
    """Return where a purge keeps what it deletes, if nothing else was said."""
    return Path(f"dead-letters-{stack}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.jsonl")


def read_letters(path: str) -> Iterator[Outgoing]:
    """Yield the messages of a file of dead letters, as they were. Raises LocalError that names the line."""
    try:
        with Path(path).open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                given = parse_object(line, f"{path}:{number}")
                try:
                    yield Outgoing(given["body"], given["attributes"], given["group"], given["message_id"])
                except KeyError as error:
                    raise LocalError(f"{path}:{number} is no exported dead letter: it has no {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise LocalError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error


class PurgeRecord(Record):
    """Records of a purge."""

    def __init__(self, stack: Stack, wanted: Wanted, file: Path | None) -> None:
        given = {name: value for name, value in asdict(wanted).items() if value}
        if wanted.field:
            # Its value is of an event, and may be a person's name.
            given["field"] = wanted.field[0]
        facts = {"filter": given, "exported_to": None if file is None else str(file)}
        super().__init__(stack, "purge", ("dead letters are being purged", "dead letters were purged"), facts)
