"""A browser for the console's tests and pictures, by the WebDriver protocol: https://www.w3.org/TR/webdriver2/."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from importlib import resources
from pathlib import Path
from typing import Any, Self

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
# https://www.w3.org/TR/webdriver2/#keyboard-actions
TAB, ENTER, CONTROL = "\ue004", "\ue007", "\ue009"
START_SECONDS, WAIT_SECONDS = 60, 60
PHONE_WIDTH = 500

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
# https://github.com/dequelabs/axe-core/blob/develop/doc/API.md
_AXE = r"""
const done = arguments[arguments.length - 1];
const places = (each) => each.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ");
axe.run().then(
  (found) => done(found.violations.map((each) => `${each.id} (${each.impact}): ${places(each)}`)),
  (error) => done([String(error)]),
);
"""


class BrowserError(AssertionError):
    """The browser does not do, or does not show, what it should."""


class Browser:
    """A headless Chromium with an empty profile in a folder, as a context manager. Raises BrowserError."""

    def __init__(self, folder: Path) -> None:
        if DRIVER is None or BROWSER is None:
            raise BrowserError("chromium and chromedriver are not installed")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._process = subprocess.Popen(  # noqa: S603  found on the path
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._session = ""

    def __enter__(self) -> Self:
        """Start a session as soon as the driver answers."""
        options = {"binary": BROWSER, "args": [*_FLAGS, f"--user-data-dir={self._folder}"]}
        wanted = {
            "capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        }
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"
            except OSError:
                if time.monotonic() > deadline:
                    self._process.kill()
                    raise
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        """Close the browser and its driver."""
        try:
            self._call("DELETE", self._session)
        finally:
            self._process.terminate()
            self._process.wait()

    def open(self, address: str) -> None:
        """Go to an address."""
        self._call("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *given: Any) -> Any:
        """Return what a script returns that runs in the page."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(given)})

    def click(self, selector: str) -> None:
        """Click on an element as soon as it is there. A page that refreshes itself may just have replaced it."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._call("POST", f"{self._session}/element/{self._found(selector)}/click", {})
            except BrowserError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def write(self, selector: str, text: str) -> None:
        """Put another text into a field. A file field takes a path."""
        element = f"{self._session}/element/{self._found(selector)}"
        if self.run("return document.querySelector(arguments[0]).type", selector) != "file":
            self._call("POST", f"{element}/clear", {})
        self._call("POST", f"{element}/value", {"text": text})

    def press(self, *keys: str) -> None:
        """Press keys, one after another, wherever the focus is."""
        self._keys([{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")])

    def replace(self, text: str) -> None:
        """Put another text into the field that has the focus, by keys alone."""
        keys = [("keyDown", CONTROL), ("keyDown", "a"), ("keyUp", "a"), ("keyUp", CONTROL)]
        self._keys([{"type": kind, "value": key} for kind, key in keys])
        self.press(*text)

    def tab_to(self, selector: str, most: int = 100) -> None:
        """Press the tab key until an element has the focus, which must be visible on it."""
        for _ in range(most):
            self.press(TAB)
            focused = self.run(
                "const e = document.activeElement; return e.matches(arguments[0]) && getComputedStyle(e).outlineStyle",
                selector,
            )
            if focused == "none":
                raise BrowserError(f"the focus on {selector} cannot be seen")
            if focused:
                return
        raise BrowserError(f"the keyboard does not reach {selector}")

    def _keys(self, actions: list[dict[str, str]]) -> None:
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def back(self) -> None:
        """Press the back button."""
        self._call("POST", f"{self._session}/back", {})

    def reload(self) -> None:
        """Press the reload button."""
        self._call("POST", f"{self._session}/refresh", {})

    def show_on(self, width: int, height: int, scheme: str) -> None:
        """Give the page another size, which is a phone's if it is narrow, and a colour scheme: light or dark."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE_WIDTH}
        self.command("Emulation.setDeviceMetricsOverride", metrics)
        wanted = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wanted.items()]
        self.command("Emulation.setEmulatedMedia", {"features": features})

    def command(self, name: str, parameters: dict[str, Any]) -> Any:
        """Run a command of Chromium's own protocol: https://chromedevtools.github.io/devtools-protocol/."""
        return self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def violations(self) -> list[str]:
        """Return what axe finds wrong with the page: rule, impact and the first places."""
        if not self.run("return typeof axe === 'object'"):
            self.run(resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8"))
        found = self._call("POST", f"{self._session}/execute/async", {"script": _AXE, "args": []})
        return [str(each) for each in found]

    def complaints(self) -> list[str]:
        """Return what the browser said of the pages: errors, and what the policy forbade."""
        return [each["message"] for each in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def text(self) -> str:
        """Return the page as text."""
        return str(self.run("return document.body.innerText"))

    def until(self, text: str, seconds: float = WAIT_SECONDS) -> str:
        """Return the text of the page as soon as it contains another."""
        deadline = time.monotonic() + seconds
        while text not in (shown := self.text()):
            if time.monotonic() > deadline:
                raise BrowserError(f"{text!r} does not appear in:\n{shown}")
            time.sleep(0.05)
        return shown

    def screenshot(self) -> bytes:
        """Return the visible part of the page as PNG."""
        return base64.b64decode(self._call("GET", f"{self._session}/screenshot"))

    def _found(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)  # noqa: S310  our own driver
        # Not through a proxy of the environment.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise BrowserError(json.load(error)["value"]["message"]) from error
