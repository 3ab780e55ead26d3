"""Code blocks of Markdown, for tests that run what a document shows."""

import re

# By the stack that runs: the documents whose blocks are pasted into a shell (tests/emulator/cli), with a line of each.
PASTED = {
    "dev": {"docs/local.md": "pipeline status EVENT_ID", "docs/verifying.md": "pipeline verify --stack dev"},
    "csv": {"docs/local.md": "pipeline upload orders.csv", "docs/csv.md": "pipeline upload orders.csv"},
    "iot": {"docs/iot.md": "pipeline readings"},
}


def pasted(text: str, line: str, stack: str) -> list[str]:
    """Return the commands of the block with a line, but for those of other stacks and those that serve until Ctrl-C."""
    (block,) = (each for each in code_blocks(text) if line in each)
    return [
        each
        for each in block.splitlines()
        if ("pipeline local" not in each or "--exec" in each)
        and ("--exec" in each or "--stack" not in each or f"--stack {stack}" in each)
    ]


def code_blocks(text: str, language: str = "") -> list[str]:
    """Return the blocks of a language, or those for a shell, which have none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names = (language,) if language else ("", "sh", "bash", "console")
    return [block for name, block in found if name in names]
