"""The parts of the console's pages: charts, the graph, traffic, samples, jobs and texts."""

import json
import threading
from typing import Any

import fastjsonschema
import pytest

from cli.console.charts import Edge, Node, Series, bar_chart, graph, line_chart
from cli.console.jobs import Job, Jobs
from cli.console.samples import samples
from cli.console.texts import age, difference, editable, visible
from cli.console.traffic import Traffic
from cli.core.logs import Line
from handlers.shared.letters import Wanted
from handlers.shared.passes import Control, Pass
from local.errors import LocalError
from tests.graphs import SAMPLES

HOSTILE = "<script>alert(1)</script>"


def test_a_chart_says_its_newest_values_and_escapes_what_it_is_given() -> None:
    chart = line_chart(HOSTILE, [Series(HOSTILE, "failed", [None, 1.0, 2.5, None, 3.0])], "then", "now", {HOSTILE: 9.0})
    assert "<script" not in chart
    assert "&lt;script&gt;" in chart
    assert 'points="198.5,116.7 343.0,96.7"' in chart
    assert "alert(1)&lt;/script&gt; 3" in chart
    # Two runs, because a value is missing between them; one is a dot.
    assert chart.count("<polyline") == 2
    assert chart.count(" dot") == 1
    assert line_chart("empty", [Series("none", "failed", [None])], "", "", {}).count("<polyline") == 0


def test_bars_have_names_and_counts() -> None:
    chart = bar_chart("Reasons", [(HOSTILE, 1_200), ("b", 3)])
    assert "1,200" in chart
    assert "<script" not in chart
    assert chart.count("<rect") == 2


def test_the_graph_runs_from_left_to_right_and_lights_what_works() -> None:
    nodes = [
        Node(key, key, "Queue", "7", is_active=key != "store", is_alarmed=key == "store")
        for key in ("api", "q", "w", "store")
    ]
    edges = [
        Edge("api", "q", "SendMessage", is_active=True),
        Edge("q", "w", "batches", is_active=True),
        Edge("w", "q", "ChangeMessageVisibility", is_active=True),
        Edge("w", "store", "Put"),
        Edge("api", "store", "Insert"),
    ]
    drawn = graph(nodes, edges, "/nodes/{}")
    lefts = [
        int(drawn.split(f'aria-label="{key}, ')[1].split('x="')[1].split('"')[0]) for key in ("api", "q", "w", "store")
    ]
    assert lefts == sorted(set(lefts))
    # What the worker does to its own queue is not drawn.
    assert drawn.count('class="edge') == 4
    assert drawn.count('class="edge active"') == 2
    assert 'class="node alarmed"' in drawn
    assert 'aria-label="store, Queue, 7, an alarm rings"' in drawn
    assert 'href="/nodes/store"' in drawn
    # A line over other columns has a lane below their boxes.
    path = drawn.split("<title>api to store: Insert")[0].rpartition(' d="')[2]
    assert path.count("H") == 2


def test_a_graph_with_a_circle_is_drawn() -> None:
    nodes = [Node(key, key, "Function", "") for key in ("a", "b", "c")]
    drawn = graph(nodes, [Edge("a", "b", "x"), Edge("b", "c", "x"), Edge("c", "a", "x"), Edge("a", "a", "x")], "{}")
    assert drawn.count('class="edge"') == 4


class Logs:
    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.reads = 0

    def read(self) -> list[Line]:
        self.reads += 1
        lines, self.lines = self.lines, []
        return lines


def line(at: float, function: str, entry: dict[str, Any]) -> Line:
    return Line(round(at * 1_000), function, json.dumps(entry))


