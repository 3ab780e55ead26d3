"""The whole stack: uploads that S3 tells its function of, dead letters, and the commands."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handlers.shared import aws
from local.engine import Running
from tests.graphs import SAMPLES

from .conftest import ROOT, Iot, lines, reading


def eventually(check: Callable[[], Any], seconds: float = 20) -> Any:
    """Return the answer of `check` once it is true; its last answer when time is up."""
    deadline = time.monotonic() + seconds
    while not (answer := check()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return answer


@pytest.fixture
def command(stack: Running, tmp_path: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """`command("readings", "d1")`: as in `pipeline local --stack iot --exec`."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        outputs = {"PIPELINE_OUTPUTS": json.dumps(stack.outputs), "COLUMNS": "80", "HOME": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments],
            cwd=SAMPLES,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), **stack.environment(), **outputs},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


def dead_letters(iot: Iot) -> int:
    queue = {"QueueUrl": iot.outputs["dead_letter_queue_url"]}
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(
        int(aws.client("sqs").get_queue_attributes(**queue, AttributeNames=[name])["Attributes"][name])
        for name in names
    )


@pytest.mark.parametrize("name", ["a b+c/ü.json", "plain.jsonl", "two\nlines.json"])
def test_an_uploaded_object_is_taken_whatever_its_key(iot: Iot, name: str) -> None:
    iot.put(f"readings/{name}", lines(reading("d1", 1, 35), {}))
    assert eventually(iot.readings) == [("d1", "2026-11-20T00:01:00.000000000Z", {"temperature": "35"})]
    (rejection,) = eventually(iot.rejections)
    assert rejection["object"] == f"readings/{name}"
    assert eventually(iot.alerts) == ["d1 temperature crossed 35"]


def test_a_burst_of_uploads_waits_for_a_few_functions_instead_of_starting_dozens(iot: Iot, stack: Running) -> None:
    def processes() -> int:
        children = subprocess.run(["pgrep", "-P", str(stack.emulator.pid)], capture_output=True, text=True, check=False)
        return len(children.stdout.split())

    for number in range(40):
        iot.put(f"readings/burst-{number}.json", lines(reading(f"d{number}", 1)))
    most = 0

    def all_stored() -> bool:
        nonlocal most
        most = max(most, processes())
        return len(iot.readings()) == 40

    assert eventually(all_stored)
    # The watcher for silent devices, which runs each minute, has a process of its own.
    watchers = 1
    assert 1 <= most <= 2 * (os.cpu_count() or 1) + watchers


def test_what_is_not_below_readings_or_ends_otherwise_is_left_alone(iot: Iot) -> None:
    for key in ("other/a.json", "readings/a.csv", "rejected/a.jsonl"):
        iot.put(key, lines(reading("elsewhere", 1)))
    iot.put("readings/a.json", lines(reading("d1", 1)))
    assert eventually(iot.readings)
    time.sleep(0.5)
    assert [device for device, _, _ in iot.readings()] == ["d1"]


def test_what_the_table_refuses_ends_with_the_dead_letters_and_a_replay_takes_it_from_there(
    iot: Iot,
    stack: Running,
    command: Callable[..., "subprocess.CompletedProcess[str]"],
) -> None:
    functions, name = aws.client("lambda"), stack.outputs["worker_name"]
    environment = functions.get_function_configuration(FunctionName=name)["Environment"]
    broken = {"Variables": {**environment["Variables"], "TABLE_NAME": "no-such-table"}}
    functions.update_function_configuration(FunctionName=name, Environment=broken)
    try:
        iot.put("readings/lost.json", lines(reading("d1", 1, 35)))
        assert eventually(lambda: dead_letters(iot)) == 1
        failed = command("replay")
        assert failed.returncode == 1
        assert failed.stdout == "1 dead letters: 0 replayed and deleted, 1 left\n"
        assert "left: message " in failed.stderr
        assert dead_letters(iot) == 1
    finally:
        functions.update_function_configuration(FunctionName=name, Environment=environment)
    assert iot.readings() == []
    replayed = command("replay", "--json")
    assert (replayed.returncode, replayed.stderr) == (0, "")
    assert json.loads(replayed.stdout) == {"replayed": 1, "left": {}}
    assert dead_letters(iot) == 0
    assert [device for device, _, _ in iot.readings()] == ["d1"]
    assert iot.alerts() == ["d1 temperature crossed 35"]


def test_a_dead_letter_that_is_no_event_is_left(iot: Iot, command: Callable[..., Any]) -> None:
    aws.botocore_client("sqs").send_message(QueueUrl=iot.outputs["dead_letter_queue_url"], MessageBody="not ours")
    left = command("replay")
    assert left.returncode == 1
    assert "it does not hold an event as Lambda puts it there" in left.stderr
    assert dead_letters(iot) == 1


def test_the_simulator_says_exactly_what_the_pipeline_then_makes_of_it(iot: Iot, command: Callable[..., Any]) -> None:
    # Long enough for excursions.
    options = ["--devices", "10", "--rate", "40", "--duration", "4", "--seed", "7", "--bad-share", "0.3", "--json"]
    simulated = command("simulate", *options)
    assert simulated.returncode == 0, simulated.stderr
    expected = json.loads(simulated.stdout)
    alerts = Counter(expected["alerts"])
    assert min(alerts[f"{each} crossed"] for each in ("warning", "critical")) >= 1
    assert expected["silent_afterwards"] == 10
    assert expected["bad"] > 50
    assert expected["partial"] > 10

    def counts() -> tuple[int, int]:
        return len(iot.readings()), len(iot.rejections())

    eventually(lambda: counts() == (expected["good"], expected["bad"] + expected["partial"]), seconds=40)
    assert counts() == (expected["good"], expected["bad"] + expected["partial"])
    told: Counter[str] = Counter()

    def all_told() -> bool:
        messages = [json.loads(notice["Message"]) for notice in iot.notices()]
        told.update(f"{each['severity']} {each['kind']}" for each in messages)
        return told == alerts

    assert eventually(all_told), told
    # The same seed sends the same again, which changes nothing.
    before = iot.readings()
    assert json.loads(command("simulate", *options).stdout)["good"] == expected["good"]
    time.sleep(2)
    assert iot.readings() == before
    assert iot.alerts() == []
    assert dead_letters(iot) == 0


