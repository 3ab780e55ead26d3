"""The function behind `/redrive`: lists dead letters, and moves some of them back into their queue.

Both routes take the parameters of `PARAMETERS`: `preview` in its query, `start` in its body.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from handlers.shared.bodies import json_text
from handlers.shared.context import LambdaContext
from handlers.shared.dead_letters import ROUND_SECONDS, DeadLetters, Explain, Pass, Wanted
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
from handlers.shared.settings import RedriveSettings
from handlers.shared.strict_json import without_repeated_names

DEFAULT_MESSAGES = 100
# A pass over as many takes some seconds. Clients repeat the request for more.
MAXIMUM_MESSAGES = 1_000
# SQS keeps messages for 14 days at most.
MAXIMUM_AGE_SECONDS = 1_209_600
MAXIMUM_TYPE_LENGTH = 256
# Reserved at the end of the function's time for the last round of a pass, and for the response.
STOPPING_SECONDS = ROUND_SECONDS + 2

NUMBERS = {
    "max_messages": (1, MAXIMUM_MESSAGES),
    "min_age_seconds": (0, MAXIMUM_AGE_SECONDS),
    "max_age_seconds": (0, MAXIMUM_AGE_SECONDS),
}
PARAMETERS = (*NUMBERS, "error_type")


class Redrive:
    """The routes of `/redrive`. `explain` returns the causes of dead letters."""

    def __init__(self, settings: RedriveSettings, explain: Explain) -> None:
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
                messages, done = self._dead_letters.look(*_asked(_numbers(single_parameters(request))), seconds)
                return _answered(done, {"messages": messages})
            case "POST /redrive/start":
                known_parameters(request, ())
                done = self._dead_letters.redrive(
                    self._queue_url, *_asked(_object(json_text(request.body, request.headers))), seconds
                )
                facts.update(done.described())
                return _answered(done, {})
            case _:
                raise NotFoundError("no_such_route", "there is no such route")


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


def _asked(given: Mapping[str, Any]) -> tuple[Wanted, int]:
    """Return the filter and the maximum number of messages. Raises BadRequestError."""
    given = {name: _whole(value) for name, value in given.items()}
    problems = {name: message for name, value in given.items() if (message := _problem(name, value))}
    wanted = Wanted(
        given.get("error_type"),
        min_age_seconds=given.get("min_age_seconds", 0),
        max_age_seconds=given.get("max_age_seconds"),
    )
    if not problems and wanted.max_age_seconds is not None and wanted.max_age_seconds < wanted.min_age_seconds:
        problems["max_age_seconds"] = f"{wanted.max_age_seconds} is below min_age_seconds {wanted.min_age_seconds}"
    if problems:
        raise invalid_parameters(problems)
    return wanted, given.get("max_messages", DEFAULT_MESSAGES)


def _whole(value: object) -> object:
    """Return a number without a fraction as int: in JSON `5.0` and `5` are the same number."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _problem(name: str, value: object) -> str | None:
    if name in NUMBERS:
        lowest, highest = NUMBERS[name]
        # In Python, True is an int.
        fits = isinstance(value, int) and not isinstance(value, bool) and lowest <= value <= highest
        return None if fits else f"must be a whole number from {lowest} to {highest}"
    if name == "error_type":
        fits = isinstance(value, str) and 1 <= len(value) <= MAXIMUM_TYPE_LENGTH
        return None if fits else f"must be text of 1 to {MAXIMUM_TYPE_LENGTH} characters"
    return f"is not known; there are {', '.join(PARAMETERS)}"
