"""A Pulumi project for tests. Import `write_project` into a conftest.py to use the fixture there."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.project import Project


@pytest.fixture
def write_project(tmp_path: Path) -> Iterator[Callable[[str], Project]]:
    """Write a project with this `__main__.py`."""

    def write(program: str) -> Project:
        (tmp_path / "__main__.py").write_text(program)
        return Project("shop", "test", tmp_path, {})

    before = list(sys.path)
    yield write
    sys.path[:] = before
