"""Requests and responses of API Gateway, in both payload formats (1.0 for a REST API, 2.0 for an HTTP API).

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from handlers.shared.bodies import was_expanded
from handlers.shared.errors import ApiError, BadRequestError, UnavailableError
from handlers.shared.log import logger, write_record
from handlers.shared.text import printable

USER_AGENT_LENGTH = 512
# Of the problems with parameters: how many are listed, and how long a client's name for one may be there.
LISTED_PROBLEMS, NAME_LENGTH = 20, 256
_HEAD = "HEAD "

CORRELATION_ID_PATTERN = "[!-~][ -~]{0,199}"

_correlation_id = re.compile(CORRELATION_ID_PATTERN).fullmatch


@dataclass(frozen=True)
class Request:
    """One request. `headers` have lower-case names, `route` is as in `GET /events/{id}`, `path` begins with the stage.

    A header that was sent repeatedly has all its values, separated by commas; `repeated` names such parameters.
    `body` has the bytes as they were sent. `caller` is the ARN that signed the request where the route requires a
    signature, else empty. `owner` says whose the idempotency keys are: the same user, role, token's subject or API
    key each time; empty where the API asks nobody.
    """

    route: str
    path: str
    headers: Mapping[str, str]
    parameters: Mapping[str, str]
    repeated: Sequence[str]
    event_id: str
    body: bytes
    source_ip: str
    user_agent: str
    correlation_id: str
    caller: str
    owner: str


# Returns the response. The facts that it adds go into the request's log line.
Route = Callable[[Request, dict[str, Any]], dict[str, Any]]


def answer(
    event: Mapping[str, Any],
    route: Route,
    outside_errors: Callable[[], tuple[type[Exception], ...]],
    refused: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Return the response of `route` to a request, or that of the error it raises.

    `outside_errors` returns the errors of services, raised before anything was accepted: they become a 503. `refused`
    is called for a refused request, and may add facts to its log line.
    """
    # For a request that cannot be read. The logger keeps the id until the next request.
    logger.set_correlation_id(event["requestContext"]["requestId"])
    facts: dict[str, Any] = {"route": read_route(event)}
    try:
        request = read_request(event)
        logger.set_correlation_id(request.correlation_id)
        answered = route(request, facts)
    except ApiError as error:
        refused(facts)
        answered = response(error.status, error_body(error))
    except outside_errors():
        logger.exception("a service did not answer")
        unavailable = unavailable_error()
        answered = response(unavailable.status, error_body(unavailable))
    write_record("request", **facts, status=answered["statusCode"])
    return {**answered, "body": ""} if _sent_route(event).startswith(_HEAD) else answered


def unavailable_error() -> UnavailableError:
    """Return the error that a client sees when a service failed. The cause is only in the log."""
    return UnavailableError("unavailable", "a service did not answer; try again")


def read_route(event: Mapping[str, Any]) -> str:
    """Return the route that API Gateway chose: `GET /events/{id}`, also for a `HEAD`, whose answer has no body."""
    route = _sent_route(event)
    return f"GET {route.removeprefix(_HEAD)}" if route.startswith(_HEAD) else route


def _sent_route(event: Mapping[str, Any]) -> str:
    return str(event["routeKey"]) if "http" in event["requestContext"] else f"{event['httpMethod']} {event['resource']}"


def read_request(event: Mapping[str, Any]) -> Request:
    """Return the request in a Lambda event. Raises BadRequestError for a body or header that cannot be read."""
    context = event["requestContext"]
    headers, body = _headers(event), _body(event)
    if "http" in context:
        path, client = event["rawPath"], context["http"]
        authorizer = context.get("authorizer") or {}
        signer, claims = authorizer.get("iam") or {}, (authorizer.get("jwt") or {}).get("claims") or {}
    else:
        path, client = context["path"], context["identity"]
        signer, claims = client, {}
        if was_expanded(body, headers):
            # Above its minimum compression size, a REST API expands a body and leaves the header:
            # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-make-request-with-compressed-payload.html
            del headers["content-encoding"]
    return Request(
        route=read_route(event),
        path=path,
        headers=headers,
        parameters=event.get("queryStringParameters") or {},
        repeated=_repeated_parameters(event),
        event_id=(event.get("pathParameters") or {}).get("id", ""),
        body=body,
        source_ip=printable(client.get("sourceIp") or "", USER_AGENT_LENGTH),
        user_agent=printable(client.get("userAgent") or "", USER_AGENT_LENGTH),
        correlation_id=_read_correlation_id(headers.get("x-correlation-id"), context["requestId"]),
        caller=signer.get("userArn") or "",
        owner=_owner(signer, claims, client.get("apiKeyId") or ""),
    )


