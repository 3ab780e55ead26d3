"""Hypothesis strategies that several tests share."""

from typing import Any

from hypothesis import strategies as st

JsonObject = dict[str, Any]

json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=15,
)
json_objects: st.SearchStrategy[JsonObject] = st.dictionaries(st.text(), json_values, max_size=5)
