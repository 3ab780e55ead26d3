"""What the tests of the local engine share."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.emulator import Emulator
from local.project import Project
from local.services import Clients
from tests.emulator_fixture import emulator

__all__ = ["emulator"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def aws(emulator: Emulator) -> Clients:
    """Clients of the shared emulator, as root."""
    return Clients(emulator)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project without files."""
    return Project("shop", "test", tmp_path, {})


@pytest.fixture
def write_project(tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """Writes a project with this `__main__.py`."""

    def write(program: str) -> Project:
        (tmp_path / "__main__.py").write_text(program)
        return Project("shop", "test", tmp_path, {})

    before = list(sys.path)
    yield write
    sys.path[:] = before
