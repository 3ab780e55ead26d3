"""The console on running stacks: its pages by plain requests, and in a browser where one is installed."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli.console.serve import console
from cli.core.http import Access
from cli.core.stack import OUTPUTS, Stack
from handlers.shared import aws
from tests.graphs import SAMPLES

from .conftest import Client, Start
from .webdriver import BROWSER, DRIVER, Browser

HOSTILE = "<script>document.title='run'</script><img src=x onerror=alert(1)>\u202e\x1b[31m"


class KeepRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass
class Pages:
    """The console's pages, asked by plain requests."""

    address: str

    def __post_init__(self) -> None:
        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(), KeepRedirects()
        )
        self.root = self.address.partition("/?")[0]
        assert self.ask("/?" + self.address.partition("?")[2])[0] == 303

    def ask(
        self, path: str, fields: dict[str, str] | None = None, *, body: bytes | None = None, **headers: str
    ) -> tuple[int, str]:
        data = body if fields is None else urllib.parse.urlencode(fields).encode()
        given = {"Origin": self.root, **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = urllib.request.Request(self.root + path, data=data, headers=given)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def get(self, path: str) -> str:
        status, text = self.ask(path)
        assert status == 200, text
        return text


Open = Callable[..., Any]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """What opens the console of a running stack for a block."""

    @contextmanager
    def of(client: Client, *, read_only: bool = False) -> Iterator[Pages]:
        project = client.up.project
        for name, value in client.up.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(OUTPUTS, json.dumps(client.outputs))
        monkeypatch.chdir(SAMPLES)
        # The default session keeps the keys of another test's emulator.
        monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
        aws._session.cache_clear()
        aws.client.cache_clear()
        stack = Stack(project.stack)
        stack.__dict__["project"] = project
        with console(stack, Access(), 0, read_only=read_only) as address:
            yield Pages(address)
        aws._session.cache_clear()
        aws.client.cache_clear()

    return of


REJECTING = """
from handlers.processor import Rejected

def process(event):
    if event.get("bad"):
        raise Rejected(f"not this: {event['bad']}")
    return {"ok": True}
"""


@pytest.fixture(scope="module")
def shop(start: Start) -> Iterator[Client]:
    with start(worker={"timeout_seconds": 10, "max_attempts": 1}) as client:
        client.use_processor("processors/echo.py", REJECTING)
        yield client


def test_an_event_is_followed_from_sending_to_its_dead_letter_and_back(shop: Client, opened: Open) -> None:
    with opened(shop) as pages:
        assert "graph" in pages.get("/")
        assert '"data": "text"' in pages.get("/send").replace("&#34;", '"')
        event = json.dumps({"bad": HOSTILE})
        status, sent = pages.ask("/send", {"event": event, "action": "send"})
        assert (status, "The answer: 202" in sent) == (200, True)
        event_id = sent.split("/events/")[1].split('"')[0]
        assert shop.finished(event_id)["status"] == "failed"
        story = shop.until(lambda: "Rejected" in (text := pages.get(f"/events/{event_id}")) and text)
        listed, letters = pages.get("/events?status=failed"), pages.get("/letters")
        letter = pages.get(f"/letters/{event_id}")
        for page in (story, listed, letters, letter):
            assert event_id in page
            assert "<script>document" not in page
            assert "<img src=x" not in page
            assert "\u202e" not in page
            assert "\x1b" not in page
        assert "attempt 1" in story
        assert "Traceback" in story
        # Edited: what differs is shown, and nothing is sent until it is asked for.
        fields = {"original": event, "event": '{"good": 1}', "action": "check"}
        assert "What differs" in pages.ask("/send", fields)[1]
        assert "The answer" not in pages.ask("/send", fields)[1]
        assert "is not JSON" in pages.ask("/send", {"event": "{", "action": "send"})[1]
        # The processor is fixed, and one letter goes back.
        shop.use_processor("processors/echo.py", "def process(event):\n    return {}\n")
        message_id = letters.split("/letters/")[1].split('"')[0]
        assert pages.ask("/letters", {"kind": "redrive", "message_id": message_id})[0] == 303
        assert shop.until(lambda: shop.shown(event_id)["status"] == "succeeded")
        assert "succeeded" in pages.get(f"/events/{event_id}")
        shop.use_processor("processors/echo.py", REJECTING)


def test_many_dead_letters_go_back_in_a_job_and_are_purged_only_when_asked_in_words(shop: Client, opened: Open) -> None:
    shop.post([{"bad": number} for number in range(1, 13)])
    shop.until(lambda: shop.depth(shop.outputs["dead_letter_queue_url"]) == 12)
    with opened(shop) as pages:
        assert "12 shown" in pages.get("/letters")
        status, refused = pages.ask("/letters", {"kind": "purge", "error_type": "Rejected", "a_second": "50"})
        assert (status, "write purge" in refused) == (400, True)
        assert pages.ask("/letters", {"kind": "redrive", "a_second": "0"})[0] == 400
        assert pages.ask("/letters", {"kind": "purge", "sure": "purge", "a_second": "1000"})[0] == 303
        shop.until(lambda: "12 of about 12" in pages.get("/letters"))
        shop.until(lambda: "done" in pages.get("/letters"))
        # A page that was opened while the job ran asks on, and must not hide letters by that.
        status, live = pages.ask("/letters", X_Live="none")
        assert (status, "The job has ended" in live, " shown" in live) == (200, True, False)
        assert shop.depth(shop.outputs["dead_letter_queue_url"]) == 0


def test_a_read_only_console_changes_nothing(shop: Client, opened: Open) -> None:
    with opened(shop, read_only=True) as pages:
        assert "read-only" in pages.get("/send")
        for path in ("/send", "/letters", "/jobs/1/cancel"):
            assert pages.ask(path, {"event": "{}", "action": "send", "kind": "purge", "sure": "purge"})[0] == 403


def test_what_is_wrong_is_said_and_no_page_shows_a_traceback(shop: Client, opened: Open) -> None:
    with opened(shop) as pages:
        wrong = {
            "/nope": 404,
            "/events/unknown": 502,
            "/letters/unknown": 502,
            "/nodes/unknown": 502,
            "/events?cursor=x": 400,
            "/events?status=x": 400,
            "/files/reports/x": 404,
        }
        for path, expected in wrong.items():
            status, text = pages.ask(path)
            assert (status, "Traceback" in text) == (expected, False), path
        assert pages.ask("/send", body=b"\xff=\xff")[0] == 400


def test_only_what_has_changed_is_sent_again(shop: Client, opened: Open) -> None:
    with opened(shop) as pages:
        request = urllib.request.Request(f"{pages.root}/events", headers={"X-Live": "none"})
        with pages.opener.open(request) as answer:
            tag, live = answer.headers["X-Live"], answer.read().decode()
        assert "<html" not in live
        assert "<table" in live
        assert pages.ask("/events", X_Live=tag) == (304, "")
        shop.finished(shop.post({"good": 1})[1]["id"])
        assert pages.ask("/events", X_Live=tag)[0] == 200


def test_a_file_is_uploaded_and_its_report_shown(start: Start, opened: Open) -> None:
    with start("csv") as client, opened(client) as pages:
        content = b"name,email,amount,date,quantity\nA,a@b.example,1.5,2026-01-02,3\nB,b,x,2026-01-02,3\n"
        status, key = pages.ask("/send?name=a.csv", body=content)
        assert (status, key.endswith("a.csv")) == (200, True)
        assert pages.ask("/send?name=../a.csv", body=content)[0] == 400
        listed = client.until(lambda: "reports/" in (found := pages.get("/files")) and found)
        report = pages.get(listed.split('<td><a href="')[1].split('"')[0])
        assert "rejected" in report
        assert "a.csv" in report
        assert "No dead letters" in pages.get("/letters")
        assert pages.ask("/files/reports/none")[0] == 502


def test_a_device_is_found_and_its_readings_drawn_with_their_limits(start: Start, opened: Open) -> None:
    with start("iot") as client, opened(client) as pages:
        reading = b'{"device_id": "d-1", "timestamp": "2026-11-20T10:00:00Z", "metrics": {"temperature": 99}}\n'
        assert pages.ask("/send?name=a.jsonl", body=reading)[0] == 200
        client.until(lambda: "d-1" in pages.get("/devices"))
        page = pages.get("/devices?id=d-1")
        assert "temperature of d-1" in page
        assert "<td" in page
        assert "pipeline replay" in pages.get("/letters")
        assert pages.ask("/letters", {"kind": "redrive", "a_second": "5"})[0] == 400


browser_needed = pytest.mark.skipif(not (BROWSER and DRIVER), reason="chromium and chromedriver are not installed")


@browser_needed
def test_a_browser_shows_what_happens_within_two_seconds_and_runs_nothing_of_an_event(
    shop: Client, opened: Open, tmp_path: Path
) -> None:
    with opened(shop) as pages, Browser(tmp_path) as browser:
        browser.open(f"{pages.root}/events")
        assert "open the address" in browser.text()
        browser.open(pages.address)
        assert browser.run("return location.href") == f"{pages.root}/"
        browser.until("The stack")
        browser.complaints()
        browser.open(f"{pages.root}/events")
        event_id = shop.post({"bad": HOSTILE})[1]["id"]
        browser.until(event_id)
        browser.until("failed")
        browser.click(f'a[href="/events/{event_id}"]')
        browser.until("Story")
        assert browser.run("return document.title") == f"Event {event_id} · dev"
        browser.click(f'a[href="/letters/{event_id}"]')
        browser.until("Edit and send")
        browser.write("textarea[name=event]", '{"good": 2}')
        browser.click("button[value=check]")
        browser.until("What differs")
        browser.click("button[value=send]")
        browser.until("The answer: 202")
        browser.back()
        browser.back()
        browser.back()
        browser.until("Story")
        browser.reload()
        browser.until("Story")
        # The keyboard reaches the content first, then the pages.
        browser.press("\ue004")
        assert browser.run("return document.activeElement.className") == "skip"
        assert browser.complaints() == []
        for path in ("/", "/events", f"/events/{event_id}", "/letters", "/send", "/nodes/pipeline-worker-Function"):
            for scheme in ("light", "dark"):
                feature = [{"name": "prefers-color-scheme", "value": scheme}]
                browser.command("Emulation.setEmulatedMedia", {"features": feature})
                browser.resize(360, 800)
                browser.open(pages.root + path)
                assert browser.run("return document.documentElement.scrollWidth") <= 360, path
                assert browser.run(_CONTRAST) == [], (path, scheme)
                assert browser.run(_UNNAMED) == [], path


# Texts whose colour has a contrast below 4.5 to its background: https://www.w3.org/TR/WCAG22/#contrast-minimum
_CONTRAST = r"""
const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parts = (text) => text.match(/[\d.]+/g).map(Number);
const behind = (element) => {
  for (let e = element; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const written = (e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
const bad = [];
for (const e of document.querySelectorAll("main *, header *")) {
  if (e.closest("svg") || e.hidden || !e.offsetParent || !written(e)) continue;
  const a = light(parts(getComputedStyle(e).color)), b = light(behind(e));
  if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) bad.push(e.outerHTML.slice(0, 120));
}
return bad;
"""
# Fields, buttons, links and pictures without a name, and more or less than one heading of the first level.
_UNNAMED = r"""
const named = (e) => e.getAttribute("aria-label") || e.textContent.trim() || (e.labels && e.labels.length);
const all = [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a, svg")];
const bad = all.filter((e) => !e.hidden && !named(e)).map((e) => e.outerHTML.slice(0, 120));
if (document.querySelectorAll("h1").length !== 1) bad.push("h1");
if (!document.documentElement.lang) bad.push("lang");
return bad;
"""
