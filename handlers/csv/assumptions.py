"""Assumptions made from the file where the configuration is silent."""

from handlers.csv.columns import FileFormat
from handlers.csv.table import Table


def assumptions(
    file_format: FileFormat, encoding: str, encoding_position: int, table: Table | None
) -> list[dict[str, str]]:
    """Return the settings that the file decides, with their values and the reasons."""
    found = []
    if tried := ", ".join(file_format.encodings[:encoding_position]):
        reason = f"the file is not in {tried}"
        if encoding_position == len(file_format.encodings):
            reason = f"the file is in none of {tried}; rows that are not in the first one are rejected"
        found.append({"setting": "input.encodings", "value": encoding, "reason": reason})
    if table and table.delimiter_is_detected and len(table.header) > 1:
        reason = "of the delimiters tried, it yields most of the configured columns"
        found.append({"setting": "input.delimiter", "value": table.delimiter, "reason": reason})
    return found