def test_what_an_upload_wrote_is_removed_by_its_key(iot: Iot, command: Callable[..., Any]) -> None:
    iot.put("readings/good.json", lines(reading("d1", 1), reading("d1", 3)))
    bad = iot.put("readings/a b#ü.json", lines(reading("d1", 2, 99), reading("d2", 2, 99)))
    assert eventually(lambda: len(iot.readings()) == 4, seconds=60)
    shown = json.loads(command("readings", "d2", "--json").stdout)
    assert (shown[0]["object"], shown[0]["version"]) == ("readings/a b#ü.json", bad)
    counted = command("remove-readings", "readings/a b#ü.json", "--dry-run")
    assert (counted.returncode, counted.stdout) == (0, "2 readings of 2 devices would be removed\n")
    # The corrected file does not bring the bad one back, nor hide it.
    iot.put("readings/a b#ü.json", lines(reading("d1", 2, 21), reading("d2", 2, 21)))
    assert eventually(lambda: len(iot.readings()) == 6, seconds=60)
    removed = command("remove-readings", "readings/a b#ü.json", "--version", bad, "--json")
    assert json.loads(removed.stdout)["removed"] == 2
    assert [(device, values["temperature"]) for device, _, values in iot.readings()] == [
        ("d1", "20"),
        ("d1", "21"),
        ("d1", "20"),
        ("d2", "21"),
    ]
    # A device is erased; the uploads that it shares with another one are named.
    erased = command("erase", "d2", "--stack", "iot", "--yes", "--json")
    assert (erased.returncode, erased.stderr) == (1, "")
    assert json.loads(erased.stdout)["complete"] is False
    assert {device for device, *_ in iot.readings()} == {"d1"}
    none = command("remove-readings", "readings/none.json")
    assert none.returncode == 1
    assert none.stderr.startswith("error: there is no object 'readings/none.json' in the bucket")


def test_readings_are_shown_as_a_table_and_as_a_plot(iot: Iot, command: Callable[..., Any], tmp_path: Path) -> None:
    iot.take(lines(*[reading("d1", minute, 20 + minute / 2) for minute in range(30)]))
    shown = command("readings", "d1")
    assert shown.returncode == 0, shown.stderr
    rows = shown.stdout.splitlines()
    assert rows[0].split() == ["time", "temperature"]
    assert rows[-1].split() == ["2026-11-20T00:29:00Z", "34.5"]
    assert len(rows) == 21
    since = command("readings", "d1", "--since", "2026-11-20T00:28:00Z").stdout.splitlines()
    assert len(since) == 3
    as_csv = command("readings", "d1", "--since", "2026-11-20T00:28:00Z", "--csv").stdout
    assert as_csv == "time,temperature\n2026-11-20T00:28:00Z,34\n2026-11-20T00:29:00Z,34.5\n"
    plot = command("readings", "d1", "--plot", "--metric", "temperature").stdout
    assert plot.startswith("temperature of d1, 30 readings\n")
    assert " max 30 -" in plot
    assert " min -10 -" in plot
    assert plot.count("•") >= 10
    assert "crossed   critical max 30 at 30.5" in plot
    iot.take(lines(reading("d2", 40, 21), reading("e1", 40)))
    group = command("readings", "d*").stdout.splitlines()
    assert [line.split() for line in group] == [
        ["device", "time", "temperature", "alerts"],
        ["d1", "2026-11-20T00:29:00Z", "34.5", "temperature", "critical"],
        ["d2", "2026-11-20T00:40:00Z", "21"],
    ]
    as_csv = command("readings", "d*", "--csv").stdout
    assert as_csv.splitlines()[::2] == ["device,time,temperature", "d2,2026-11-20T00:40:00Z,21"]
    refused = command("readings", "d*", "--plot")
    assert refused.returncode == 1
    assert refused.stderr.startswith("error: --plot draws the readings of one device")
    hours = command("readings", "--since", "2026-11-20T00:30:00Z", "--every", "1h").stdout.splitlines()
    assert [line.split() for line in hours] == [
        ["device", "time", "metric", "count", "min", "mean", "max"],
        ["d1", "2026-11-20T00:00:00Z", "temperature", "30", "20", "27.25", "34.5"],
        ["d2", "2026-11-20T00:00:00Z", "temperature", "1", "21", "21", "21"],
        ["e1", "2026-11-20T00:00:00Z", "temperature", "1", "20", "20", "20"],
    ]
    file = str(tmp_path / "readings.parquet")
    written = command("readings", "--since", "2026-11-20T00:00:00Z", "--parquet", file)
    assert (written.returncode, written.stdout) == (0, f"32 readings in {file}\n")
    assert Path(file).read_bytes()[:4] == b"PAR1"
    none = command("readings", "nobody*")
    assert (none.returncode, none.stderr) == (1, "error: there are no readings of a device that matches 'nobody*'\n")
    none = command("readings", "nobody")
    assert (none.returncode, none.stderr) == (1, "error: there are no readings of device 'nobody'\n")
