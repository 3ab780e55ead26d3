"""`pipeline demo`, which `make run` starts."""

import re

import pytest

from cli.demo import _require
from local.errors import LocalError

from .conftest import Command


def test_the_demo_shows_each_step_from_request_to_stored_result_and_exits(pipeline: Command) -> None:
    result = pipeline("demo")
    assert result.returncode == 0, result.stderr
    shown = result.stdout
    steps = [
        "queue  1 message waits",
        "table  status queued",
        "status succeeded: received ",
        "stored s3://",
        "result {",
        '"duplicate":true',
        "409 ",
        "400 ",
        '"accepted":2,"rejected":1',
        "All steps succeeded.",
    ]
    places = [shown.find(step) for step in steps]
    assert -1 not in places, dict(zip(steps, places, strict=True))
    assert places == sorted(places)
    assert len(re.findall("stored s3://", shown)) == 3


def test_a_step_that_fails_is_an_error() -> None:
    with pytest.raises(LocalError, match="a step of the demo failed; expected: the answer is 202, not 500"):
        _require(False, "the answer is 202, not 500")  # noqa: FBT003
