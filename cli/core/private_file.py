"""Files with a stack's data, which only their owner may read."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from local.errors import LocalError

OTHERS_MAY_NOT_READ = 0o600


@contextmanager
def private_file(path: Path, *, overwrite: bool = False) -> Iterator[BinaryIO]:
    """Create a file of mode 0600 that did not exist; `overwrite` removes a regular file there first.

    So whoever may read or has opened the old file does not read the new one, and no link is followed to another file.
    Raises LocalError.
    """
    try:
        if overwrite and path.is_file() and not path.is_symlink():
            path.unlink()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OTHERS_MAY_NOT_READ)
    except OSError as error:
        raise LocalError(f"cannot create {path}: {error.strerror}; name another file") from error
    with os.fdopen(descriptor, "wb") as file:
        try:
            yield file
            file.flush()
        except OSError as error:
            raise LocalError(f"cannot write {path}: {error.strerror}") from error
