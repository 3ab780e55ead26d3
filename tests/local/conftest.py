"""Helpers for the tests of the local engine."""

from tests.project_fixture import write_project

__all__ = ["write_project"]
