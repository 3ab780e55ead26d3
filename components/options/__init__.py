"""The options of a stack file as frozen pydantic models: those of every variant, and one module per variant."""
