"""Footers: rows at the end of a file that are not data.

Only the end of the file shows where a footer begins. Rows that may belong to it are left out of a block, and read again
with the next one.
"""

from handlers.csv.columns import Footer, Problem
from handlers.csv.rows import ParsedRows
from handlers.csv.text import LONGEST_ROW_BYTES, FileError


def take_footer(parsed: ParsedRows, footer: Footer, *, final: bool, full: bool) -> None:
    """Mark the footer of a file in the rows of its `final` block; cut what may be a footer from other blocks.

    `full`: the block has the maximum size, so it must not lose all its rows. Raises FileError.
    """
    if footer.last_rows:
        _take_last_rows(parsed, footer.last_rows, final=final, full=full)
    if footer.starts_with:
        _take_rows_like(parsed, footer.starts_with, final=final, full=full)


def without_last_lines(text: str, count: int) -> str:
    """Return a text of complete lines without the last ones."""
    end = len(text)
    for _ in range(count):
        end = text.rfind("\n", 0, max(end - 1, 0)) + 1
    return text[:end]


def _take_last_rows(parsed: ParsedRows, count: int, *, final: bool, full: bool) -> None:
    rows = [position for position in range(len(parsed.rows)) if position not in parsed.skipped]
    held = rows[-count:]
    if final:
        for position in held:
            parsed.skip(position, "footer")
    elif full and len(rows) <= count:
        raise FileError(
            "footer_too_long",
            f"the last {count} rows (input.footer.last_rows) have more than {LONGEST_ROW_BYTES} bytes",
        )
    else:
        parsed.cut(held[0] if held else 0)


def _take_rows_like(parsed: ParsedRows, texts: tuple[str, ...], *, final: bool, full: bool) -> None:
    like = [
        position
        for position in range(len(parsed.rows))
        if position not in parsed.skipped and parsed.begins_with(position, texts)
    ]
    held = _at_end(parsed, like)
    if final:
        for position in held:
            parsed.skip(position, "footer")
    elif full and held and held[0] == 0:
        held = []
    elif held:
        parsed.cut(held[0])
    for position in like[: len(like) - len(held)]:
        parsed.problems[position] = [
            Problem(
                None,
                "footer_before_rows",
                "the row begins like the footer (input.footer.starts_with), but other rows follow it",
            )
        ]


def _at_end(parsed: ParsedRows, like: list[int]) -> list[int]:
    """Return those of the positions that only each other and lines that are no rows follow."""
    position = len(parsed.rows)
    first = len(like)
    while position and (position - 1 in parsed.skipped or (first and like[first - 1] == position - 1)):
        position -= 1
        first -= position not in parsed.skipped
    return like[first:]
