"""Lambda's environment, set before any of our modules is imported, and fixtures that several folders share."""

import gc
import os
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.user_files import refuse_to_read_them

# `make quick` looks at a quarter of the examples that `make test` looks at.
settings.register_profile("quick", max_examples=25, deadline=None)
# A busy machine is no failure.
settings.register_profile("all", deadline=None)
settings.load_profile("all")

# As in an activated environment: messages suggest commands by their names, not by paths of this machine.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
os.environ.setdefault("POWERTOOLS_SERVICE_NAME", "test")
os.environ.setdefault("POWERTOOLS_METRICS_NAMESPACE", "DataPipeline")


# For the tests of users, which are below this folder: docs/testing.md.
pytest_plugins = ("testing.fixtures",)

refuse_to_read_them()


def pytest_collection_finish() -> None:
    """Spare the collector what is imported and collected by now: it would walk all of it hundreds of times."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="module", autouse=True)
def _clients_of_this_file() -> None:
    """No file works with AWS clients that another one made, for another endpoint or with other keys."""
    from tests.roles import forget_clients  # noqa: PLC0415  after the environment is set

    forget_clients()


@pytest.fixture(scope="session")
def decisions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """File to which emulators write their policy decisions."""
    return tmp_path_factory.mktemp("iam") / "decisions.jsonl"
