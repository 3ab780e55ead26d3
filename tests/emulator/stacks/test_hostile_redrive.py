"""The redrive routes of running stacks, and whatever can be sent to them by who may call them, and by who may not.

No answer is a server's error, every answer is as documented, and what is refused moves no dead letter.
"""

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore import auth
from botocore.credentials import Credentials
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection

from .conftest import Client, Start
from .hostile import AnyCase, Target, signature

# What is done takes a second each, what is refused takes none.
ALLOWED = {"GET /redrive/preview": 3, "POST /redrive/start": 4}
FORBIDDEN = {"GET /redrive/preview": 8, "POST /redrive/start": 12}
LETTERS = 3


@dataclass
class Redrive(Target):
    """The redrive routes of a stack, with dead letters that no worker can read: what goes back is dead again soon.

    `keys` are those of who may redrive; who has the stranger's may call other routes.
    """

    stranger: Credentials = field(kw_only=True)

    def bury(self) -> None:
        """Leaves so many dead letters and no others."""
        self.clear()
        sqs, url = self.client.aws("sqs"), self.client.outputs["dead_letter_queue_url"]
        for number in range(LETTERS):
            kind = {"DataType": "String", "StringValue": f"Error{number}"}
            sqs.send_message(QueueUrl=url, MessageBody=f"letter {number}", MessageAttributes={"error_type": kind})

    def letters(self) -> dict[str, str]:
        """The dead letters, by id: one that was sent back has another when it is dead again."""
        url = self.client.outputs["dead_letter_queue_url"]
        found = self.client.aws("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=0)
        return {message["MessageId"]: message["Body"] for message in found.get("Messages", [])}

    def clear(self) -> None:
        """Leaves nothing."""
        self.at_rest()
        self.client.aws("sqs").purge_queue(QueueUrl=self.client.outputs["dead_letter_queue_url"])

    def at_rest(self) -> None:
        """Waits until the worker is done with all that went back."""
        self.client.until(lambda: self.client.depth(self.client.outputs["queue_url"]) == 0)


def user(client: Client, name: str, *routes: str) -> Credentials:
    """A user who may call these routes. The emulator looks at no signature of its root."""
    iam, api_id = client.aws("iam"), client.api_url.split("/execute-api/")[1].split("/")[0]
    iam.create_user(UserName=name)
    arn = f"arn:aws:execute-api:us-east-1:{client.aws.account}:{api_id}/*"
    allowed = {"Effect": "Allow", "Action": "execute-api:Invoke", "Resource": [f"{arn}/{route}" for route in routes]}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName=name, PolicyName="calls", PolicyDocument=document)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


def redriven(client: Client) -> Redrive:
    operator = user(client, "operator", "GET/redrive/preview", "POST/redrive/start")
    return Redrive(client, keys=operator, stranger=user(client, "stranger", "POST/events", "GET/events*"))


@pytest.fixture(scope="module")
def http(dev: Client) -> Redrive:
    return redriven(dev)


@pytest.fixture(scope="module")
def rest(start: Start) -> Iterator[Redrive]:
    with start(api={"kind": "rest"}, queue={"redrive_api": {}}) as client:
        yield redriven(client)


@pytest.fixture(scope="module")
def csv(start: Start) -> Iterator[Redrive]:
    with start("csv", queue={"redrive_api": {}}) as client:
        yield redriven(client)


@pytest.fixture(params=["http", "rest", "csv"])
def redrive(request: pytest.FixtureRequest) -> Iterator[Redrive]:
    found: Redrive = request.getfixturevalue(request.param)
    found.bury()
    yield found
    found.clear()


def contradicts_itself(case: AnyCase) -> bool:
    """Return True if the greatest age is below the least, which a JSON Schema cannot forbid."""
    given: Any = case.body if case.method == "POST" else case.query
    if not isinstance(given, dict) or not {"max_age_seconds", "min_age_seconds"} <= given.keys():
        return False
    return int(given["max_age_seconds"]) < int(given["min_age_seconds"])


