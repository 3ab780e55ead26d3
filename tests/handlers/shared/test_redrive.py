"""Parameters of the redrive routes, and the answers to invalid ones. No call to AWS is made."""

import json
from typing import Any

import pytest

from handlers.shared import dead_letters
from handlers.shared.letters import Wanted
from handlers.shared.passes import Pass
from handlers.shared.redrive import EVENT_PARAMETERS, PARAMETERS, Redrive
from handlers.shared.settings import RedriveSettings

SETTINGS = RedriveSettings(table_name="t", queue_url="q", dead_letter_queue_url="d")
SIGNED = {"iam": {"userArn": "arn:aws:iam::123456789012:user/ann"}}
KNOWN = f"there are {', '.join(EVENT_PARAMETERS)}"


class Time:
    aws_request_id = "run"

    def get_remaining_time_in_millis(self) -> int:
        return 29_000


class Asked(dead_letters.DeadLetters):
    """Records the filter, maximum and time of a pass."""

    def go_through(  # type: ignore[override]
        self,
        wanted: Wanted,
        maximum: float,
        seconds: float,
        act: Any,  # noqa: ARG002  as it is called
        done: Pass,
        control: Any,  # noqa: ARG002  as above
    ) -> Pass:
        self.asked = wanted, maximum, seconds
        return done


@pytest.fixture
def redrive(monkeypatch: pytest.MonkeyPatch) -> Redrive:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    made = Redrive(SETTINGS, lambda _: [], EVENT_PARAMETERS)
    made._dead_letters = Asked("d", lambda _: [])
    return made


def preview(redrive: Redrive, parameters: dict[str, str] | None) -> tuple[int, Any]:
    return answered(redrive, "GET /redrive/preview", {"queryStringParameters": parameters})


def start(redrive: Redrive, text: str | None) -> tuple[int, Any]:
    return answered(redrive, "POST /redrive/start", {"body": text})


def answered(redrive: Redrive, route: str, more: dict[str, Any]) -> tuple[int, Any]:
    context = {"requestId": "r", "http": {"sourceIp": "", "userAgent": ""}, "authorizer": SIGNED}
    answer = redrive.handle({"routeKey": route, "rawPath": "/", "requestContext": context, **more}, Time())
    return answer["statusCode"], json.loads(answer["body"])


def asked(redrive: Redrive) -> Any:
    dead_letters = redrive._dead_letters
    assert isinstance(dead_letters, Asked)
    return dead_letters.asked


def test_without_parameters_a_pass_is_about_the_first_hundred_messages(redrive: Redrive) -> None:
    assert preview(redrive, None)[0] == 200
    assert asked(redrive) == (Wanted(None, 0), 100, 19)
    assert start(redrive, "{}")[0] == 200
    assert asked(redrive) == (Wanted(None, 0), 100, 19)


def test_parameters_reach_the_pass_unchanged(redrive: Redrive) -> None:
    given = {"max_messages": 1_000, "error_type": "Timeout Error", "min_age_seconds": 60, "max_age_seconds": 90}
    preview(redrive, {name: str(value) for name, value in given.items()})
    assert asked(redrive)[:2] == (Wanted("Timeout Error", 60, 90), 1_000)
    start(redrive, json.dumps(given))
    assert asked(redrive)[:2] == (Wanted("Timeout Error", 60, 90), 1_000)


def test_every_filter_reaches_the_pass(redrive: Redrive) -> None:
    given = {"id": "an id", "type": "order", "field": "customer.id=a=b"}
    for answer in (preview(redrive, given), start(redrive, json.dumps(given))):
        assert answer[0] == 200
        assert asked(redrive)[0] == Wanted(id="an id", type="order", field=("customer.id", "a=b"))


def test_a_pipeline_without_events_has_no_filter_of_events(redrive: Redrive) -> None:
    redrive._parameters = PARAMETERS
    assert start(redrive, '{"type": "order"}')[1]["error"]["message"].startswith("type is not known; there are ")
    assert start(redrive, '{"id": "a file"}')[0] == 200


@pytest.mark.parametrize("value", ["0", "-1", "abc", "1e9", "1001", "1.0", "", " 1", "1,2", "9" * 5_000, "\u0661"])
def test_a_query_with_an_invalid_number_is_refused(redrive: Redrive, value: str) -> None:
    status, body = preview(redrive, {"max_messages": value})
    message = "must be a whole number from 1 to 1000"
    assert (status, body) == (
        400,
        {
            "error": {
                "code": "invalid_parameter",
                "message": f"max_messages {message}",
                "details": [{"path": "max_messages", "message": message}],
            },
        },
    )


