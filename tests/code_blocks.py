"""Code blocks of Markdown, for tests that run what a document shows."""

import re


def code_blocks(text: str, language: str = "") -> list[str]:
    """Return the blocks of a language, or those for a shell, which have none."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names = (language,) if language else ("", "sh", "bash", "console")
    return [block for name, block in found if name in names]
