"""Columns whose values must be unique in a file.

The digests of the values are kept, up to a limit of memory. Beyond it, only the smallest digests are kept. Values with
a larger one are no longer checked, and the report says that the number of duplicates is an estimate. No row is rejected
for a value that is in no other row: two values with the same digest of 96 bits are not to be expected in any file.
"""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Any

from handlers.csv.checks import instant_of, shown
from handlers.csv.columns import Cells, Column, Problem

# Digests kept for all unique columns of a file together; each takes about 100 bytes.
MOST_DIGESTS = 1_000_000
DIGEST_BYTES = 12
_HIGHEST = b"\xff" * DIGEST_BYTES
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class UniqueValues:
    """The values of one column in the processed rows."""

    def __init__(self, column: Column, most: int) -> None:
        self.column = column
        self._most = most
        self._digests: set[bytes] = set()
        self._limit = _HIGHEST
        """Values with a digest above it are not checked."""
        self._duplicates = 0
        self._estimate = 0.0

    def digest(self, cell: str) -> bytes | None:
        """Return the digest of a cell that is to be checked, or None."""
        if not cell:
            return None
        text = _key(self.column.type, cell)
        digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=DIGEST_BYTES).digest()
        return digest if digest <= self._limit else None

    def has(self, digest: bytes | None) -> bool:
        """Return True, and count a duplicate, if the value has been added before."""
        if digest not in self._digests:
            return False
        self._duplicates += 1
        self._estimate += 1 / self._share
        return True

    def add(self, digest: bytes | None) -> None:
        """Add a value."""
        if digest is None or digest > self._limit:
            return
        self._digests.add(digest)
        if len(self._digests) > self._most:
            kept = sorted(self._digests)[: self._most // 2]
            self._digests, self._limit = set(kept), kept[-1]

    @property
    def _share(self) -> float:
        """The share of the values that are checked."""
        return (int.from_bytes(self._limit) + 1) / (int.from_bytes(_HIGHEST) + 1)

    def report(self) -> dict[str, Any]:
        """Return the number of duplicates found and, if not all values could be checked, an estimate."""
        exact = self._limit == _HIGHEST
        report: dict[str, Any] = {"duplicates": self._duplicates, "duplicates_are_exact": exact}
        return report if exact else {**report, "duplicates_estimate": round(self._estimate)}

    def state(self) -> dict[str, Any]:
        """Return the state for `restore`. JSON can represent it."""
        return {
            "digests": base64.b64encode(b"".join(sorted(self._digests))).decode(),
            "limit": self._limit.hex(),
            "duplicates": self._duplicates,
            "estimate": self._estimate,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a `state`."""
        digests = base64.b64decode(state["digests"])
        self._digests = {digests[start : start + DIGEST_BYTES] for start in range(0, len(digests), DIGEST_BYTES)}
        self._limit = bytes.fromhex(state["limit"])
        self._duplicates, self._estimate = state["duplicates"], state["estimate"]


def unique_columns(columns: Sequence[Column]) -> dict[int, UniqueValues]:
    """Return the values of the unique ones of the output's columns, by position. They share the limit."""
    wanted = [position for position, column in enumerate(columns) if column.unique]
    return {position: UniqueValues(columns[position], max(2, MOST_DIGESTS // len(wanted))) for position in wanted}


def find_duplicates(
    unique: Mapping[int, UniqueValues], columns: Sequence[Cells], count: int
) -> dict[int, list[Problem]]:
    """Return the problems of rows with a value of an earlier row. `columns`: those of the output for `count` rows."""
    checked = [(values, columns[position] or [""] * count) for position, values in unique.items()]
    problems: dict[int, list[Problem]] = {}
    for row in range(count):
        digests = [(values, values.digest(column[row])) for values, column in checked]
        if repeated := [values.column.name for values, digest in digests if digest and values.has(digest)]:
            problems[row] = [
                Problem(values.column.name, "not_unique", f"{shown(column[row])} is in an earlier row, too")
                for values, column in checked
                if values.column.name in repeated
            ]
            continue
        for values, digest in digests:
            values.add(digest)
    return problems


def _key(column_type: str, cell: str) -> str:
    """Return a text that is the same for all spellings of a value."""
    if column_type in ("number", "decimal"):
        # Decimal.normalize would round.
        sign, digits, exponent = Decimal(cell).as_tuple()
        text = "".join(map(str, digits))
        significant = text.rstrip("0")
        shift = int(exponent) + len(text) - len(significant)
        return f"{sign} {significant.lstrip('0')} {shift}" if significant else "0"
    if column_type == "datetime":
        # Digits beyond a microsecond are not in the datetime.
        fraction = cell.partition(".")[2].rstrip("Z").partition("+")[0].partition("-")[0]
        return f"{instant_of(cell) - _EPOCH} {fraction[6:].rstrip('0')}"
    return cell
