"""Pulumi components and the typed config they are built from."""
