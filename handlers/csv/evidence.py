"""A bounded sample of what was rejected, from which suggestions are made."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

from handlers.csv.columns import Problem

SAMPLES = 50
SAMPLES_OF_ALL = 2_000
LONGEST_SAMPLE = 200
# Rows that are looked at: in a large file nearly all that are rejected look like the first ones.
ROWS = 10_000

Cause = tuple[str | None, str]
"""Column and reason."""


class Evidence:
    """The first different cells that were rejected for each cause; of whole rows, their text."""

    def __init__(self) -> None:
        self._samples: dict[Cause, dict[str, None]] = {}
        self._count = 0
        self._rows = 0
        self.of_header: list[Mapping[str, Any]] = []
        """Suggestions for a file whose header was not found, which ends at once."""

    def add(self, problems: Sequence[Problem], raw: str) -> None:
        """Keep the cells of a rejected row, or its text, if there is room."""
        if self._count >= SAMPLES_OF_ALL or self._rows >= ROWS:
            return
        self._rows += 1
        for problem in problems:
            samples = self._samples.setdefault((problem.column, problem.reason), {})
            text = raw if problem.cell is None else problem.cell
            if len(samples) < SAMPLES and len(text) <= LONGEST_SAMPLE and text not in samples:
                samples[text] = None
                self._count += 1

    def of(self, cause: Cause) -> list[str]:
        """Return the samples of a cause."""
        return list(self._samples.get(cause, ()))

    def state(self) -> list[Any]:
        """Return the state for `restored`. JSON can represent it."""
        return [self._rows, [[*cause, list(samples)] for cause, samples in self._samples.items()]]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Self:
        """Return the evidence of a `state`."""
        evidence = cls()
        evidence._samples = {(column, reason): dict.fromkeys(samples) for column, reason, samples in state[1]}
        evidence._rows = state[0]
        evidence._count = sum(map(len, evidence._samples.values()))
        return evidence


def suggestion(setting: str, values: Sequence[Any], reason: str) -> Mapping[str, Any]:
    """Return a suggestion to set a key of the stack file to one of the values."""
    return {"setting": setting, "values": list(values), "reason": reason}