def test_what_the_document_allows_is_done_and_no_dead_letter_is_lost_or_doubled(redrive: Redrive) -> None:
    def try_case(case: AnyCase) -> None:
        answer = redrive.call(case)
        if contradicts_itself(case):
            assert answer.status_code == 400
        else:
            case.validate_response(answer)

    before = redrive.letters()
    redrive.try_cases(GenerationMode.POSITIVE, ALLOWED, try_case)
    redrive.at_rest()
    after = redrive.client.until(lambda: len(found := redrive.letters()) == LETTERS and found)
    assert sorted(after.values()) == sorted(before.values())


def test_what_the_document_forbids_is_refused_as_documented_and_moves_nothing(redrive: Redrive) -> None:
    def try_case(case: AnyCase) -> None:
        answer = redrive.call(case)
        # What Schemathesis makes of a parameter can be right again once it is written into a URL: QUERIES has those.
        case.validate_response(answer, excluded_checks=[negative_data_rejection] if case.method == "GET" else None)

    before = redrive.letters()
    redrive.try_cases(GenerationMode.NEGATIVE, FORBIDDEN, try_case)
    assert redrive.letters() == before


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "blank": b" \r\n\t",
    "text": b"abc",
    "null": b"null",
    "a list": b"[]",
    "a list of one": b'[{"max_messages": 1}]',
    "NaN": b"NaN",
    "trailing garbage": b"{}{}",
    "zero": b'{"max_messages": 0}',
    "negative": b'{"max_messages": -1}',
    "one too many": b'{"max_messages": 100001}',
    "a fraction": b'{"max_messages": 1.5}',
    "1e6": b'{"max_messages": 1e6}',
    "NaN for a number": b'{"max_messages": NaN}',
    "1e999": b'{"max_messages": 1e999}',
    "-0.0": b'{"max_messages": -0.0}',
    "2**63": b'{"max_messages": 9223372036854775808}',
    "10**400": b'{"max_messages": 1' + b"0" * 400 + b"}",
    "10**5000": b'{"min_age_seconds": 1' + b"0" * 5_000 + b"}",
    "true": b'{"max_messages": true}',
    "a number as text": b'{"max_messages": "1"}',
    "no number": b'{"min_age_seconds": null}',
    "a list for a number": b'{"min_age_seconds": [0]}',
    "older than any message": b'{"min_age_seconds": 1209601}',
    "no type": b'{"error_type": ""}',
    "null for a type": b'{"error_type": null}',
    "a number for a type": b'{"error_type": 0}',
    "an object for a type": b'{"error_type": {"$ne": 1}}',
    "a list for a type": b'{"error_type": ["Error0"]}',
    "too long a type": b'{"error_type": "' + b"x" * 513 + b'"}',
    "an unknown name": b'{"queue_url": "https://sqs.us-east-1.amazonaws.com/1/other"}',
    "a name of another case": b'{"Max_Messages": 1}',
    "prototype": b'{"__proto__": {"max_messages": 1}, "__class__": "x"}',
    "a terminal in a name": b'{"\\u001b[2J\\u001b[31m": 1}',
    "half a pair in a name": b'{"\\ud800": 1}',
    "a long name": b'{"' + b"x" * 900_000 + b'": 1}',
    "many names": json.dumps({str(number): number for number in range(20_000)}).encode(),
    "a name twice": b'{"max_messages": 1, "max_messages": 1000}',
    "a name twice, escaped": b'{"max_messages": 1, "max_message\\u0073": 1000}',
    "deep array": b"[" * 50_000,
    "deep object": b'{"error_type":' * 50_000 + b"1" + b"}" * 50_000,
    "UTF-16": "{}".encode("utf-16"),
    "gzip": gzip.compress(b"{}"),
    "form": b"max_messages=1&error_type=Error0",
}

# Sent as bytes: of a body of a type that is text, the emulator replaces what is not UTF-8 before we see it.
BYTES = {
    "no UTF-8": b'{"error_type": "\xff\xfe"}',
    "overlong UTF-8": b'{"error_type": "\xc0\xaf"}',
    "half a pair as bytes": b'{"error_type": "\xed\xa0\x80"}',
}

