"""A running emulator for tests. Import `emulator` into a conftest.py to use the fixture there."""

from collections.abc import Iterator

import pytest

from local.emulator import Emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """An emulator with IAM enforced, shared in a session. Give resources the name of your test."""
    with Emulator() as running:
        yield running
