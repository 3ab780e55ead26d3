"""Fixtures for the local engine's tests that need a running emulator."""

from pathlib import Path

import pytest

from local.emulator import Emulator
from local.project import Project
from local.services import Clients
from tests.emulator_fixture import emulator
from tests.project_fixture import write_project

__all__ = ["emulator", "write_project"]


@pytest.fixture
def aws(emulator: Emulator) -> Clients:
    """Clients of the shared emulator, as root."""
    return Clients(emulator)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project without files."""
    return Project("shop", "test", tmp_path, {})