# Right in shape, and no dead letter has such an error.
TYPES = {
    "terminal": "\x1b[2J\x1b]0;title\x07\x9b31m",
    "lines": "Error0\r\nSet-Cookie: a=b",
    "NUL": "Error0\x00",
    "half a pair": "\ud800",
    "another case": "error0",
    "blanks": " Error0 ",
    "pattern": "Error*",
    "regular expression": "Error[0-9]+",
    "SQL": "' OR '1'='1",
    "path": "../../../etc/passwd",
    "formula": "=cmd|' /C calc'!A0",
    "markup": "<script>alert(1)</script>",
    "long": "x" * 256,
}

QUERIES = [
    "max_messages=0",
    "max_messages=-1",
    "max_messages=1001",
    "max_messages=1e1",
    "max_messages=0x10",
    "max_messages=1_0",
    "max_messages=%201",
    "max_messages=%2B1",
    "max_messages=%D9%A3",
    "max_messages=1%00",
    "max_messages=9" + "9" * 5_000,
    "max_messages=",
    "max_messages[]=1",
    "min_age_seconds=-1",
    "min_age_seconds=1209601",
    "min_age_seconds=NaN",
    "error_type=",
    "error_type=" + "x" * 513,
    "limit=1",
    "=1",
    "%00=1",
    "%1b%5b2J=1",
    "__proto__=1",
    "MAX_MESSAGES=1",
]

HEADERS = {
    "long correlation id": {"X_Correlation_Id": "x" * 201},
    "no ASCII in the correlation id": {"X_Correlation_Id": "\xff"},
    "no correlation id": {"X_Correlation_Id": ""},
}


def test_a_hostile_body_is_refused_in_the_house_s_shape_and_moves_nothing(redrive: Redrive) -> None:
    before = redrive.letters()
    for name, body in BODIES.items():
        assert_refused(name, *redrive.send("POST", "/redrive/start", body))
    for name, headers in HEADERS.items():
        assert_refused(name, *redrive.send("POST", "/redrive/start", b"{}", **headers))
    assert redrive.letters() == before


def test_a_body_of_another_type_is_refused(csv: Redrive) -> None:
    csv.bury()
    before = csv.letters()
    for name, body in {**BODIES, **BYTES}.items():
        answered = csv.send("POST", "/redrive/start", body, Content_Type="application/octet-stream")
        assert_refused(name, *answered, expected=415)
    assert csv.letters() == before


def test_a_hostile_query_is_refused_in_the_house_s_shape(redrive: Redrive) -> None:
    for query in QUERIES:
        assert_refused(query, *redrive.send("GET", f"/redrive/preview?{query}"))
    for name, headers in HEADERS.items():
        assert_refused(name, *redrive.send("GET", "/redrive/preview", None, **headers))


def assert_refused(what: str, status: int, answer: bytes, expected: int = 400) -> None:
    """As a client's mistake, shortly, and without any of our insides."""
    assert status == expected, (what, status, answer[:500])
    assert set(json.loads(answer)) == {"error"}, what
    assert set(json.loads(answer)["error"]) == {"code", "message", "details"}, what
    assert len(answer) < 20_000, what
    assert answer.isascii(), what
    assert b"\x1b" not in answer, what
    assert b"Traceback" not in answer, what


@pytest.mark.parametrize("name", TYPES)
def test_an_error_type_is_compared_and_nothing_else_is_made_of_it(csv: Redrive, name: str) -> None:
    csv.bury()
    before = csv.letters()
    status, answer = csv.send("POST", "/redrive/start", json.dumps({"error_type": TYPES[name]}).encode())
    assert (status, json.loads(answer)["not_matching"], json.loads(answer)["redriven"]) == (200, LETTERS, 0)
    assert csv.letters() == before