def test_traffic_counts_what_functions_log_and_forgets_what_is_old() -> None:
    logs, now = Logs(), 10_000.0
    traffic = Traffic(logs, every_seconds=1, clock=lambda: now)  # type: ignore[arg-type]
    done = [{"outcome": "succeeded", "latency_ms": 100 * number} for number in range(1, 5)] + [{"outcome": "failed"}]
    logs.lines = [
        line(now - 2_000, "ingest", {"message": "request", "accepted": 99}),
        line(now - 5, "ingest", {"message": "request", "accepted": 5, "rejected": 2}),
        line(now - 1, "worker", {"message": "batch", "events": done}),
        Line(round(now * 1_000), "worker", "START RequestId: 1"),
        line(now, "worker", {"_aws": {}, "Accepted": [1]}),
    ]
    picture = traffic.now()
    assert picture.totals == {"accepted": 5, "rejected": 2, "succeeded": 4, "failed": 1}
    assert sum(picture.accepted) * 10 == 5
    assert [each for each in picture.median_ms if each is not None] == [250]
    assert picture.active == {"worker"}
    assert len(picture.lines) == 3
    assert picture.has_failed
    # A pipeline that has just begun has a short chart, and one with an old bucket the whole quarter of an hour.
    assert (picture.seconds, len(picture.accepted)) == (120, 12)
    now += 0.5
    assert traffic.now().totals == picture.totals
    assert logs.reads == 1
    now += 700
    assert traffic.now().seconds == 730
    now += 300
    assert traffic.now().totals == {"accepted": 0, "rejected": 0}
    assert traffic.now().active == frozenset()
    assert not traffic.now().has_failed


@pytest.mark.parametrize("off_seconds", [-240, 240])
def test_a_clock_that_is_four_minutes_off_hides_no_traffic(off_seconds: int) -> None:
    logs, there = Logs(), 10_000.0
    traffic = Traffic(logs, every_seconds=1, clock=lambda: there + off_seconds)  # type: ignore[arg-type]
    assert traffic.now().totals == {"accepted": 0, "rejected": 0}
    there += 5
    logs.lines = [line(there, "ingest", {"message": "request", "accepted": 3})]
    picture = traffic.now()
    assert picture.totals["accepted"] == 3
    assert sum(picture.accepted) * 10 == 3
    assert picture.active == {"ingest"}


@pytest.mark.parametrize("name", ["order", "page_view", "purchase"])
def test_a_sample_fits_its_schema(name: str) -> None:
    schema = json.loads((SAMPLES / "schemas" / f"{name}.json").read_text())
    sample = json.loads(samples({name: schema})[name])
    assert fastjsonschema.compile(schema)(sample) == sample


def test_a_sample_takes_what_the_schema_shows() -> None:
    schema = {
        "required": ["kind", "at", "size", "deep"],
        "properties": {
            "kind": {"enum": ["b", "a"]},
            "at": {"type": "string", "format": "date-time"},
            "size": {"type": "integer", "minimum": 7},
            "deep": {
                "type": "object",
                "properties": {"x": {"const": 3}, "y": {"examples": ["e"]}, "z": {"minLength": 6}},
            },
        },
    }
    assert json.loads(samples({"": schema})[""]) == {
        "kind": "b",
        "at": "2026-01-01T12:00:00Z",
        "size": 7,
        "deep": {"x": 3, "y": "e", "z": "textxx"},
    }


class Letters:
    """Dead letters that can be moved, ten in a round, until they are refused."""

    def __init__(self, count: int, *, refused: bool = False) -> None:
        self.count, self.refused = count, refused
        self.asked: list[tuple[str, Wanted, float]] = []
        self.gate = threading.Event()

    def depth(self) -> int:
        return self.count

    def redrive(self, url: str, wanted: Wanted, maximum: float, _seconds: float, control: Control) -> Pass:
        self.asked.append((url, wanted, control.a_second))
        done = Pass({"redriven": 0, "not_sent": int(self.refused), "not_deleted": 0})
        assert (self.gate.wait(5), maximum) == (True, float("inf"))
        while self.count and not self.refused:
            done.counts["redriven"] += 10
            self.count -= 10
            control.progress(done)
            if control.wait(0):
                return done
        done.complete = not self.refused
        return done


def ended(job: Job) -> str:
    deadline = threading.Event()
    for _ in range(500):
        if job.state != "running":
            return job.state
        deadline.wait(0.01)
    raise AssertionError("the job goes on")


