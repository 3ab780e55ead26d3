"""Reading whole files with the engine."""

from collections.abc import Callable
from typing import BinaryIO

from handlers.csv.columns import FileFormat
from handlers.csv.content import Content
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.text import OtherEncodingError


def read_all(engine: CsvEngine, read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """Return the output of all processed and all rejected rows."""
    done = list(blocks(engine, read))
    return b"".join(block.processed for block in done), b"".join(block.rejected for block in done)


def read_file(file: BinaryIO, file_format: FileFormat) -> tuple[CsvEngine, bytes, bytes]:
    """Read a file in the encoding that fits. Return the engine, and the processed and rejected rows."""
    position = 0
    while True:
        file.seek(0)
        engine = CsvEngine(file_format, encoding_position=position)
        content = Content(file.read, file_format.max_expansion, engine.encoding)
        try:
            processed, rejected = read_all(engine, content.read)
        except OtherEncodingError:
            position += 1
            continue
        engine.counts.trailing_bytes = content.trailing_bytes
        return engine, processed, rejected
