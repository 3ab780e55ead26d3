"""An api stack in memory: the API's checks of an event and the worker's calls of the processor, without AWS."""

import json
import os
import sys
from collections.abc import Mapping
from contextlib import chdir
from typing import Any
from unittest.mock import patch

from components.config import load
from components.options.api import ApiPipelineConfig
from components.variants.api import event_schemas
from handlers.api.events import InvalidEventError, check
from handlers.api.identity import new_id
from handlers.api.processing import Answer, call, failure_of, load_processor
from handlers.api.results import ResultError
from handlers.api.worker import INLINE_RESULT_BYTES, STORING_SECONDS
from handlers.processor import Context, given_secrets
from handlers.shared.schemas import compile_schemas
from local.errors import LocalError
from local.project import Project
from testing.outcome import Outcome, rejected


class MemoryPipeline:
    """An api stack whose events are processed in this process. `send` returns when an event has its outcome."""

    def __init__(self, project: Project, secrets: Mapping[str, str]) -> None:
        """Read the stack's options, event schemas and processor. Raises ConfigError and LocalError."""
        with chdir(project.directory):
            config = load(project.config, file=f"Pulumi.{project.stack}.yaml")
            if not isinstance(config, ApiPipelineConfig):
                raise LocalError(
                    f"stack {project.stack!r} is of the variant {config.variant!r}, which has no processor: "
                    "test it with local_pipeline"
                )
            self._validators = compile_schemas(event_schemas(config.api))
        self._config = config
        self._secrets = {**dict.fromkeys(config.worker.secrets, "test"), **secrets}
        if str(project.directory) not in sys.path:
            sys.path.insert(0, str(project.directory))
        self._process = load_processor(config.worker.processor)

    def send(self, event: Mapping[str, Any]) -> Outcome:
        """Check an event as the API does and process it as the worker does, with all its attempts and no waits."""
        api = self._config.api
        try:
            event_type, _ = check(
                dict(event), max_depth=api.max_depth, type_field=api.type_field, validators=self._validators
            )
        except InvalidEventError as error:
            return rejected(error.problems)
        event_id, maximum = new_id(), self._config.worker.max_attempts
        attempt = 0
        while True:
            attempt += 1
            answer = self._answer(event, Context(event_id, event_type, attempt, maximum))
            if answer.error is None:
                return Outcome("succeeded", json.loads(answer.result), attempts=attempt)
            if answer.is_permanent or attempt == maximum:
                return Outcome("failed", None, failure_of(answer.error).text, attempt, answer.error)

    def _answer(self, event: Mapping[str, Any], context: Context) -> Answer:
        worker = self._config.worker
        seconds = worker.event_timeout_seconds or worker.timeout_seconds - STORING_SECONDS
        with given_secrets(self._secrets), patch.dict(os.environ, worker.environment):
            answer = call(self._process, event, context, seconds)
        if self._config.storage.results == "inline" and len(answer.result) > INLINE_RESULT_BYTES:
            return Answer(answer.seconds, error=ResultError("result is too large for an item"))
        return answer
