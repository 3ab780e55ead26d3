"""Text that every service stores."""


def printable(text: str, length: int) -> str:
    """Return the first `length` characters, with a blank for each control character and half surrogate pair."""
    return "".join(character if character.isprintable() else " " for character in text[:length])
