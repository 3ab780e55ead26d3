"""Requests in both payload formats of API Gateway, and responses."""

import base64
import gzip
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.api.events import Envelope
from handlers.shared.errors import (
    ApiError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
)
from handlers.shared.http import (
    USER_AGENT_LENGTH,
    Request,
    answer,
    error_body,
    known_parameters,
    read_request,
    response,
)

Event = dict[str, Any]

FORMATS = ("1.0", "2.0")


def lambda_event(payload_format: str, **changes: Any) -> Event:
    """Return the event of API Gateway for GET /events/{id}."""
    common: Event = {
        "headers": {"Content-Type": "application/json", "User-Agent": "curl/8.5", "X-Correlation-Id": "c-1"},
        "queryStringParameters": {"limit": "5"},
        "pathParameters": {"id": "e-1"},
        "isBase64Encoded": False,
    }
    if payload_format == "1.0":
        own: Event = {
            "httpMethod": "GET",
            "resource": "/events/{id}",
            "path": "/events/e-1",
            "body": None,
            "requestContext": {
                "requestId": "r-1",
                "path": "/events/e-1",
                "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8.5"},
            },
        }
    else:
        own = {
            "routeKey": "GET /events/{id}",
            "rawPath": "/events/e-1",
            "requestContext": {
                "requestId": "r-1",
                "http": {"method": "GET", "path": "/events/e-1", "sourceIp": "192.0.2.1", "userAgent": "curl/8.5"},
            },
        }
    return {"version": payload_format, **common, **own, **changes}


def with_headers(payload_format: str, headers: dict[str, str] | None) -> Request:
    return read_request(lambda_event(payload_format, headers=headers))


def with_user_agent(payload_format: str, user_agent: str | None) -> Request:
    event = lambda_event(payload_format)
    context = event["requestContext"]
    context["identity" if payload_format == "1.0" else "http"]["userAgent"] = user_agent
    return read_request(event)


@pytest.mark.parametrize("payload_format", FORMATS)
def test_both_payload_formats_give_the_same_request(payload_format: str) -> None:
    assert read_request(lambda_event(payload_format, body='{"a": "é"}')) == Request(
        route="GET /events/{id}",
        path="/events/e-1",
        headers={"content-type": "application/json", "user-agent": "curl/8.5", "x-correlation-id": "c-1"},
        parameters={"limit": "5"},
        repeated=[],
        event_id="e-1",
        body='{"a": "é"}'.encode(),
        source_ip="192.0.2.1",
        user_agent="curl/8.5",
        correlation_id="c-1",
        caller="",
        owner="",
    )


@pytest.mark.parametrize("payload_format", FORMATS)
def test_the_caller_is_the_signer_of_the_request(payload_format: str) -> None:
    event = lambda_event(payload_format)
    signer = {"userArn": "arn:aws:iam::123456789012:user/ann"}
    context = event["requestContext"]
    if payload_format == "1.0":
        context["identity"].update(signer)
    else:
        context["authorizer"] = {"iam": signer}
    assert read_request(event).caller == signer["userArn"]
    context.update({"identity": {**context.get("identity", {}), "userArn": None}, "authorizer": None})
    assert read_request(event).caller == ""


@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_part_that_is_null_or_absent_is_empty(payload_format: str) -> None:
    # For missing parts, a REST API sends null and an HTTP API nothing.
    nothing = {"headers": None, "queryStringParameters": None, "pathParameters": None, "body": None}
    null = read_request(lambda_event(payload_format, **nothing))
    event = lambda_event(payload_format)
    for name in nothing:
        event.pop(name, None)
    assert read_request(event) == null
    assert (null.headers, null.parameters, null.event_id, null.body) == ({}, {}, "", b"")
    assert null.correlation_id == "r-1"


@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_body_in_base64_is_decoded(payload_format: str) -> None:
    body = base64.b64encode('{"a": "é"}'.encode()).decode()
    assert read_request(lambda_event(payload_format, body=body, isBase64Encoded=True)).body == '{"a": "é"}'.encode()
    assert read_request(lambda_event(payload_format, body=body)).body == body.encode()


@pytest.mark.parametrize("body", ["%%%", "abc", "YWJj\n", "YW Jj", "é"])
@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_body_that_is_not_base64_is_a_bad_request(payload_format: str, body: str) -> None:
    with pytest.raises(BadRequestError, match="the body is not base64"):
        read_request(lambda_event(payload_format, body=body, isBase64Encoded=True))


