"""The options of a stack file, as frozen pydantic models: what every variant has, and one module a variant."""
