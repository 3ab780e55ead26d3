"""A running emulator for tests: importing `emulator` into a conftest.py makes the fixture known there."""

from collections.abc import Iterator

import pytest

from local.emulator import Emulator


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """An empty emulator with IAM enforced, for the whole session: name what you create after your test."""
    with Emulator() as running:
        yield running
