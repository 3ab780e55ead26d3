"""Reading whole files with the engine."""

from collections.abc import Callable

from handlers.csv.engine import CsvEngine, blocks


def read_all(engine: CsvEngine, read: Callable[[int], bytes]) -> tuple[bytes, bytes]:
    """Return the output of all processed and all rejected rows."""
    done = list(blocks(engine, read))
    return b"".join(block.processed for block in done), b"".join(block.rejected for block in done)
