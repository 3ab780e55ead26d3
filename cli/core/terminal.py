"""Text of clients, files, devices and services, printed so that a terminal shows it and does not obey it.

Terminals execute escape sequences (move the cursor, set the title, paste), and Rich reads square brackets as markup.
https://cwe.mitre.org/data/definitions/150.html
"""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.text import Text

# Keyword arguments of every Rich table.
TABLE: dict[str, Any] = {"title_justify": "left", "box": box.SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}


def inert(text: str) -> str:
    r"""Return a text as one line, its unprintable characters as escapes: `\x1b`, `\n`, `\u2028`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def cell(text: str) -> Text:
    """Return a text as a cell of a Rich table."""
    return Text(inert(text))


def label(text: str) -> str:
    """Return a text as the label of a Rich progress bar or the title of a table, which would read markup."""
    return escape(inert(text))


def write_lines(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Print lines as they are: no markup, no wrapping, so that ids can be copied."""
    (sys.stderr if to_stderr else sys.stdout).writelines(f"{inert(line)}\n" for line in lines)


def write_fields(fields: Mapping[str, Any]) -> None:
    """Print names and values in two columns. A status and an error are coloured."""
    width = max(map(len, fields), default=0)
    write_styled((f"{name:<{width}}  {value}" for name, value in fields.items()), Console())


_STYLES = {
    "green": ("succeeded", "recovered", "returned"),
    "yellow": ("warning", "retrying", "queued"),
    "red": ("rejected:", "failed", "error", "critical", "conflict", "unreadable", "crossed", "silent"),
}
_styled = {word: style for style, words in _STYLES.items() for word in words}


def write_styled(lines: Iterable[str], console: Console) -> None:
    """Print lines as they are, coloured by the outcome that they name first. Rich respects NO_COLOR and pipes."""
    for line in lines:
        style = next((_styled[word] for word in line.split()[:3] if word in _styled), "")
        console.print(Text(inert(line), style=style), soft_wrap=True)
