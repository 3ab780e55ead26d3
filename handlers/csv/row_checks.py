"""Problems of rows as a whole, and lines that are no rows: blank ones, footers, repeated headers."""

from collections.abc import Sequence

from handlers.csv.columns import FileFormat, Problem
from handlers.csv.dialect import Dialect
from handlers.csv.plan import named_width
from handlers.csv.rows import ParsedRows, has_invalid_characters, invalid_character


class RowChecks:
    """The checks of a file's rows."""

    def __init__(self, header: Sequence[str], dialect: Dialect, encoding: str, file_format: FileFormat) -> None:
        self._header = list(header)
        self._width = len(header)
        self._named = named_width(header)
        self._dialect = dialect
        self._encoding = encoding
        self._format = file_format

    def check(self, parsed: ParsedRows, text: str) -> None:
        """Find the problems of whole rows, and what is no row. `text` contains all the rows."""
        self._find_empty(parsed)
        self._find_repeated_headers(parsed)
        self._check_widths(parsed)
        if self._format.quoting is None and self._dialect.delimiter == "\t" and self._dialect.quote in text:
            self._check_quoting(parsed)
        if has_invalid_characters(text):
            self._check_characters(parsed)

    def _find_empty(self, parsed: ParsedRows) -> None:
        """Find rows of nothing but delimiters, and of spaces if the number of cells is wrong, too."""
        has_width = list(map(self._width.__eq__, map(len, parsed.rows)))
        if self._width == 1 or (all(has_width) and all(map(any, parsed.rows))):
            return
        for position, row in enumerate(parsed.rows):
            if any(row) and (has_width[position] or any(map(str.strip, row))):
                continue
            if not row or position in parsed.problems:
                continue
            # A quoted cell is written on purpose, even if it is empty.
            if parsed.raw(position).replace(self._dialect.delimiter, "").strip(" \t"):
                continue
            if self._format.empty_rows == "skip":
                parsed.skip(position, "blank")
            else:
                parsed.problems[position] = [
                    Problem(None, "empty_row", "the row has nothing but delimiters (input.empty_rows)")
                ]

    def _find_repeated_headers(self, parsed: ParsedRows) -> None:
        """Find header lines of files that were appended to another one."""
        rows = parsed.rows
        position = -1
        for _ in range(rows.count(self._header)):
            position = rows.index(self._header, position + 1)
            parsed.skip(position, "repeated_header")

    def _check_widths(self, parsed: ParsedRows) -> None:
        width = self._width
        lengths = list(map(len, parsed.rows))
        if lengths.count(width) == len(lengths) and width == self._named:
            return
        for position, length in enumerate(lengths):
            if (length == width == self._named) or position in parsed.problems or position in parsed.skipped:
                continue
            row = parsed.rows[position]
            if length == 0:
                parsed.skip(position, "blank")
            elif self._named <= length <= width and width > self._named:
                self._check_nameless(parsed, position)
            elif length < width and self._format.short_rows == "pad":
                row += [""] * (width - length)
            elif self._format.long_rows == "drop_empty_cells" and length > width and not any(row[width:]):
                del row[width:]
            else:
                reason, relation = ("too_few_cells", "fewer") if length < width else ("too_many_cells", "more")
                message = f"the row has {length} cells, {relation} than the header's {width}"
                if length < width:
                    message += " (input.short_rows)"
                elif not any(row[width:]):
                    message += ", all empty (input.long_rows)"
                parsed.problems[position] = [Problem(None, reason, message)]

    def _check_nameless(self, parsed: ParsedRows, position: int) -> None:
        """Check that the columns without names at the end of the header are empty, unless unknown ones are dropped."""
        row = parsed.rows[position]
        filled = next((place for place in range(self._named, len(row)) if row[place]), None)
        if filled is not None and self._format.unknown_columns != "drop":
            message = f"column {filled + 1} has a value but no name in the header (input.unknown_columns)"
            parsed.problems[position] = [Problem(None, "nameless_column", message)]
        row += [""] * (self._width - len(row))

    def _check_quoting(self, parsed: ParsedRows) -> None:
        """Find rows of several lines each of which is a row by itself if quotes are text.

        Programs that write tab-separated files often do not quote, so a quote may be a sign of inches.
        """
        if self._width == 1 or len(parsed.starts) == parsed.starts[-1] - parsed.starts[0] + 1:
            return
        for position, start in enumerate(parsed.starts[:-1]):
            lines = [parsed.text(line, line + 1) for line in range(start, parsed.starts[position + 1])]
            if len(lines) > 1 and all(line.count("\t") == self._width - 1 for line in lines):
                parsed.problems[position] = [
                    Problem(
                        None,
                        "ambiguous_quoting",
                        f"the quotes may enclose a line break, or be text in {len(lines)} rows: set input.quoting to "
                        "standard or none",
                    )
                ]

    def _check_characters(self, parsed: ParsedRows) -> None:
        for position, row in enumerate(parsed.rows):
            if position not in parsed.problems and (invalid := invalid_character("".join(row))):
                parsed.problems[position] = [
                    Problem(None, "nul", "the row has a NUL character")
                    if invalid == "\0"
                    else Problem(None, "undecodable", f"the row is not text in {self._encoding} (input.encodings)"),
                ]
