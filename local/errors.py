"""Errors that are shown to the user as one line."""


class LocalError(Exception):
    """The local pipeline cannot go on. The message says what is wrong, where, and what to do."""