def _owner(signer: Mapping[str, Any], claims: Mapping[str, Any], api_key_id: str) -> str:
    if arn := signer.get("userArn"):
        # An assumed role has another session each time: `arn:aws:sts::123456789012:assumed-role/shop/i-0a1b`.
        return f"iam {arn.rpartition('/')[0] if ':assumed-role/' in arn else arn}"
    if claims:
        # A token without a subject is its client's: https://www.rfc-editor.org/rfc/rfc9068
        return json.dumps(["jwt", claims.get("iss"), claims.get("sub") or claims.get("client_id")])
    return f"key {api_key_id}" if api_key_id else ""


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    # An HTTP API joins repeated headers. In `headers`, a REST API has only the last of them.
    repeated = {name: ",".join(values) for name, values in (event.get("multiValueHeaders") or {}).items()}
    return {name.lower(): value for name, value in {**(event.get("headers") or {}), **repeated}.items()}


def _repeated_parameters(event: Mapping[str, Any]) -> list[str]:
    if "http" in event["requestContext"]:
        # An HTTP API joins repeated parameters with commas, which a single value may contain, too.
        names = [name for name, _ in parse_qsl(event.get("rawQueryString") or "", keep_blank_values=True)]
        return [name for name, count in Counter(names).items() if count > 1]
    given = event.get("multiValueQueryStringParameters") or {}
    return [name for name, values in given.items() if len(values) > 1]


def single_parameters(request: Request) -> Mapping[str, str]:
    """Return the query. Raises BadRequestError for a repeated parameter: its values could be read in several ways."""
    if request.repeated:
        raise invalid_parameters(dict.fromkeys(request.repeated, "is repeated; give it once"))
    return request.parameters


def known_parameters(request: Request, known: Collection[str]) -> Mapping[str, str]:
    """Return the query. Raises BadRequestError for parameters that the route does not have."""
    allowed = f"known are {', '.join(known)}" if known else "this route has none"
    parameters = single_parameters(request)
    if unknown := [name for name in parameters if name not in known]:
        raise invalid_parameters(dict.fromkeys(unknown, f"is unknown; {allowed}"))
    return parameters


def invalid_parameters(problems: Mapping[str, str]) -> BadRequestError:
    """Return the error that lists what is wrong with each of some parameters."""
    details = [{"path": name[:NAME_LENGTH], "message": text} for name, text in problems.items()][:LISTED_PROBLEMS]
    return BadRequestError("invalid_parameter", f"{details[0]['path']} {details[0]['message']}", details)


def _body(event: Mapping[str, Any]) -> bytes:
    body: str = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        # Half a surrogate pair is refused where the text is decoded.
        return body.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise BadRequestError("invalid_json", "the body is not base64, as API Gateway says") from error


def _read_correlation_id(given: str | None, request_id: str) -> str:
    if given is None:
        return request_id
    if not _correlation_id(given):
        message = "X-Correlation-Id must be 1 to 200 printable ASCII characters"
        raise BadRequestError("invalid_header", message, [{"path": "X-Correlation-Id", "message": message}])
    return given


def response(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return a Lambda proxy response with a JSON body."""
    return {
        "statusCode": status,
        "headers": {"Content-Type": "application/json", **(headers or {})},
        "body": json.dumps(body, separators=(",", ":")),
    }


def text_response(body: str) -> dict[str, Any]:
    """Return a Lambda proxy response with plain text, which browsers do not interpret as HTML."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return {"statusCode": 200, "headers": headers, "body": body}


def error_body(error: ApiError) -> dict[str, Any]:
    """Return `{"error": {"code", "message", "details"}}`."""
    return {"error": {"code": error.code, "message": error.message, "details": error.details}}
