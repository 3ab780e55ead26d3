"""One module a variant: wiring only. Anything that knows AWS in detail belongs in a part."""