@given(st.binary())
@settings(deadline=None)
def test_the_exact_bytes_of_any_body_are_kept(body: bytes) -> None:
    event = lambda_event("2.0", body=base64.b64encode(body).decode(), isBase64Encoded=True)
    assert read_request(event).body == body


@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_repeated_parameter_is_refused_by_its_name(payload_format: str) -> None:
    repeated = {"rawQueryString": "a=1&limit=5&limit=&b", "multiValueQueryStringParameters": {"limit": ["5", ""]}}
    with pytest.raises(BadRequestError, match="limit is repeated; give it once") as raised:
        known_parameters(read_request(lambda_event(payload_format, **repeated)), ("limit",))
    assert raised.value.details == [{"path": "limit", "message": "is repeated; give it once"}]


@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_comma_in_a_parameter_is_no_repetition(payload_format: str) -> None:
    once = {
        "rawQueryString": "type=a,b",
        "multiValueQueryStringParameters": {"type": ["a,b"]},
        "queryStringParameters": {"type": "a,b"},
    }
    assert read_request(lambda_event(payload_format, **once)).parameters == {"type": "a,b"}


def test_an_unknown_parameter_is_refused_with_the_known_ones() -> None:
    request = read_request(lambda_event("2.0"))
    assert known_parameters(request, ("limit", "type")) == {"limit": "5"}
    with pytest.raises(BadRequestError, match="limit is unknown; known are type"):
        known_parameters(request, ("type",))
    with pytest.raises(BadRequestError, match="limit is unknown; this route has none"):
        known_parameters(request, ())


def test_all_values_of_a_repeated_header_are_seen() -> None:
    event = lambda_event("1.0", headers={"X-Sign": "b"}, multiValueHeaders={"X-Sign": ["a", "b"]})
    assert read_request(event).headers == {"x-sign": "a,b"}


@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_compressed_body_is_given_as_it_was_sent(payload_format: str) -> None:
    sent = gzip.compress(b"{}")
    body = {"body": base64.b64encode(sent).decode(), "isBase64Encoded": True}
    request = read_request(lambda_event(payload_format, headers={"Content-Encoding": "GZIP"}, **body))
    assert (request.body, request.headers) == (sent, {"content-encoding": "GZIP"})


@pytest.mark.parametrize(
    ("payload_format", "encoding", "kept"), [("1.0", "gzip", False), ("1.0", "br", True), ("2.0", "gzip", True)]
)
def test_only_a_rest_api_may_have_expanded_a_body(payload_format: str, encoding: str, *, kept: bool) -> None:
    request = read_request(lambda_event(payload_format, body="{}", headers={"Content-Encoding": encoding}))
    assert ("content-encoding" in request.headers) == kept


@pytest.mark.parametrize("payload_format", FORMATS)
def test_head_is_answered_as_get_without_a_body(payload_format: str) -> None:
    event = lambda_event(payload_format)
    event |= {"httpMethod": "HEAD"} if payload_format == "1.0" else {"routeKey": "HEAD /events/{id}"}

    def route(request: Request, _facts: object) -> dict[str, Any]:
        return response(200, {"route": request.route})

    answered = answer(event, route, tuple)
    assert (answered["statusCode"], answered["body"]) == (200, "")
    got = answer(lambda_event(payload_format), route, tuple)
    assert (got["statusCode"], got["body"]) == (200, '{"route":"GET /events/{id}"}')


@pytest.mark.parametrize("name", ["X-Correlation-Id", "x-correlation-id", "X-CORRELATION-ID"])
@pytest.mark.parametrize("payload_format", FORMATS)
def test_header_names_are_case_insensitive(payload_format: str, name: str) -> None:
    assert with_headers(payload_format, {name: "mine"}).correlation_id == "mine"


@pytest.mark.parametrize("given_id", ["x", "a b", "x" * 200, "~!@#"])
def test_a_correlation_id_of_up_to_200_printable_characters_is_kept(given_id: str) -> None:
    assert with_headers("2.0", {"x-correlation-id": given_id}).correlation_id == given_id


