"""Counts of a file's rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.csv.columns import Problem
from handlers.csv.rows import NotARow


@dataclass
class Counts:
    """The counts of a file's rows, and of what is no row."""

    rows: int = 0
    """Rows read, without the header and what is no row."""
    processed: int = 0
    rejected: int = 0
    skipped: Counter[NotARow] = field(default_factory=Counter)
    padding: int = 0
    """NUL and Ctrl-Z characters at the end of the file."""
    trailing_bytes: int = 0
    """Bytes after the compressed content of a gzip file."""
    marks: int = 0
    """Byte order marks before rows."""
    reasons: Counter[tuple[str | None, str]] = field(default_factory=Counter)

    def reject(self, problems: Sequence[Problem]) -> None:
        """Count a rejected row."""
        self.rejected += 1
        self.reasons.update((problem.column, problem.reason) for problem in problems)

    def report(self) -> dict[str, Any]:
        """Return the counts for the report."""
        return {
            "rows": self.rows,
            "processed": self.processed,
            "rejected": self.rejected,
            # Rounded down: only where all rows were processed it is 1.
            "success_rate": self.processed * 10**6 // self.rows / 10**6 if self.rows else None,
            "blank_lines": self.skipped["blank"],
            "comment_lines": self.skipped["comment"],
            "footer_rows": self.skipped["footer"],
            "repeated_headers": self.skipped["repeated_header"],
            "byte_order_marks": self.marks,
            "padding_characters": self.padding,
            "trailing_bytes": self.trailing_bytes,
            "reasons": [
                {"column": column, "reason": reason, "count": count}
                for (column, reason), count in sorted(self.reasons.items(), key=lambda each: (-each[1], str(each[0])))
            ],
        }

    def state(self) -> dict[str, Any]:
        """Return the state for `restored`. JSON can represent it."""
        return {
            **vars(self),
            "skipped": dict(self.skipped),
            "reasons": [[*key, count] for key, count in self.reasons.items()],
        }

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> "Counts":
        """Return the counts of a `state`."""
        reasons = Counter({(column, reason): count for column, reason, count in state["reasons"]})
        return cls(**{**state, "skipped": Counter(state["skipped"]), "reasons": reasons})
