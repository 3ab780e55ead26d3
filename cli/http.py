"""Requests to a pipeline's API, without a library."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from local.errors import LocalError

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """What came back, whatever its status."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        """The body; None when it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        """What the body says went wrong, else the body's beginning."""
        body = self.json
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            return str(body["error"].get("message", body["error"]))
        return f"HTTP {self.status} {self.text[:200]}"


def request(method: str, url: str, body: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """One request. Raises LocalError when nobody answers."""
    data = None if body is None else body.encode()
    given = {"Content-Type": "application/json", **(headers or {})}
    asked = urllib.request.Request(url, data=data, headers=given, method=method)  # noqa: S310  the stack's own address
    # A proxy is for the world outside, never for the emulator.
    local = urlsplit(url).hostname == "127.0.0.1"
    opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
    try:
        with opener.open(asked, timeout=TIMEOUT_SECONDS) as answer:
            return Answer(answer.status, answer.read().decode(errors="replace"), dict(answer.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(errors="replace"), dict(error.headers))
    except OSError as error:
        host = urlsplit(url).netloc
        raise LocalError(f"{host} does not answer: {getattr(error, 'reason', error)}") from error
