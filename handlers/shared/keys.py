"""Keys of objects."""


def has_suffix(key: str, suffixes: str) -> bool:
    """Return True if a key ends in one of some suffixes, in upper or lower case, or if there are none.

    `suffixes` are separated by white space. The marker that the S3 console creates for a folder never has one.
    """
    return not key.endswith("/") and (not suffixes or key.lower().endswith(tuple(suffixes.lower().split())))