@pytest.mark.parametrize(
    "path",
    [
        "/redrive/start/",
        "//redrive/start",
        "/redrive//start",
        "/./redrive/start",
        "/redrive/../redrive/start",
        "/redrive/preview/../start",
        "/redrive/%2e%2e/redrive/start",
        "/redrive%2fstart",
        "/redrive/start%00",
        "/redrive/start%0d%0aX-Mine:%201",
        "/redrive/start;a=b",
        "/redrive/start.json",
        "/REDRIVE/START",
        "/redrive",
        "/redrive/purge",
        "/redrive/" + "x" * 5_000,
        "/..%2f..%2fetc%2fpasswd",
    ],
)
def test_a_path_that_looks_like_a_route_lets_nobody_in_who_has_not_signed(redrive: Redrive, path: str) -> None:
    before = redrive.letters()
    for headers in (
        {},
        {"Authorization": "Bearer x"},
        signature(redrive.stranger, "POST", redrive.client.api_url + path, b"{}"),
    ):
        status, answer = redrive.send_only("POST", path, b"{}", headers)
        assert status in (400, 403, 404), (headers, status, answer)
    assert redrive.letters() == before
    # Whether the gateway takes it for the route is the gateway's; who signed may call that.
    assert redrive.send("POST", path, b"{}")[0] in (200, 400, 403, 404)


def test_a_method_that_is_no_route_s_moves_nothing(redrive: Redrive) -> None:
    before = redrive.letters()
    routes = {("GET", "/redrive/preview"), ("POST", "/redrive/start")}
    for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD", "QWERTY"):
        for _, path in routes - {(method, "/redrive/preview"), (method, "/redrive/start")}:
            other = redrive.send(method, path, b"{}", X_HTTP_Method_Override="POST", X_Original_URL="/redrive/start")
            assert other[0] in (400, 403, 404, 405), (method, path, other)
    assert redrive.letters() == before


def test_a_request_whose_signature_is_none_or_wrong_is_refused_and_moves_nothing(
    redrive: Redrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, url, keys = redrive.letters(), redrive.client.api_url, redrive.keys
    assert keys
    for method, path, body in (("GET", "/redrive/preview", None), ("POST", "/redrive/start", b"{}")):
        right = signature(keys, method, url + path, body)
        with monkeypatch.context() as patch:
            hours_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
            patch.setattr(auth, "get_current_datetime", lambda *_, now=hours_ago, **__: now)
            old = signature(keys, method, url + path, body)
        wrong = {
            "none": {},
            "empty": {"Authorization": ""},
            "another scheme": {"Authorization": "Bearer x"},
            "basic": {"Authorization": "Basic dGVzdDp0ZXN0"},
            "only its name": {"Authorization": "AWS4-HMAC-SHA256"},
            "without a date": {"Authorization": right["Authorization"]},
            "cut off": {**right, "Authorization": right["Authorization"][:-1]},
            "two hours old": old,
            "of another request": signature(keys, "GET", url + "/redrive/other"),
            "of another body": signature(keys, method, url + path, b'{"max_messages": 1}'),
            "of another region": signature(keys, method, url + path, body, region="eu-west-1"),
            "with another secret": signature(Credentials(keys.access_key, "another"), method, url + path, body),
            "with a key of nobody": signature(Credentials("AKIDNOBODY", keys.secret_key), method, url + path, body),
            "of who may not": signature(redrive.stranger, method, url + path, body),
        }
        for name, headers in wrong.items():
            status, answer = redrive.send_only(method, path, body, headers)
            assert status == 403, (name, method, status, answer)
            assert b"Error0" not in answer
        assert redrive.letters() == before
        assert redrive.send(method, path, body)[0] == 200, "the same call, rightly signed"
    redrive.at_rest()
    assert not redrive.letters().keys() & before.keys(), "it moved all"


def test_the_function_keeps_nothing_of_what_it_is_sent_and_does_not_die_of_it(csv: Redrive) -> None:
    large = [body for body in BODIES.values() if len(body) > 1_000]
    csv.assert_keeps_nothing(large, lambda body: csv.send("POST", "/redrive/start", body))
