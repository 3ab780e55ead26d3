"""What can go wrong here, said to the user in one line."""


class LocalError(Exception):
    """The local pipeline cannot go on. The message says what was wrong, where, and what is allowed."""
