"""The functions of the api variant in this process, on resources that the real program made in the emulator.

The event source mapping is switched off: tests receive messages themselves, as Lambda would.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.engine import Running, running
from local.project import load_project
from local.services import Clients
from tests.api_pipeline import CONFIG, SECRET_VALUES, Pipeline, subscribed
from tests.graphs import SAMPLES
from tests.roles import forget_clients

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def stack(decisions: Path) -> Iterator[Running]:
    project = load_project(SAMPLES, "dev").with_config(CONFIG)
    with running(project, iam_log=decisions, secret_values=SECRET_VALUES) as up:
        yield up


@pytest.fixture(scope="session")
def resources(stack: Running) -> Iterator[Callable[[], Pipeline]]:
    root = Clients(stack.emulator)
    # A full hour that passes during the tests would send a report of its own.
    for schedule in root("scheduler").list_schedules()["Schedules"]:
        known = root("scheduler").get_schedule(Name=schedule["Name"])
        kept = {name: known[name] for name in ("Name", "FlexibleTimeWindow", "ScheduleExpression", "Target")}
        root("scheduler").update_schedule(**kept, State="DISABLED")
    functions = root("lambda")
    for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    environments = {function.handler.split(".")[2]: function.environment for function in stack.engine.functions}
    make = subscribed(root, environments, stack.outputs)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment().items():
            patch.setenv(name, value)
        # The session keeps the keys of another test's emulator.
        forget_clients()
        yield make
    forget_clients()


@pytest.fixture
def pipeline(resources: Callable[[], Pipeline]) -> Iterator[Pipeline]:
    made = resources()
    yield made
    made.clear()
