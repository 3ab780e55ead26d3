"""JSON in which no name is repeated."""

import json
from typing import Any


def without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, for `object_pairs_hook`. Raises ValueError when a name stands twice."""
    # RFC 8259 leaves open which value counts, so that who checks an event and who uses it may see different ones.
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {json.dumps(name[:60])} stands twice in one object")
    return fields