@pytest.mark.parametrize(
    "value", ["0", "-1", "true", "1.5", "0.0", "1e9", "1e999", '"5"', "null", "[1]", "100001", "NaN"]
)
def test_a_body_with_an_invalid_number_is_refused(redrive: Redrive, value: str) -> None:
    status, body = start(redrive, f'{{"max_messages": {value}}}')
    assert (status, body["error"]["message"]) == (400, "max_messages must be a whole number from 1 to 100000")


@pytest.mark.parametrize("value", ["50", "50.0", "5e1", "500e-1"])
def test_a_whole_number_may_be_written_with_a_fraction_or_exponent(redrive: Redrive, value: str) -> None:
    assert start(redrive, f'{{"max_messages": {value}, "min_age_seconds": -0.0}}')[0] == 200
    assert asked(redrive)[:2] == (Wanted(None, 0), 50)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limit": 5}, f"limit is not known; {KNOWN}"),
        ({"": 5}, f" is not known; {KNOWN}"),
        ({"error_type": ""}, "error_type must be text of 1 to 512 characters"),
        ({"error_type": None}, "error_type must be text of 1 to 512 characters"),
        ({"error_type": "x" * 513}, "error_type must be text of 1 to 512 characters"),
        ({"id": ""}, "id must be text of 1 to 512 characters"),
        ({"type": 5}, "type must be text of 1 to 512 characters"),
        ({"field": "customer.id"}, "field must be a path and a value, such as customer.id=42"),
        ({"field": "=42"}, "field must be a path and a value, such as customer.id=42"),
        ({"field": "customer.id="}, "field must be a path and a value, such as customer.id=42"),
        ({"min_age_seconds": -1}, "min_age_seconds must be a whole number from 0 to 1209600"),
        ({"max_age_seconds": -1}, "max_age_seconds must be a whole number from 0 to 1209600"),
        ({"max_age_seconds": 59, "min_age_seconds": 60}, "max_age_seconds 59 is below min_age_seconds 60"),
        ({"min_age_seconds": 1_209_601}, "min_age_seconds must be a whole number from 0 to 1209600"),
    ],
)
def test_every_other_invalid_parameter_is_named(redrive: Redrive, given: dict[str, Any], message: str) -> None:
    status, body = start(redrive, json.dumps(given))
    assert (status, body["error"]["code"], body["error"]["message"]) == (400, "invalid_parameter", message)


def test_up_to_twenty_invalid_parameters_are_listed(redrive: Redrive) -> None:
    _, body = preview(redrive, {"a": "1", "max_messages": "0", "error_type": "fine"})
    assert [detail["path"] for detail in body["error"]["details"]] == ["a", "max_messages"]
    _, body = start(redrive, json.dumps({f"{number}" * 400: 1 for number in range(5_000)}))
    assert len(body["error"]["details"]) == 20
    assert max(len(detail["path"]) for detail in body["error"]["details"]) == 256


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (None, "invalid_json"),
        ("", "invalid_json"),
        ("max_messages=5", "invalid_json"),
        ("[" * 100_000, "invalid_json"),
        ('{"max_messages": ' + "9" * 10_000 + "}", "invalid_json"),
        ("[]", "not_an_object"),
        ("null", "not_an_object"),
        ("5", "not_an_object"),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(redrive: Redrive, text: str | None, code: str) -> None:
    status, body = start(redrive, text)
    assert (status, body["error"]["code"]) == (400, code)
    assert len(body["error"]["message"]) <= 300


@pytest.mark.parametrize("authorizer", [None, {}, {"iam": None}, {"iam": {}}, {"jwt": {"claims": {"sub": "x"}}}])
@pytest.mark.parametrize("route", ["GET /redrive/preview", "POST /redrive/start", "GET /other"])
def test_an_unsigned_request_is_refused_even_if_the_route_lets_it_in(
    redrive: Redrive, route: str, authorizer: Any
) -> None:
    context = {"requestId": "r", "http": {"sourceIp": "", "userAgent": ""}, "authorizer": authorizer}
    answer = redrive.handle({"routeKey": route, "rawPath": "/", "requestContext": context, "body": "{}"}, Time())
    assert (answer["statusCode"], json.loads(answer["body"])["error"]["code"]) == (403, "not_signed")


def test_the_log_has_the_caller_and_the_result(redrive: Redrive, caplog: pytest.LogCaptureFixture) -> None:
    start(redrive, "{}")
    (line,) = caplog.records
    assert (line.caller, line.redriven, line.complete) == (SIGNED["iam"]["userArn"], 0, False)  # type: ignore[attr-defined]


def test_a_start_moves_more_than_a_preview_can_show(redrive: Redrive) -> None:
    assert start(redrive, '{"max_messages": 100000}')[0] == 200
    assert asked(redrive)[1] == 100_000
    assert preview(redrive, {"max_messages": "1001"})[0] == 400
