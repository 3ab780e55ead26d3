"""The emulator's DynamoDB answers as the tables in memory do, which the quick tests use.

The same scenarios run in memory in tests/handlers/shared/test_tables.py.
"""

from collections.abc import Callable

import pytest

from tests.table_scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_in_the_emulator(scenario: Callable[[], None]) -> None:
    scenario()