@pytest.mark.parametrize("given_id", ["", " x", "x" * 201, "a\nb", "a\n", "a\tb", "a\x00b", "\x7f", "é", "a\x1b[31m"])
def test_a_correlation_id_that_is_too_long_or_not_printable_is_a_bad_request(given_id: str) -> None:
    with pytest.raises(BadRequestError) as raised:
        with_headers("2.0", {"x-correlation-id": given_id})
    message = "X-Correlation-Id must be 1 to 200 printable ASCII characters"
    assert (raised.value.code, raised.value.message) == ("invalid_header", message)
    assert raised.value.details == [{"path": "X-Correlation-Id", "message": message}]


def test_the_request_id_is_the_default_correlation_id() -> None:
    assert with_headers("1.0", {}).correlation_id == "r-1"
    assert with_headers("2.0", {}).correlation_id == "r-1"


@pytest.mark.parametrize("payload_format", FORMATS)
def test_a_missing_user_agent_is_empty_and_a_long_one_is_cut(payload_format: str) -> None:
    assert with_user_agent(payload_format, None).user_agent == ""
    assert with_user_agent(payload_format, "x" * 10_000).user_agent == "x" * USER_AGENT_LENGTH


@given(st.text(st.characters(max_codepoint=255), max_size=600))
@settings(deadline=None)
def test_the_worker_can_read_events_sent_with_any_user_agent(user_agent: str) -> None:
    # HTTP allows a tab and bytes above 127 in a header. An event accepted with 202 must not become unreadable.
    request = with_user_agent("2.0", user_agent)
    envelope = Envelope(
        id="9b2d3c1e-0000-4000-8000-123456789abc",
        type="default",
        received_at="2026-11-21T08:00:00.000000Z",
        source_ip=request.source_ip,
        user_agent=request.user_agent,
        correlation_id=request.correlation_id,
        fingerprint="",
        data={},
    )
    assert Envelope.from_message(envelope.to_message()) == envelope


def test_a_response_is_json_with_its_headers() -> None:
    answer = response(202, {"id": "é", "n": None}, {"Location": "/events/1"})
    assert answer["statusCode"] == 202
    assert answer["headers"] == {"Content-Type": "application/json", "Location": "/events/1"}
    assert json.loads(answer["body"]) == {"id": "é", "n": None}


@pytest.mark.parametrize(
    ("kind", "status"),
    [(BadRequestError, 400), (NotFoundError, 404), (ConflictError, 409), (TooLargeError, 413), (UnavailableError, 503)],
)
def test_every_error_has_its_status_and_the_documented_body(kind: type[ApiError], status: int) -> None:
    error = kind("a_code", "a message", [{"path": "/a", "message": "m"}])
    assert error.status == status
    body = {"code": "a_code", "message": "a message", "details": [{"path": "/a", "message": "m"}]}
    assert error_body(error) == {"error": body}


ROLE = "arn:aws:sts::123456789012:assumed-role/shop"


@pytest.mark.parametrize(
    ("payload_format", "known", "owner"),
    [
        ("2.0", {"authorizer": {"iam": {"userArn": f"{ROLE}/one"}}}, f"iam {ROLE}"),
        ("2.0", {"authorizer": {"iam": {"userArn": f"{ROLE}/another"}}}, f"iam {ROLE}"),
        ("2.0", {"authorizer": {"iam": {"userArn": "arn:aws:iam::1:user/a/b"}}}, "iam arn:aws:iam::1:user/a/b"),
        ("2.0", {"authorizer": {"jwt": {"claims": {"iss": "i", "sub": "s", "jti": "1"}}}}, '["jwt", "i", "s"]'),
        ("2.0", {"authorizer": {"jwt": {"claims": {"iss": "i", "client_id": "c"}}}}, '["jwt", "i", "c"]'),
        ("1.0", {"identity": {"userArn": f"{ROLE}/one", "apiKeyId": None}}, f"iam {ROLE}"),
        ("1.0", {"identity": {"userArn": None, "apiKeyId": "k1"}}, "key k1"),  # pragma: allowlist secret
        ("1.0", {"identity": {"userArn": None, "apiKeyId": None}}, ""),
        ("2.0", {"authorizer": {}}, ""),
    ],
)
def test_a_caller_owns_keys_whatever_the_session_or_token(payload_format: str, known: Event, owner: str) -> None:
    event = lambda_event(payload_format)
    event["requestContext"] |= known
    assert read_request(event).owner == owner
