"""JSON without duplicate keys."""

import json
from typing import Any


def without_repeated_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, as an `object_pairs_hook`. Raises ValueError for a duplicate key."""
    # RFC 8259 does not define which value counts, so a validator and a consumer may see different ones.
    fields = dict(pairs)
    if len(fields) < len(pairs):
        seen: set[str] = set()
        name = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"duplicate key {json.dumps(name[:60])} in one object")
    return fields
