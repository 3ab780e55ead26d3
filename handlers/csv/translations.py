"""Cells of local spellings, rewritten for the checks: null tokens, decimal commas, currency signs, boolean words."""

import re
from collections.abc import Callable, Sequence

from handlers.csv.checks import CellError, Check, Reading, shown
from handlers.csv.columns import Column, Problem


class TranslatingCheck(Check):
    """Rewrite cells, then apply another check. It costs about as much as that check."""

    def __init__(self, column: Column, check: Check, null_values: Sequence[str]) -> None:
        super().__init__(column)
        self._check = check
        self._nulls = frozenset(null_values)
        self._translate = _translation(column)

    def read(self, cells: Sequence[str]) -> Reading:  # noqa: D102
        refused: dict[str, CellError] = {}
        texts: dict[str, str] = {}
        for cell in set(cells):
            try:
                texts[cell] = self._rewritten(cell)
            except CellError as error:
                refused[cell] = error
        # A refused cell is checked as it stands; its problem here replaces the outcome of the check.
        rewritten = [texts.get(cell, cell) for cell in cells]
        reading = self._check.read(rewritten)
        if refused:
            for position, cell in enumerate(cells):
                if refusal := refused.get(cell):
                    reading.problems[position] = Problem(self.column.name, refusal.reason, str(refusal), cell)
        changed = {
            position: text
            for position, (cell, text) in enumerate(zip(cells, rewritten, strict=True))
            if text is not cell and text != cell
        }
        reading.changed = changed | reading.changed
        return reading

    def _rewritten(self, cell: str) -> str:
        if cell in self._nulls:
            return ""
        return self._translate(cell) if cell else cell


def needs_translation(column: Column, null_values: Sequence[str]) -> bool:
    """Return True if cells of the column must be rewritten before they are checked."""
    rules = (column.decimal, column.group, column.strip, column.true_values, column.false_values)
    return any(null_values) or any(rules)


def _translation(column: Column) -> Callable[[str], str]:
    if column.type == "boolean":
        words = dict.fromkeys(column.true_values, "true") | dict.fromkeys(column.false_values, "false")
        return lambda cell: words.get(cell, cell)
    if column.decimal or column.group or column.strip:
        return _NumberTranslation(column)
    return lambda cell: cell


class _NumberTranslation:
    """Return a number with a decimal point and without groups and signs of units. Raises CellError."""

    def __init__(self, column: Column) -> None:
        self._strip = column.strip
        self._group = column.group or ""
        decimal = re.escape(column.decimal or ".")
        grouped = rf"[0-9]{{1,3}}(?:{re.escape(self._group)}[0-9]{{3}})+|" if self._group else ""
        self._parse = re.compile(rf"([+-]?)({grouped}[0-9]*)(?:{decimal}([0-9]*))?([eE][+-]?[0-9]+)?").fullmatch
        self._settings = f"decimal {column.decimal or '.'!r} and group {self._group or 'none'!r}"

    def __call__(self, cell: str) -> str:
        text = self._stripped(cell)
        if text.startswith("(") and text.endswith(")"):
            text = f"-{self._stripped(text[1:-1])}"
        match = self._parse(text)
        if match is None or not (match[2] or match[3]):
            raise CellError(
                "number_format",
                f"{shown(cell)} is not a number with {self._settings}; see decimal, group and strip of the column",
            )
        whole = match[2].replace(self._group, "") if self._group else match[2]
        fraction = "" if match[3] is None else f".{match[3]}"
        return f"{match[1]}{whole}{fraction}{match[4] or ''}"

    def _stripped(self, text: str) -> str:
        before = None
        while text != before:
            before = text
            for sign in self._strip:
                text = text.removeprefix(sign).removesuffix(sign)
        return text
