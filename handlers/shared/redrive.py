"""The function behind `/redrive`: lists dead letters, and moves some of them back into their queue.

Both routes take the parameters of `PARAMETERS`: `preview` in its query, `start` in its body.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.shared.bodies import json_text
from handlers.shared.context import LambdaContext
from handlers.shared.dead_letters import ROUND_SECONDS, DeadLetters
from handlers.shared.dynamodb import outside_errors
from handlers.shared.errors import BadRequestError, ForbiddenError, NotFoundError
from handlers.shared.http import (
    Request,
    answer,
    error_body,
    invalid_parameters,
    known_parameters,
    response,
    single_parameters,
    unavailable_error,
)
from handlers.shared.letters import Explain, Wanted, field_of, is_field
from handlers.shared.passes import Pass
from handlers.shared.settings import RedriveSettings
from handlers.shared.strict_json import without_repeated_names

DEFAULT_MESSAGES = 100
# Of a preview: its answer is limited to 6 MB.
MAXIMUM_MESSAGES = 1_000
# Of a start, which moves as many as it has time for.
MAXIMUM_REDRIVEN = 100_000
# SQS keeps messages for 14 days at most.
MAXIMUM_AGE_SECONDS = 1_209_600
MAXIMUM_TEXT_LENGTH = 512
# Reserved at the end of the function's time for the last round of a pass, and for the response.
STOPPING_SECONDS = ROUND_SECONDS + 2

NUMBERS = {
    "max_messages": (1, MAXIMUM_MESSAGES),
    "min_age_seconds": (0, MAXIMUM_AGE_SECONDS),
    "max_age_seconds": (0, MAXIMUM_AGE_SECONDS),
}
# With what they compare.
TEXTS = {
    "error_type": "the error type",
    "id": "the id of the message, or of its event or file",
}
# About events, so that only the api variant has them.
EVENT_TEXTS = {
    "type": "the type of the event",
    "field": "a value in the event, with its path: customer.id=42",
}
PARAMETERS = (*NUMBERS, *TEXTS)
EVENT_PARAMETERS = (*PARAMETERS, *EVENT_TEXTS)


class Redrive:
    """The routes of `/redrive`. `explain` returns the causes of dead letters, `parameters` are those that it takes."""

    def __init__(self, settings: RedriveSettings, explain: Explain, parameters: Sequence[str] = PARAMETERS) -> None:
        self._parameters = parameters
        self._queue_url = settings.queue_url
        self._dead_letters = DeadLetters(settings.dead_letter_queue_url, explain)

    def handle(self, event: Mapping[str, Any], context: LambdaContext) -> dict[str, Any]:
        """Return the response to a request of API Gateway."""
        seconds = context.get_remaining_time_in_millis() / 1_000 - STOPPING_SECONDS
        return answer(event, lambda request, facts: self._route(request, seconds, facts), outside_errors)

    def _route(self, request: Request, seconds: float, facts: dict[str, Any]) -> dict[str, Any]:
        # The routes require AWS_IAM. This check keeps dead letters private even if they are opened by mistake.
        if not request.caller:
            raise ForbiddenError("not_signed", "sign the request with AWS credentials")
        facts["caller"] = request.caller
        match request.route:
            case "GET /redrive/preview":
                messages, done = self._dead_letters.look(
                    *self._asked(_numbers(single_parameters(request)), MAXIMUM_MESSAGES), seconds
                )
                return _answered(done, {"messages": messages})
            case "POST /redrive/start":
                known_parameters(request, ())
                done = self._dead_letters.redrive(
                    self._queue_url,
                    *self._asked(_object(json_text(request.body, request.headers)), MAXIMUM_REDRIVEN),
                    seconds,
                )
                facts.update(done.described())
                return _answered(done, {})
            case _:
                raise NotFoundError("no_such_route", "there is no such route")

    def _asked(self, given: Mapping[str, Any], maximum: int) -> tuple[Wanted, int]:
        """Return the filter and the maximum number of messages. Raises BadRequestError."""
        given = {name: _whole(value) for name, value in given.items()}
        problems = {name: message for name, value in given.items() if (message := self._problem(name, value, maximum))}
        if problems:
            raise invalid_parameters(problems)
        wanted = Wanted(
            given.get("error_type"),
            min_age_seconds=given.get("min_age_seconds", 0),
            max_age_seconds=given.get("max_age_seconds"),
            id=given.get("id"),
            type=given.get("type"),
            field=field_of(given["field"]) if "field" in given else None,
        )
        if wanted.max_age_seconds is not None and wanted.max_age_seconds < wanted.min_age_seconds:
            below = f"{wanted.max_age_seconds} is below min_age_seconds {wanted.min_age_seconds}"
            raise invalid_parameters({"max_age_seconds": below})
        return wanted, given.get("max_messages", DEFAULT_MESSAGES)

    def _problem(self, name: str, value: object, maximum: int) -> str | None:
        if name not in self._parameters:
            return f"is not known; there are {', '.join(self._parameters)}"
        if name in NUMBERS:
            lowest, highest = (1, maximum) if name == "max_messages" else NUMBERS[name]
            # In Python, True is an int.
            fits = isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
            return None if fits else f"must be a whole number from {lowest} to {highest}"
        if not isinstance(value, str) or not 1 <= len(value) <= MAXIMUM_TEXT_LENGTH:
            return f"must be text of 1 to {MAXIMUM_TEXT_LENGTH} characters"
        return None if name != "field" or is_field(value) else "must be a path and a value, such as customer.id=42"


def _answered(done: Pass, more: Mapping[str, Any]) -> dict[str, Any]:
    body = {**more, **done.described()}
    if done.error is None:
        return response(200, body)
    error = unavailable_error()
    return response(error.status, {**body, **error_body(error)})


def _numbers(parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a query, with its numbers, which are text there."""
    return {
        name: int(text) if name in NUMBERS and re.fullmatch("[0-9]{1,9}", text) else text
        for name, text in parameters.items()
    }


def _object(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text, object_pairs_hook=without_repeated_names)
    except (ValueError, RecursionError) as error:
        raise BadRequestError("invalid_json", f"the body is not JSON: {error}"[:300]) from error
    if not isinstance(body, dict):
        raise BadRequestError("not_an_object", "the body must be a JSON object")
    return body


def _whole(value: object) -> object:
    """Return a number without a fraction as int: in JSON `5.0` and `5` are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
