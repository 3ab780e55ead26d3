"""Properties of the engine under all options together: every row in exactly one place, whatever the blocks."""

import io
import json
from typing import Any
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from handlers.csv import engine as engine_module
from handlers.csv.columns import Column, FileFormat, Footer
from handlers.csv.engine import CsvEngine, blocks
from handlers.csv.text import FileError, OtherEncodingError
from tests.handlers.csv.reading import read_all

COLUMNS = (Column("a", required=True), Column("b"), Column("n", "integer"))
# The last column, with options of its own.
LAST = (
    Column("n", "integer", unique=True),
    Column("n", "number", decimal=",", group=".", strip=("€", " ")),
    Column("n", "date", format=("%d.%m.%Y", "%m/%d/%Y"), min="2000-01-01"),
    Column("n", "datetime", format=("%d.%m.%Y",), null_values=("1",), unique=True),
    Column("n", "boolean", true_values=("x",), false_values=("q",)),
    Column("n", min=1, max=3, choices=("1", "x")),
)
TOKENS = [
    *('"', '""', "'", "\\", "x", "é", " ", ",", ",", "\t", "||", "\n", "\n", "\n", "\r\n", "\r", "\0", "1", "#"),
    *("Total", "\\N", "\ufeff", "a,b,n\n", "q,r,1\n", "q||r||1\n", "q\tr\t1\n", "\x1a", "\udcff", "\ufeffa,b,n"),
    *(
        "1.234,5 €",
        "1e308",
        "01.02.2024",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31",
        "q,r,-1e308\n",
        "q,r,5e-324\n",
        '"1.5"',
    ),
]


def format_of(options: dict[str, Any]) -> FileFormat:
    return FileFormat(**{"columns": COLUMNS, **options})


formats = st.fixed_dictionaries(
    {},
    optional={
        "columns": st.sampled_from(LAST).map(lambda column: (*COLUMNS[:2], column)),
        "encodings": st.sampled_from([("latin-1",), ("utf-8", "windows-1252")]),
        "header": st.sampled_from(["first", "find", "none"]),
        "skip_lines": st.integers(0, 3),
        "comment": st.sampled_from(["#", "x"]),
        "footer": st.sampled_from([Footer(last_rows=1), Footer(last_rows=3), Footer(starts_with=("Total", "x"))]),
        "delimiter": st.sampled_from([",", "\t", "||"]),
        "quote": st.just("'"),
        "escape": st.just("\\"),
        "escape_style": st.sampled_from(["literal", "mysql", "postgres"]),
        "quoting": st.sampled_from(["standard", "none"]),
        "skip_initial_space": st.just(value=True),
        "line_ending": st.just("any"),
        "short_rows": st.just("pad"),
        "long_rows": st.just("drop_empty_cells"),
        "empty_rows": st.just("reject"),
        "null_values": st.just(("x",)),
        "unknown_columns": st.sampled_from(["keep", "drop", "reject"]),
    },
).map(format_of)
bodies = st.lists(st.sampled_from(TOKENS), max_size=60).map("".join)
heads = st.sampled_from(
    ["", "a,b,n\n", "a\tb\tn\r\n", "a||b||n\n", "n,a,b\n", "a,b,n,,\n", "#1\n\na,b,n\n", "sep=;\na;b;n\n"]
)


def outcome(data: bytes, file_format: FileFormat, size: int, *, resume: bool, position: int = 0) -> Any:
    """Read data in blocks of a size. `resume`: each block is read by a new engine, from the state of the last one."""
    processed, rejected, engine = b"", b"", CsvEngine(file_format, encoding_position=position)
    try:
        with patch.object(engine_module, "BLOCK_BYTES", size):
            if not resume:
                processed, rejected = read_all(engine, io.BytesIO(data).read)
            while resume:
                stream = io.BytesIO(data)
                stream.seek(engine.offset)
                block = next(blocks(engine, stream.read), None)
                if block is None:
                    break
                processed, rejected = processed + block.processed, rejected + block.rejected
                engine = CsvEngine(file_format, json.loads(json.dumps(engine.state())))
    except FileError as error:
        return error.reason
    except OtherEncodingError:
        return outcome(data, file_format, size, resume=resume, position=engine.encoding_position + 1)
    assert engine.offset == len(data)
    assert engine.rows == engine.processed + engine.rejected
    assert (processed.count(b"\n"), rejected.count(b"\n")) == (engine.processed, engine.rejected)
    report = engine.report()
    json.dumps(report, allow_nan=False)
    return processed, rejected, report


@given(file_format=formats, head=heads, body=bodies, size=st.integers(1, 50))
def test_neither_blocks_nor_checkpoints_change_what_is_read(
    file_format: FileFormat, head: str, body: str, size: int
) -> None:
    data = (head + body).encode("utf-8", "surrogateescape")
    whole = outcome(data, file_format, 2**18, resume=False)
    assert outcome(data, file_format, size, resume=False) == whole
    assert outcome(data, file_format, size, resume=True) == whole
