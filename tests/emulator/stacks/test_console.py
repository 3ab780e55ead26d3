"""The console on running stacks: its pages by plain requests, and in a browser where one is installed."""

import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from benchmarks.browser import BROWSER, DRIVER, ENTER, TAB, Browser

from .conftest import Client, Start
from .consoles import Pages, check_pages, console_of

HOSTILE = "<script>document.title='run'</script><img src=x onerror=alert(1)>\u202e\x1b[31m"


ROWS = b"name,email,amount,date,quantity\nA,a@b.example,1.5,2026-01-02,3\nB,b,x,2026-01-02,3\n"
# Old ones cause no alert.
NOW = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
READING = json.dumps({"device_id": "d-1", "timestamp": NOW, "metrics": {"temperature": 99}}).encode()

# With 5,000 this test takes four minutes on two busy cores.
LETTERS = 100

Open = Callable[..., AbstractContextManager[Pages]]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Open:
    """What opens the console of a running stack for a block."""

    def of(client: Client, *, read_only: bool = False) -> AbstractContextManager[Pages]:
        return console_of(client, monkeypatch, read_only=read_only)

    return of


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not (BROWSER and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    with Browser(tmp_path_factory.mktemp("browser")) as found:
        yield found


REJECTING = """
from handlers.processor import Rejected

def process(event):
    if event.get("bad"):
        raise Rejected(f"not this: {event['bad']}")
    return {"ok": True}
"""


@pytest.fixture(scope="module")
def shop(start: Start) -> Iterator[Client]:
    with start(worker={"timeout_seconds": 10, "max_attempts": 1}, storage={"archive": {}}) as client:
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
        checked = pages.ask("/send", fields)[1]
        assert "processed as a new event" in checked
        assert "The answer" not in checked
        assert "is not JSON" in pages.ask("/send", {"event": "{", "action": "send"})[1]
        # The processor is fixed, and one letter goes back.
        shop.use_processor("processors/echo.py", "def process(event):\n    return {}\n")
        message_id = letters.split("/letters/")[1].split('"')[0]
        assert pages.ask("/letters", {"kind": "redrive", "message_id": message_id})[0] == 303
        assert shop.until(lambda: shop.shown(event_id)["status"] == "succeeded")
        story = pages.get(f"/events/{event_id}")
        assert [title for title in ("dead-lettered", "redriven", "attempt 1 succeeded") if title not in story] == []
        # It can be sent again, from the archive; what never was there is said to be missing.
        again = pages.get(f"/send?again={event_id}")
        assert "onerror=alert(1)" in again
        assert "from the archive" in again
        assert "is not kept" in pages.get("/send?again=11111111-1111-4111-8111-111111111111")
        shop.use_processor("processors/echo.py", REJECTING)


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


@pytest.fixture(scope="module")
def files(start: Start) -> Iterator[Client]:
    with start("csv") as client:
        yield client


def test_a_file_is_uploaded_and_its_report_shown(files: Client, opened: Open) -> None:
    with opened(files) as pages:
        status, key = pages.ask("/send?name=a.csv", body=ROWS)
        assert (status, key.endswith("a.csv")) == (200, True)
        assert pages.ask("/send?name=../a.csv", body=ROWS)[0] == 400
        listed = files.until(lambda: "/files/reports/" in (found := pages.get("/files")) and found)
        assert "rows processed" in listed
        assert "No such file" in pages.get("/files?status=failed")
        assert "No such file" in pages.get("/files?name=b.csv")
        assert "No such file" in pages.get("/files?day=2020-01-01")
        assert pages.get("/files?status=succeeded&name=a.csv").count("/files/reports/") == 1
        assert pages.ask("/files?day=monday")[0] == 502
        report = pages.get(listed.split('<td><a href="')[1].split('"')[0])
        assert "rejected" in report
        assert "a.csv" in report
        assert "No dead letters" in pages.get("/letters")
        assert pages.ask("/files/reports/none")[0] == 502


@pytest.fixture(scope="module")
def fleet(start: Start) -> Iterator[Client]:
    with start("iot") as client:
        yield client


def test_a_device_is_found_and_its_readings_drawn_with_their_limits(fleet: Client, opened: Open) -> None:
    with opened(fleet) as pages:
        assert pages.ask("/send?name=a.jsonl", body=READING)[0] == 200
        fleet.until(lambda: "d-1" in pages.get("/devices"))
        page = pages.get("/devices?id=d-1")
        assert "temperature of d-1" in page
        # It is above its limit, which is seen on the chart, in the list and in its state.
        fleet.until(lambda: "Now: temperature" in pages.get("/devices?id=d-1"))
        assert '<text class="mark"' in page
        assert "Alerts that these readings cause" in page
        assert "critical crossed at 99" in page
        assert "<td" in page
        assert "pipeline replay" in pages.get("/letters")
        assert pages.ask("/letters", {"kind": "redrive", "a_second": "5"})[0] == 400


def test_a_browser_shows_what_happens_by_itself_and_runs_nothing_of_an_event(
    shop: Client, opened: Open, browser: Browser
) -> None:
    with opened(shop) as pages:
        browser.open(f"{pages.root}/events")
        assert "open the address" in browser.text()
        browser.open(pages.address.replace("token=", "token=x"))
        assert "this token is not the console's" in browser.text()
        browser.open(pages.address)
        assert browser.run("return location.href") == f"{pages.root}/"
        browser.until("The last 15 minutes")
        browser.complaints()
        browser.open(f"{pages.root}/events")
        event_id = shop.post({"bad": HOSTILE}, {"X-Correlation-Id": 'a"b\\c'})[1]["id"]
        # It asks again each second; `make bench-console` measures how long it takes until the event is there.
        assert browser.run("return document.querySelector('[data-live]').dataset.live") == "1000"
        browser.until(event_id)
        browser.until("failed")
        browser.click(f'a[href$="/events/{event_id}"]')
        browser.until("Story")
        assert browser.run("return document.title") == f"Event {event_id} · dev"
        browser.click(f'a[href$="/letters/{event_id}"]')
        browser.until("Edit and send")
        browser.write("textarea[name=event]", '{"good": 2}')
        browser.click("button[value=check]")
        browser.until("What will happen")
        browser.click("button[value=send]")
        browser.until("The answer: 202")
        browser.back()
        browser.back()
        browser.back()
        browser.until("Story")
        browser.reload()
        browser.until("Story")
        assert browser.complaints() == []


def test_events_are_searched_and_filtered_and_letters_purged_in_the_browser(
    shop: Client, opened: Open, browser: Browser
) -> None:
    good = shop.post({"event_type": "search", "good": 1})[1]["id"]
    bad = shop.post({"event_type": "search", "bad": "purge me"})[1]["id"]
    assert [shop.finished(each)["status"] for each in (good, bad)] == ["succeeded", "failed"]
    with opened(shop) as pages:
        browser.open(pages.address)
        browser.open(f"{pages.root}/events?type=search")
        assert bad in browser.until(good)
        browser.run("document.querySelector('select[name=status]').value = 'failed'")
        browser.click(".filters form:first-child button")
        browser.until("purge me")
        assert good not in browser.text()
        assert browser.run("return document.querySelector('input[name=type]').value") == "search"
        browser.back()
        browser.until(good)
        browser.write("input[name=id]", good)
        browser.click(".filters form:last-child button")
        browser.until("attempt 1 succeeded")
        assert browser.run("return location.href") == f"{pages.root}/events/{good}"
        # One letter after a click on the question, and the others after a word.
        browser.open(f"{pages.root}/letters/{bad}")
        browser.click("summary")
        browser.click("details button.danger")
        browser.until("Look again")
        assert bad not in browser.text()
        other = shop.post({"bad": "purge me, too"})[1]["id"]
        assert shop.finished(other)["status"] == "failed"
        browser.open(f"{pages.root}/letters")
        browser.until(other)
        browser.click("section button.danger")
        browser.until("write purge into the field")
        browser.back()
        browser.write("section input[name=sure]", "purge")
        browser.click("section button.danger")
        browser.until("purge 1")
        browser.until("The job has ended")
        browser.click("main p a")
        browser.until("No dead letters.")


class Neighbour(BaseHTTPRequestHandler):
    """Another server of this host, which links and posts to itself and takes down the cookies that it gets."""

    cookies: ClassVar[dict[str, str]] = {}

    def do_GET(self) -> None:
        self.cookies[f"{self.command} {self.path}"] = self.headers.get("Cookie", "none")
        self.send_response(200)
        self.send_header("Set-Cookie", "pipeline-console=theirs; Path=/")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b'<a href="/events">go</a><form method="post" action="/letters"><button>post</button></form>')

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None: ...


