"""Screenshots of the console for the docs, from real runs in Chromium: python -m benchmarks.console_pictures."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.browser import BROWSER, DRIVER, Browser
from cli.core.http import request

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs/images"
SAMPLES = ROOT / "tests/samples"
WIDTH, HEIGHT = 1280, 860
LOAD_SECONDS = 100
EVENTS_A_SECOND = 12
WAIT_SECONDS = 90
STACK = """\
config:
  datapipeline:variant: api
  datapipeline:environment: dev
  datapipeline:worker:
    processor: processors.shop:process
    max_attempts: 3
    backoff: {base_seconds: 1, maximum_seconds: 2}
  datapipeline:storage:
    archive: {}
"""
PROCESSOR = '''\
"""Prices orders."""

from handlers.processor import Rejected, Unavailable


def process(event, context):
    """Return the total of an order."""
    if event["amount"] <= 0:
        raise Rejected("amount must be above 0")
    if event["amount"] > 95 and context.attempt == 1:
        raise Unavailable("the warehouse does not answer")
    context.logger.info("priced")
    return {"total": round(event["amount"] * 1.19, 2)}
'''
ROWS = (
    "Ada,ada@example.com,{n}.50,2026-11-20,3", "Bob,bob@example.com,{n}.00,2026-11-21,1",
    "Cem,cem@example,12.00,2026-11-21,2", "Dora,dora@example.com,free,2026-11-22,4",
    "Eve,eve@example.com,{n}.10,22.11.2026,5", "Finn,finn@example.com,{n}.75,2026-11-23,some",
    "Gus,gus@example.com,{n}.25,2026-11-24,7", ",hana@example.com,{n}.99,2026-11-24,8",
    "Ida,ida@example.com,{n}.00,2026-11-25,9", "Jon,jon@example,{n}.00,2026-11-25,1",
)  # fmt: skip


def project(folder: Path) -> None:
    """Write a project with the stack shop, whose function rejects, retries and succeeds, and the sample stack csv."""
    for each in ("handlers", "components", "local", "cli", "testing", "__main__.py", "Pulumi.yaml"):
        (folder / each).symlink_to(ROOT / each)
    (folder / "Pulumi.csv.yaml").write_text((SAMPLES / "Pulumi.csv.yaml").read_text(encoding="utf-8"))
    (folder / "Pulumi.shop.yaml").write_text(STACK)
    (folder / "processors").mkdir()
    (folder / "processors/__init__.py").touch()
    (folder / "processors/shop.py").write_text(PROCESSOR)


@contextmanager
def local(folder: Path, stack: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Run a stack and its console; yields the console's address and the outputs of the stack."""
    seen, state = folder / f"{stack}.txt", folder / f".pipeline/local-{stack}.json"
    command = [sys.executable, "-W", "ignore", "-m", "cli"]
    own: dict[str, Any] = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(folder)}}
    with (
        seen.open("w") as live,
        subprocess.Popen(  # noqa: S603  ourselves
            [*command, "local", "--stack", stack], stdout=subprocess.DEVNULL, stderr=live, **own
        ) as process,
    ):
        try:
            until(lambda: "Ctrl-C stops it" in seen.read_text())
            with subprocess.Popen(  # noqa: S603  ourselves
                [*command, "console", "--stack", stack], stdout=subprocess.PIPE, text=True, **own
            ) as pages:
                try:
                    line = str(pages.stdout and pages.stdout.readline())
                    yield line.partition(": ")[2].strip(), json.loads(state.read_text())["outputs"]
                finally:
                    pages.terminate()
        finally:
            process.terminate()


