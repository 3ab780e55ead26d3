"""A browser, by the WebDriver protocol of its driver: https://www.w3.org/TR/webdriver2/."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self

DRIVER, BROWSER = shutil.which("chromedriver"), shutil.which("chromium")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """A headless Chromium with an empty profile, as a context manager."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        assert DRIVER
        self._process = subprocess.Popen(
            [DRIVER, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._session = ""

    def __enter__(self) -> Self:
        options = {"binary": BROWSER, "args": [*_FLAGS, f"--user-data-dir={self._folder}"]}
        wanted = {
            "capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}}
        }
        deadline = time.monotonic() + 30
        while True:
            try:
                self._session = f"/session/{self._call('POST', '/session', wanted)['sessionId']}"
            except OSError:
                assert time.monotonic() < deadline, "the driver does not answer"
                time.sleep(0.1)
            else:
                return self

    def __exit__(self, *_: object) -> None:
        try:
            self._call("DELETE", self._session)
        finally:
            self._process.terminate()
            self._process.wait()

    def open(self, address: str) -> None:
        self._call("POST", f"{self._session}/url", {"url": address})

    def run(self, script: str, *given: Any) -> Any:
        """What a script returns that runs in the page."""
        return self._call("POST", f"{self._session}/execute/sync", {"script": script, "args": list(given)})

    def click(self, selector: str) -> None:
        self._call("POST", f"{self._session}/element/{self._found(selector)}/click", {})

    def write(self, selector: str, text: str) -> None:
        element = f"{self._session}/element/{self._found(selector)}"
        self._call("POST", f"{element}/clear", {})
        self._call("POST", f"{element}/value", {"text": text})

    def press(self, key: str) -> None:
        """A key, wherever the focus is."""
        actions = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._call("POST", f"{self._session}/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def back(self) -> None:
        self._call("POST", f"{self._session}/back", {})

    def reload(self) -> None:
        self._call("POST", f"{self._session}/refresh", {})

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        self.command("Emulation.setDeviceMetricsOverride", metrics)

    def command(self, name: str, parameters: dict[str, Any]) -> None:
        """A command of Chromium's own protocol."""
        self._call("POST", f"{self._session}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def complaints(self) -> list[str]:
        """What the browser said of the pages: errors, and what the policy forbade."""
        return [each["message"] for each in self._call("POST", f"{self._session}/se/log", {"type": "browser"})]

    def text(self) -> str:
        return str(self.run("return document.body.innerText"))

    def until(self, text: str, seconds: float = 10) -> str:
        """The text of the page as soon as it contains another."""
        deadline = time.monotonic() + seconds
        while text not in (shown := self.text()):
            assert time.monotonic() < deadline, f"{text!r} does not appear in:\n{shown}"
            time.sleep(0.05)
        return shown

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def _found(self, selector: str) -> str:
        found = self._call("POST", f"{self._session}/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from error
