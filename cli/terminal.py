"""What others wrote - clients, files, devices, services - on the user's terminal: shown, and not obeyed.

A terminal takes escape sequences for orders (move the cursor, set the title, paste), and Rich takes square brackets for
markup. https://cwe.mitre.org/data/definitions/150.html
"""

from rich.markup import escape
from rich.text import Text


def inert(text: str) -> str:
    r"""One line in which whatever cannot be printed stands as an escape: `\x1b`, `\n`, `\u2028`."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def cell(text: str) -> Text:
    """A cell of a table of Rich."""
    return Text(inert(text))


def label(text: str) -> str:
    """A label of a progress bar, which Rich takes for markup."""
    return escape(inert(text))
