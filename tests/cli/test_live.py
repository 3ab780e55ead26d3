"""The live view of `pipeline local`."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cli.live import changes, shown, watched

FOLDER = "/tmp/pipeline-local-1/code"
TRACEBACK = f"""Traceback (most recent call last):
  File "{FOLDER}/handlers/api/processing.py", line 129, in call
    result = to_json(process(copy.deepcopy(event), context))
                     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  File "{FOLDER}/handlers/api/processing.py", line 89, in process
    answer = function(event, context) if takes_context else function(event)
                                                            ^^^^^^^^^^^^^^^
  File "{FOLDER}/processors/mine.py", line 5, in process
    raise KeyError("amount")
KeyError: 'amount'"""


def lines(message: str = "", **fields: Any) -> list[str]:
    entry = {"level": "INFO", "message": message, "timestamp": "2026-11-26 23:53:12,140+0000", **fields}
    found = list(shown(json.dumps(entry)))
    # The time is the machine's own.
    return [line[9:] if line[2:3] == ":" else line for line in found]


def test_an_event_is_a_line_with_its_outcome_type_id_and_time() -> None:
    events = [
        {"outcome": "succeeded", "type": "order", "id": "e-1", "attempts": 1, "latency_ms": 42},
        {"outcome": "failed", "type": "order", "id": "e-2", "attempts": 3, "error": "KeyError: 'amount'"},
    ]
    assert lines("batch", events=events) == [
        "succeeded order e-1 42 ms",
        "failed    order e-2 after 3 attempts: KeyError: 'amount'",
    ]


def test_the_traceback_of_a_processor_begins_with_its_own_frames() -> None:
    assert lines("an attempt failed", level="WARNING", exception=TRACEBACK) == [
        "warning   an attempt failed",
        '  File "processors/mine.py", line 5, in process',
        '    raise KeyError("amount")',
        "KeyError: 'amount'",
    ]


def test_another_traceback_is_shown_as_a_whole() -> None:
    assert lines("it failed", level="ERROR", exception='Traceback:\n  File "x.py"\nOSError')[1:] == [
        "Traceback:",
        '  File "x.py"',
        "OSError",
    ]


def test_what_a_processor_prints_is_shown_as_it_is() -> None:
    assert lines("charging 7") == ["charging 7"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"route": "POST /events", "status": 202, "accepted": 2, "duplicate": 1, "rejected": 0},
            ["2 accepted, 1 dupli"],
        ),
        ({"route": "GET /events/{id}", "status": 200}, []),
        ({"route": "GET /events/{id}", "status": 404}, ["404       GET /events/{id}"]),
        ({"route": "POST /webhooks/a", "status": 202, "signature": "genuine", "accepted": 1}, ["/a: 1 accepted"]),
        ({"route": "POST /webhooks/a", "status": 401, "signature": "stale"}, ["/a: the signature is stale"]),
    ],
)
def test_requests_are_shown_but_not_those_that_only_look(fields: dict[str, Any], expected: list[str]) -> None:
    found = lines("request", **fields)
    assert len(found) == len(expected)
    assert all(words in line for words, line in zip(expected, found, strict=True))


def test_files_and_uploads_are_lines_too() -> None:
    files = [
        {"outcome": "succeeded", "key": "raw/a.csv", "rows": 9, "processed": 8, "rejected": 1},
        {"outcome": "failed", "key": "raw/b.csv", "reason": "no_header"},
    ]
    assert lines("batch", files=files) == [
        "succeeded raw/a.csv 9 rows, 8 processed, 1 rejected",
        "failed    raw/b.csv: no_header",
    ]
    alert = {"kind": "crossed", "device_id": "d1", "metric": "temperature", "value": "31", "severity": "critical"}
    upload = {"object": "readings/a.json", "readings": 3, "rejected": 1, "partial": 0, "repeated": 0}
    assert lines("object", **upload, alerts=[alert]) == [
        "read      readings/a.json: 3 readings, 1 rejected, 0 partial, 0 repeated",
        "crossed   d1 temperature 31 critical",
    ]


def test_silent_devices_are_lines_too() -> None:
    alerts = [{"kind": "silent", "device_id": "d1"}, {"kind": "returned", "device_id": "d2"}]
    assert lines("watch", complete=True, alerts=alerts, more_alerts=0) == ["silent    d1", "returned  d2"]
    assert lines("watch", complete=True, alerts=alerts[:1], more_alerts=9) == ["silent    d1", "... and 9 devices more"]


@pytest.mark.parametrize("entry", ["START RequestId: 1 Version: $LATEST", "END RequestId: 1", '{"_aws": {}}'])
def test_what_says_nothing_about_events_is_not_shown(entry: str) -> None:
    assert list(shown(entry)) == []


def test_what_is_written_around_the_logger_is_shown_as_it_is() -> None:
    for entry in ("Task timed out after 3 seconds", "[1, 2]", '{"message": "no time"}'):
        assert list(shown(entry)) == [entry]


def test_files_that_need_a_new_start_are_told(tmp_path: Path) -> None:
    for name in ("Pulumi.yaml", "Pulumi.shop.yaml", "schemas/shop.json", "processors/shop.py", "processors/old.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1")
    before = watched(tmp_path, "shop")
    assert list(changes(before, watched(tmp_path, "shop"))) == []
    os.utime(tmp_path / "Pulumi.shop.yaml", (1, 1))
    # Changed code is reloaded.
    os.utime(tmp_path / "processors/shop.py", (1, 1))
    (tmp_path / "processors/old.py").unlink()
    (tmp_path / "processors/tax.py").write_text("RATE = 1.19")
    for ignored in ("processors/__pycache__/tax.pyc", "processors/.tax.py.swp", "Pulumi.other.yaml"):
        (tmp_path / ignored).parent.mkdir(exist_ok=True)
        (tmp_path / ignored).write_text("1")
    assert [line.partition(":")[0] for line in changes(before, watched(tmp_path, "shop"))] == [
        "warning   Pulumi.shop.yaml has changed",
        "warning   processors/old.py is gone",
        "warning   processors/tax.py is new",
    ]


def test_a_stack_file_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "Pulumi.shop.yaml").write_text("1")
    before = watched(tmp_path, "shop")
    (tmp_path / "Pulumi.shop.yaml").unlink()
    (line,) = changes(before, watched(tmp_path, "shop"))
    assert line.startswith("warning   Pulumi.shop.yaml has changed: stop with Ctrl-C")
