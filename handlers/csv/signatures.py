"""Files that are not CSV, recognised by how they begin."""

import re

from handlers.csv.text import FileError

_ZIP = b"PK\x03\x04"
_EXCEL_PARTS = (b"[Content_Types].xml", b"xl/", b"_rels/", b"docProps/")
_NAME_OFFSET = 30

_BINARY = (
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook (xls) or another Office document", "export it as CSV"),
    (b"BZh91AY&SY", "compressed with bzip2", "send it as it is or compressed with gzip"),
    (b"\xfd7zXZ\x00", "compressed with xz", "send it as it is or compressed with gzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with Zstandard", "send it as it is or compressed with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "send the CSV file in it"),
    (b"\x1f\x8b", "compressed twice with gzip", "compress it once"),
    (b"%PDF-", "a PDF document", "export the table as CSV"),
    (b"PAR1", "a Parquet file", "export it as CSV"),
)
_TEXT = (
    (re.compile(r"\s*<(?:!doctype\s+html|html|head|body|table)\b", re.IGNORECASE).match, "an HTML page"),
    (re.compile(r"\s*<\?xml\b", re.IGNORECASE).match, "an XML document"),
    (re.compile(r'\s*(?:\{\s*(?:"[^"\n]*"\s*:|\}|$)|\[\s*(?:[\[{]|\n))').match, "a JSON document"),
)


def refuse_binary(start: bytes) -> None:
    """Raise FileError if a file begins like a binary format that is often uploaded as CSV."""
    if start.startswith(_ZIP):
        if start[_NAME_OFFSET:].startswith(_EXCEL_PARTS):
            raise _not_csv("an Excel workbook (xlsx)", "export it as CSV")
        raise _not_csv("a ZIP archive (or an Excel workbook)", "send the CSV file in it, or export it as CSV")
    for signature, kind, advice in _BINARY:
        if start.startswith(signature):
            raise _not_csv(kind, advice)


def refuse_markup(start: str) -> None:
    """Raise FileError if a text begins like HTML, XML or JSON."""
    for matches, kind in _TEXT:
        if matches(start):
            raise _not_csv(kind, "send a CSV file with a header line")


def _not_csv(kind: str, advice: str) -> FileError:
    return FileError("not_csv", f"the file is not CSV; it is {kind}: {advice}")