def until(holds: Any) -> Any:
    """Return what a function returns as soon as that is true. Raises TimeoutError."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not (found := holds()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {WAIT_SECONDS} seconds")
        time.sleep(0.2)
    return found


def load(api_url: str, seconds: float) -> None:
    """Send orders, a few of which fail, more in the second half."""
    chosen = random.Random(7)  # noqa: S311  a picture
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        count = EVENTS_A_SECOND + round(4 * chosen.random()) + (6 if passed > seconds / 2 else 0)
        orders = [{"event_type": "order", "amount": round(chosen.uniform(1, 100), 2)} for _ in range(count)]
        orders += [{"event_type": "order", "amount": 0}] if chosen.random() < 0.2 else []  # noqa: PLR2004
        request("POST", f"{api_url}/events", json.dumps(orders))
        time.sleep(max(0.0, 1 - (time.monotonic() - began - passed)))


def overview(browser: Browser, api_url: str) -> bytes:
    """Return the overview while events pass."""
    load(api_url, LOAD_SECONDS)
    browser.until("succeeded", WAIT_SECONDS)
    # Lit while the last ones pass.
    load(api_url, 3)
    until(lambda: browser.run("return document.querySelectorAll('.edge.active').length > 4"))
    return browser.screenshot()


def story(browser: Browser, root: str, api_url: str, processor: Path) -> bytes:
    """Return the page of an event that was rejected, and redriven after the function was fixed."""
    order = json.dumps({"event_type": "order", "amount": 0})
    event_id = (request("POST", f"{api_url}/events", order).json or {})["id"]
    browser.open(f"{root}/events/{event_id}")
    browser.until("dead-lettered", WAIT_SECONDS)
    processor.write_text(PROCESSOR.replace("<= 0", "< 0"))
    until(lambda: "reloaded pipeline-worker" in (processor.parents[1] / "shop.txt").read_text())

    def redrives() -> bool:
        browser.open(f"{root}/letters/{event_id}")
        return bool(browser.run("return document.querySelector('button[value=redrive]') !== null"))

    until(redrives)
    browser.click("button[value=redrive]")
    browser.open(f"{root}/events/{event_id}")
    browser.until("attempt 1 succeeded", WAIT_SECONDS)
    browser.click(".story summary")
    return browser.screenshot()


def report(browser: Browser, root: str, folder: Path) -> bytes:
    """Return the report on a file with rejected rows."""
    file = folder / "orders-2026-11.csv"
    rows = [ROWS[number * number % len(ROWS)].format(n=number % 89) for number in range(4_000)]
    file.write_text("\n".join(["name,email,amount,date,quantity", *rows, ""]))
    browser.open(f"{root}/send")
    browser.write("input[type=file]", str(file))
    browser.click("form button")
    browser.until("Uploaded as", WAIT_SECONDS)
    browser.open(f"{root}/files")
    browser.until(file.name, WAIT_SECONDS)
    browser.click("tbody a")
    browser.until("Rejected rows by reason")
    return browser.screenshot()


def root_of(browser: Browser) -> str:
    """Return the address below which the pages of the console are, of the first page that it led to."""
    return str(browser.run("return location.href")).removesuffix("/")


def console_pictures() -> Iterator[tuple[str, bytes]]:
    """Yield the screenshots with their file names. Needs Chromium and its driver."""
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory() as profile,
        Browser(Path(profile)) as browser,
    ):
        folder = Path(name)
        project(folder)
        with local(folder, "csv") as (address, _):
            browser.open(address)
            browser.show_on(WIDTH, HEIGHT, "light")
            yield "console-report.png", report(browser, root_of(browser), folder)
        with local(folder, "shop") as (address, outputs):
            browser.open(address)
            browser.show_on(WIDTH, HEIGHT, "dark")
            root, processor = root_of(browser), folder / "processors/shop.py"
            yield "console-story.png", story(browser, root, outputs["api_url"], processor)
            browser.open(f"{root}/")
            browser.show_on(WIDTH, HEIGHT, "light")
            yield "console-overview.png", overview(browser, outputs["api_url"])


def main() -> int:
    """Write the screenshots."""
    if not (BROWSER and DRIVER):
        sys.stderr.write("no screenshots of the console: chromium and chromedriver are not installed\n")
        return 0
    for name, picture in console_pictures():
        (IMAGES / name).write_bytes(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
