"""What is wrong with an event: a problem, and the function of a schema that finds it. It imports no validator."""

from collections.abc import Callable, Mapping
from typing import Any

# In characters, each of which can take 14 bytes of a response: an escape within an escape.
MAXIMUM_PATH_LENGTH = 200
MAXIMUM_PROBLEM_LENGTH = 500

Problem = dict[str, str]
"""`{"path", "message"}`; the path is a JSON Pointer."""
Validate = Callable[[Mapping[str, Any]], list[Problem]]
