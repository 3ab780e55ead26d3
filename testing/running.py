"""A stack that runs on this machine, in an emulator, for tests."""

import json
import os
import time
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from cli.core.http import Access, Answer, request
from components.config import load
from components.options.api import ApiPipelineConfig
from local.engine import Running
from local.services import Clients
from testing.outcome import Outcome, rejected

WAIT_SECONDS = 60
POLL_SECONDS = 0.1


class LocalPipeline:
    """A running pipeline. `outputs` are the stack's outputs, `aws("s3")` is a client of it."""

    def __init__(self, running: Running, headers: Mapping[str, str]) -> None:
        """Take a running pipeline, and headers that authenticate to its API. Signed requests need none."""
        project = running.project
        config = load(project.config, file=f"Pulumi.{project.stack}.yaml", check_processor=False)
        sign = isinstance(config, ApiPipelineConfig) and config.api.auth == "iam"
        self._access = Access(headers, sign=sign)
        self._environment = running.environment()
        self.outputs: Mapping[str, Any] = running.outputs
        self.aws = Clients(running.emulator)

    def send(self, event: Mapping[str, Any], *, wait_seconds: float = WAIT_SECONDS) -> Outcome:
        """Send an event to the API and return its outcome. Raises TimeoutError when it has none in time."""
        answer = self._request("POST", "/events", json.dumps([event]))
        results = (answer.json or {}).get("results")
        if not results:
            raise ValueError(f"the API answered {answer.status}: {answer.reason}")
        if results[0]["status"] == "rejected":
            return rejected(results[0]["errors"])
        path = f"/events/{quote(results[0]['id'], safe='')}"
        deadline = time.monotonic() + wait_seconds
        while (found := self._request("GET", path).json or {}).get("status") not in ("succeeded", "failed"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"event {results[0]['id']} has no outcome after {wait_seconds} seconds: {found}")
            time.sleep(POLL_SECONDS)
        return Outcome(found["status"], self._result(found), found.get("error"), found["attempts"])

    def upload(self, key: str, data: bytes | str) -> None:
        """Put an object into the input bucket of a csv or iot stack."""
        self.aws("s3").put_object(Bucket=self.outputs["input_bucket"], Key=key, Body=data)

    def _result(self, event: Mapping[str, Any]) -> Any:
        if url := event.get("result_url"):
            return request("GET", url).json
        return event.get("result")

    def _request(self, method: str, path: str, body: str | None = None) -> Answer:
        with patch.dict(os.environ, self._environment):
            return request(method, f"{self.outputs['api_url']}{path}", body, access=self._access)