def test_no_other_server_of_the_host_gets_the_cookie(shop: Client, opened: Open, browser: Browser) -> None:
    with opened(shop) as pages, ThreadingHTTPServer(("127.0.0.1", 0), Neighbour) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        browser.open(pages.address)
        browser.until("The last 15 minutes")
        neighbour = f"http://127.0.0.1:{server.server_port}"
        browser.open(neighbour)
        browser.click("a")
        browser.click("button")
        browser.run("return fetch('/send', {credentials: 'include'}).then(() => 1)")
        server.shutdown()
        # It sees what it has set itself. That does not lock out the console's page, and its posts are refused.
        wanted = dict.fromkeys(("GET /events", "POST /letters", "GET /send"), "pipeline-console=theirs")
        assert {name: Neighbour.cookies[name] for name in wanted} == wanted
        assert Neighbour.cookies["GET /"] == "none"
        browser.open(f"{pages.root}/letters")
        browser.until("Dead letters")


def test_a_redrive_survives_a_reload_can_be_cancelled_and_shares_the_letters_with_another_console(
    shop: Client, opened: Open, browser: Browser
) -> None:
    dead_letters = shop.outputs["dead_letter_queue_url"]

    def redrive(pages: Pages, number: int, pace: str) -> None:
        browser.open(f"{pages.root}/letters")
        browser.write("h2 + form.row > label > input[name=a_second]", pace)
        browser.click("h2 + form.row > button[value=redrive]")
        browser.until(f"redrive {number}")

    def moved(pages: Pages) -> int:
        return sum(int(each) for each in re.findall(r'<progress max="\d+" value="(\d+)"', pages.get("/letters")))

    with opened(shop) as first, opened(shop) as second:
        before = shop.depth(dead_letters)
        for _ in range(LETTERS // 100):
            shop.post([{"bad": number} for number in range(1, 101)])
        shop.until(lambda: shop.depth(dead_letters) == before + LETTERS, seconds=LETTERS)
        shop.use_processor("processors/echo.py", "def process(event):\n    return {}\n")
        # A browser keeps the cookies of both.
        browser.open(first.address)
        browser.open(second.address)
        redrive(first, 1, "1")
        browser.until("running")
        browser.reload()
        browser.until("running")
        # By keyboard, while the page replaces the button each second.
        browser.tab_to("form[action$='/jobs/1/cancel'] button")
        browser.press(ENTER)
        browser.until("cancelled")
        browser.reload()
        browser.until("cancelled")
        assert 0 < shop.depth(dead_letters) < before + LETTERS
        # One works slowly while the other one takes the rest; neither moves what the other has moved.
        redrive(second, 1, "1")
        redrive(first, 2, "1000")
        shop.until(lambda: "running" not in first.get("/letters"), seconds=LETTERS)
        shop.until(lambda: "running" not in second.get("/letters"), seconds=LETTERS)
        assert shop.depth(dead_letters) == 0
        assert moved(first) + moved(second) == before + LETTERS
    shop.use_processor("processors/echo.py", REJECTING)


def test_an_event_is_edited_and_a_letter_redriven_by_keyboard_alone(
    shop: Client, opened: Open, browser: Browser
) -> None:
    event_id = shop.post({"bad": "keys"})[1]["id"]
    assert shop.finished(event_id)["status"] == "failed"
    with opened(shop) as pages:
        browser.open(pages.address)
        # The keyboard reaches the content first, then the pages.
        browser.press(TAB)
        assert browser.run("return document.activeElement.className") == "skip"
        browser.tab_to('nav a[href$="/letters"]')
        browser.press(ENTER)
        browser.until("not this: keys")
        browser.tab_to(f'a[href$="/events/{event_id}"]')
        browser.press(ENTER)
        browser.until("Its dead letter")
        browser.tab_to(f'a[href$="/letters/{event_id}"]')
        browser.press(ENTER)
        browser.until("Edit and send")
        browser.tab_to("textarea[name=event]")
        browser.replace('{"good": 3}')
        browser.tab_to("button[value=check]")
        browser.press(ENTER)
        browser.until("What will happen")
        browser.tab_to("button[value=send]")
        browser.press(ENTER)
        browser.until("The answer: 202")
        browser.back()
        browser.back()
        browser.until("Edit and send")
        shop.use_processor("processors/echo.py", "def process(event):\n    return {}\n")
        browser.tab_to("button[value=redrive]")
        browser.press(ENTER)
        browser.until("Dead letters")
        assert shop.until(lambda: shop.shown(event_id)["status"] == "succeeded")
        shop.use_processor("processors/echo.py", REJECTING)


def test_axe_finds_nothing_on_any_page_of_an_api_stack(shop: Client, opened: Open, browser: Browser) -> None:
    event_id = shop.post({"bad": HOSTILE})[1]["id"]
    assert shop.finished(event_id)["status"] == "failed"
    node = "/nodes/pipeline-worker-Function"
    paths = ["/", "/events", f"/events/{event_id}", f"/letters/{event_id}", "/send", node, "/events?status=x", "/none"]
    with opened(shop) as pages:
        check_pages(browser, pages, paths)
        # With a job, and with what was answered to a form.
        browser.open(f"{pages.root}/letters")
        browser.click("button[value=redrive]")
        browser.until("redrive 1")
        check_pages(browser, pages, ["/letters"])
        browser.open(f"{pages.root}/send")
        browser.click("button[value=send]")
        browser.until("The answer: 202")
        assert browser.violations() == []


def test_a_file_is_uploaded_in_the_browser_and_axe_finds_nothing_on_any_page_of_a_csv_stack(
    files: Client, opened: Open, browser: Browser, tmp_path: Path
) -> None:
    with opened(files) as pages:
        file = tmp_path / "b.csv"
        file.write_bytes(ROWS)
        browser.open(pages.address)
        browser.open(f"{pages.root}/send")
        browser.write("input[type=file]", str(file))
        browser.click("form button")
        browser.until("Uploaded as raw/b.csv")
        browser.open(f"{pages.root}/files")
        browser.until("b.csv")
        browser.write("input[name=name]", "b.csv")
        browser.click("form button")
        browser.click("tbody a")
        browser.until("Rejected rows by reason")
        report = browser.run("return location.pathname")
        check_pages(browser, pages, ["/", "/files", report, "/letters", "/send", "/nodes/pipeline-worker-Function"])


def test_readings_are_sent_in_the_browser_and_axe_finds_nothing_on_any_page_of_an_iot_stack(
    fleet: Client, opened: Open, browser: Browser
) -> None:
    with opened(fleet) as pages:
        browser.open(pages.address)
        browser.open(f"{pages.root}/send")
        browser.click("form[data-upload='.json'] button")
        browser.until("Uploaded as readings/console-")
        browser.open(f"{pages.root}/devices")
        browser.until("sim-1-0000")
        browser.write("input[name=id]", "sim-1-0000")
        browser.click("form button")
        browser.until("Newest readings")
        browser.until("humidity")
        assert pages.ask("/send?name=b.jsonl", body=READING)[0] == 200
        fleet.until(lambda: "Alerts" in pages.get("/devices?id=d-1"))
        node = "/nodes/pipeline-worker-Function"
        check_pages(browser, pages, ["/", "/devices", "/devices?id=d-1", "/letters", "/send", node])


def test_a_page_that_stays_open_while_events_pass_does_not_grow(shop: Client, opened: Open, browser: Browser) -> None:
    """`make bench-console` does so for ten minutes, with the memory of the heap."""

    def nodes() -> int:
        browser.command("HeapProfiler.collectGarbage", {})
        metrics = browser.command("Performance.getMetrics", {})["metrics"]
        return int(next(each["value"] for each in metrics if each["name"] == "Nodes"))

    def shown() -> int:
        script = "let n = 0; for (const w = document.createTreeWalker(document); w.nextNode();) n += 1; return n"
        return int(browser.run(script))

    with opened(shop) as pages:
        browser.open(pages.address)
        browser.open(f"{pages.root}/events")
        browser.command("Performance.enable", {})
        # The browser also keeps pages for its back button.
        others = nodes() - shown()
        for _ in range(5):
            newest = shop.post([{"good": number} for number in range(100)])[1]["results"][-1]["id"]
            browser.until(newest)
            assert shown() > 1_000
            # For a moment there are the old rows and the new ones. A page that kept the old ones would never settle.
            shop.until(lambda: nodes() < others + 1.3 * shown())
