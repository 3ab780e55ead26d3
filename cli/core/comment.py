"""Text from a pull request as a comment that holds nothing but this text.

A workflow with the right to comment runs this file as it is on the main branch, without the project's packages:

    python3 cli/core/comment.py < diff.txt > body.json
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator

# How the workflow finds its own comment again.
MARKER = "<!-- pipeline diff -->"
# GitHub takes 65,536 characters in a comment.
MAXIMUM_CHARACTERS = 60_000
MAXIMUM_BYTES = 1_000_000


def comment(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a comment. The text is in a block of code, so none of it is markup, a link or a mention."""
    shown, size = [], 0
    for line in lines:
        text = "".join(character if character.isprintable() else " " for character in line)
        size += len(text) + 1
        if size > MAXIMUM_CHARACTERS:
            shown.append("... cut off; `pipeline diff` shows the rest")
            break
        shown.append(text)
    longest = max((len(run) for line in shown for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    yield from (MARKER, "### What this change would do", "")
    yield from ("Compared by `pipeline diff`: nothing was asked of AWS, so what is deployed may differ.", "")
    yield from (f"{fence}diff", *shown, fence)


def main() -> None:
    """Print the body of a request that writes the comment."""
    given = sys.stdin.buffer.read(MAXIMUM_BYTES).decode(errors="replace")
    sys.stdout.write(json.dumps({"body": "\n".join(comment(given.split("\n")))}))


if __name__ == "__main__":
    main()