def test_a_job_moves_all_at_the_pace_it_is_given() -> None:
    letters = Letters(250)
    jobs = Jobs(letters, "queue")  # type: ignore[arg-type]
    job = jobs.start("redrive", "ValueError", 1_000)
    with pytest.raises(ValueError, match="another job runs"):
        jobs.start("redrive", None, 1_000)
    letters.gate.set()
    assert ended(job) == "done"
    assert (job.done, job.total, letters.count) == (250, 250, 0)
    assert letters.asked == [("queue", Wanted("ValueError"), 1_000)]
    assert jobs.all() == [job]


def test_a_cancelled_job_stops_and_a_refused_one_says_why() -> None:
    letters = Letters(1_000)
    jobs = Jobs(letters, "queue")  # type: ignore[arg-type]
    job = jobs.start("redrive", None, 10)
    jobs.cancel(job.number)
    letters.gate.set()
    assert ended(job) == "cancelled"
    assert 0 < job.done < 1_000
    refused = Jobs(Letters(5, refused=True), "queue")  # type: ignore[arg-type]
    refused._letters.gate.set()  # type: ignore[attr-defined]
    job = refused.start("redrive", None, 100)
    assert ended(job) == "failed"
    assert job.error == "1 letters could not be moved"


def test_a_job_that_could_not_see_all_letters_does_not_say_that_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    for done, why in (
        (
            Pass({"redriven": 0}, hidden=3),
            "about 3 are hidden: another command, a console or the reconciler looks at them",
        ),
        (Pass({"redriven": 2}, held_back=True), "the rest is behind others of its groups"),
        (Pass({"redriven": 2}), "not all were examined"),
    ):
        monkeypatch.setattr("cli.console.jobs.whole", lambda *_, done=done: done)
        job = Jobs(Letters(2), "queue").start("redrive", None, 10)  # type: ignore[arg-type]
        assert (ended(job), job.error) == ("incomplete", why)


def test_a_job_ends_with_its_console_after_the_letters_that_it_is_moving() -> None:
    letters = Letters(1_000)
    jobs = Jobs(letters, "queue")  # type: ignore[arg-type]
    jobs.stop()
    job = jobs.start("redrive", None, 10)
    stopping = threading.Thread(target=jobs.stop)
    stopping.start()
    assert job.cancelled.wait(60)
    letters.gate.set()
    stopping.join()
    assert (job.state, job.done, letters.count) == ("cancelled", 10, 990)


def test_a_job_ends_with_its_pipeline() -> None:
    def ends() -> None:
        raise LocalError("the pipeline has ended")

    letters = Letters(1_000)
    letters.gate.set()
    job = Jobs(letters, "queue", ends).start("redrive", None, 10)  # type: ignore[arg-type]
    assert (ended(job), job.error, job.done) == ("failed", "LocalError: the pipeline has ended", 10)


def test_a_text_that_would_turn_or_hide_is_shown_as_escapes() -> None:
    assert visible("a\u202eb\x1b[31m\nc\x00") == "a\\u202eb\\x1b[31m\nc\\x00"


def test_what_was_edited_is_shown_as_adifference() -> None:
    assert difference("", "x") == []
    assert difference('{\n "a": 1\n}', '{\n "a": 2\n}')[-4:] == [" {", '- "a": 1', '+ "a": 2', " }"]


def test_an_event_to_edit_is_the_same_event_with_unprintable_characters_as_escapes() -> None:
    event = {"name": "Zoë\u202e\x1b\U000e0001\ud800", "n": [1]}
    text = editable(event)
    assert json.loads(text) == event
    assert "Zoë" in text
    assert all(line.isprintable() for line in text.split("\n"))


def test_an_age_is_said_in_the_unit_that_people_use() -> None:
    assert [age(seconds) for seconds in (0, 119, 120, 7_199, 7_200, 172_800)] == [
        "0 s", "119 s", "2 min", "119 min", "2 h", "2 d",
    ]  # fmt: skip
