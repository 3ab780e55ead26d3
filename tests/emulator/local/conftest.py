"""Fixtures for the local engine's tests that need a running emulator."""

import pytest

from local.emulator import Emulator
from local.services import Clients
from tests.emulator_fixture import emulator

__all__ = ["emulator"]


@pytest.fixture
def aws(emulator: Emulator) -> Clients:
    """Clients of the shared emulator, as root."""
    return Clients(emulator)
