"""Callers admitted by `api.auth`; all others are refused, in the emulator with IAM enforced."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives import hashes, hmac, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.graphs import SAMPLES

from .conftest import ROOT, WEBHOOKS, Client, Start

Json = Any
BODY = b'{"n": 1}'


# Signatures


@dataclass
class Signed:
    """An API with `auth: iam`, and a user with keys whom one policy lets do one thing."""

    client: Client
    keys: Credentials
    policy: Callable[..., None]
    rest: bool

    def post(self, keys: Credentials, *, sent: bytes = BODY, region: str = "us-east-1", path: str = "/events") -> int:
        """The status of a POST whose signature is for BODY, `/events`, this region and these keys."""
        url = f"{self.client.outputs['api_url']}/events"
        request = AWSRequest("POST", url, data=BODY, headers={"Content-Type": "application/json"})
        auth.SigV4Auth(keys, "execute-api", region).add_auth(request)
        return self.client.request("POST", path, headers=dict(request.headers.items()), raw=sent)[0]


@pytest.fixture(scope="module", params=["http", "rest"])
def signed(start: Start, request: pytest.FixtureRequest) -> Iterator[Signed]:
    api = {"kind": request.param, "auth": "iam", "throttling": {"rate_per_second": 1, "burst": 30}}
    webhooks = {"shop": {**WEBHOOKS["shop"], "throttling": {"rate_per_second": 1, "burst": 4}}}
    with start(api=api, webhooks=webhooks) as client:
        iam = client.aws("iam")
        iam.create_user(UserName="client")
        key = iam.create_access_key(UserName="client")["AccessKey"]

        def allow(*actions: str, path: str = "*") -> None:
            api_id = client.outputs["api_url"].split("/execute-api/")[1].split("/")[0]
            resource = f"arn:aws:execute-api:us-east-1:*:{api_id}/*/{path}"
            statement = {"Effect": "Allow", "Action": list(actions), "Resource": resource}
            document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
            iam.put_user_policy(UserName="client", PolicyName="client", PolicyDocument=document)

        yield Signed(client, Credentials(key["AccessKeyId"], key["SecretAccessKey"]), allow, request.param == "rest")


def test_a_signature_lets_in_whom_a_policy_allows_this_very_call(signed: Signed) -> None:
    assert signed.client.request("GET", "/health")[0] == 200
    signed.policy("execute-api:Invoke", path="POST/events")
    assert signed.post(signed.keys) == 202


@pytest.mark.parametrize("signed", ["http"], indirect=True)
def test_the_command_signs_when_it_is_told_to(signed: Signed, tmp_path: Path) -> None:
    signed.policy("execute-api:Invoke", path="POST/events")
    file = tmp_path / "events.jsonl"
    file.write_text('{"n": 1}\n{"n": 2}\n')
    keys = {"AWS_ACCESS_KEY_ID": signed.keys.access_key, "AWS_SECRET_ACCESS_KEY": signed.keys.secret_key}
    outputs = {"PIPELINE_OUTPUTS": json.dumps(signed.client.outputs), "PYTHONPATH": str(ROOT)}
    for options, code in ((["--sign"], 0), ([], 1)):
        sent = subprocess.run(
            [sys.executable, "-m", "cli.main", "send", str(file), *options],
            env={**os.environ, **signed.client.up.environment(), **keys, **outputs},
            cwd=SAMPLES,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (sent.returncode, "2 accepted" in sent.stdout) == (code, code == 0), sent


@pytest.mark.parametrize(
    ("actions", "path"), [((), ""), (("execute-api:Invoke",), "GET/events"), (("sqs:SendMessage",), "*")]
)
def test_who_may_do_something_else_only_is_refused(signed: Signed, actions: tuple[str, ...], path: str) -> None:
    signed.policy(*(actions or ("s3:ListAllMyBuckets",)), path=path or "*")
    assert signed.post(signed.keys) == 403


def test_without_a_signature_or_with_a_wrong_one_nobody_is_let_in(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed.policy("execute-api:Invoke")
    client, keys = signed.client, signed.keys
    before = set(client.items())
    assert client.request("POST", "/events", raw=BODY)[0] == 403
    assert client.request("GET", "/events")[0] == 403
    assert client.request("POST", "/events", raw=BODY, headers={"Authorization": "AWS4-HMAC-SHA256 x"})[0] == 403
    if signed.rest:  # of an HTTP API the emulator lets this pass, AWS does not
        assert client.request("POST", "/events", raw=BODY, headers={"Authorization": "Bearer x"})[0] in (400, 403)
    assert signed.post(Credentials(keys.access_key, "another secret")) == 403
    assert signed.post(Credentials("AKIDNOBODY", keys.secret_key)) == 403
    assert signed.post(keys, sent=b'{"n": 2}') == 403
    assert signed.post(keys, path="/events?n=1") == 403
    hours_ago = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2)
    with monkeypatch.context() as patch:
        patch.setattr(auth, "get_current_datetime", lambda *_, **__: hours_ago)
        assert signed.post(keys) == 403
    assert set(client.items()) == before
    assert signed.post(keys) == 202, "the same call, rightly signed"


@pytest.mark.parametrize("signed", ["rest"], indirect=True)  # the emulator does not throttle HTTP APIs
def test_over_the_rate_a_rest_api_answers_429_in_the_shape_of_the_pipelines_own_errors(signed: Signed) -> None:
    answers = [signed.client.request("GET", "/health") for _ in range(40)]
    assert {status for status, _ in answers} == {200, 429}
    refusal = next(body for status, body in answers if status == 429)
    assert set(refusal["error"]) == {"code", "message", "details"}


@pytest.mark.parametrize("signed", ["rest"], indirect=True)  # as above
def test_a_webhook_of_a_rest_api_has_a_rate_of_its_own(signed: Signed) -> None:
    started = time.monotonic()
    answers = [signed.client.request("GET", "/webhooks/shop?challenge=1")[0] for _ in range(20)]
    assert set(answers) == {200, 429}
    assert answers.count(200) <= 4 + (time.monotonic() - started) + 1


def test_over_its_keys_rate_a_client_is_refused_on_every_route_and_nothing_of_that_is_stored(start: Start) -> None:
    burst = 5
    api = {"kind": "rest", "auth": "api_key", "throttling": {"rate_per_second": 0.1, "burst": burst}}
    with start(api=api) as client:
        key = client.aws("apigateway").get_api_key(apiKey=client.outputs["api_key_id"], includeValue=True)["value"]
        answers = [client.post({"n": number}, {"x-api-key": key}) for number in range(4 * burst)]
        assert {status for status, _ in answers} == {202, 429}
        # Of a route that was not called yet, the stage would let these through: it is the key's plan that does not.
        listed = [client.request("GET", "/events", headers={"x-api-key": key})[0] for _ in range(burst)]
        assert 429 in listed
        assert client.request("GET", "/health")[0] == 200
        client.until(lambda: client.depth(client.outputs["queue_url"]) == 0)
        assert client.depth(client.outputs["dead_letter_queue_url"]) == 0
        assert client.items().keys() == {answer["id"] for status, answer in answers if status == 202}


# Tokens


class Issuer:
    """Issuer of tokens: a key, and a server on 127.0.0.1 that publishes it."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        numbers = self.key.public_key().public_numbers()
        published = {"kty": "RSA", "kid": "k", "alg": "RS256", "use": "sig"}
        published |= {"n": encoded(numbers.n.to_bytes(256, "big")), "e": encoded(numbers.e.to_bytes(3, "big"))}

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                keys = self.path == "/.well-known/jwks.json"
                body = json.dumps({"keys": [published]} if keys else {}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def claims(self, **changes: Json) -> Json:
        now = int(time.time())
        own = {"iss": self.url, "aud": "pipeline", "sub": "client", "iat": now - 5, "exp": now + 300}
        return {name: value for name, value in {**own, **changes}.items() if value is not None}

    def token(self, key: rsa.RSAPrivateKey | None = None, *, kid: str = "k", **changes: Json) -> str:
        signed = f"{encoded({'alg': 'RS256', 'kid': kid})}.{encoded(self.claims(**changes))}"
        signature = (key or self.key).sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encoded(signature)}"


def encoded(value: Json) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def tokens(start: Start, issuer: Issuer) -> Iterator[Client]:
    """An API with `auth: jwt`. Its issuer is moved to this machine: a config takes one with https only."""
    jwt = {"issuer": "https://issuer.example.com", "audience": ["pipeline"]}
    with start(api={"auth": "jwt", "jwt": jwt}) as client:
        gateway = client.aws("apigatewayv2")
        (api,) = gateway.get_apis()["Items"]
        (authorizer,) = gateway.get_authorizers(ApiId=api["ApiId"])["Items"]
        assert authorizer["JwtConfiguration"] == {"Issuer": jwt["issuer"], "Audience": jwt["audience"]}
        gateway.update_authorizer(
            ApiId=api["ApiId"],
            AuthorizerId=authorizer["AuthorizerId"],
            JwtConfiguration={"Issuer": issuer.url, "Audience": jwt["audience"]},
        )
        yield client


def test_a_token_of_the_issuer_for_the_audience_is_let_in(tokens: Client, issuer: Issuer) -> None:
    assert tokens.request("GET", "/health")[0] == 200
    headers = {"Authorization": f"Bearer {issuer.token()}"}
    assert tokens.post({"n": 1}, headers)[0] == 202
    assert tokens.request("GET", "/events", headers=headers)[0] == 200


def hs256(issuer: Issuer) -> str:
    """A token whose secret is the published key, for a verifier that believes the token's own `alg`."""
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    signed = f"{encoded({'alg': 'HS256', 'kid': 'k'})}.{encoded(issuer.claims())}"
    mac = hmac.HMAC(public, hashes.SHA256())
    mac.update(signed.encode())
    return f"{signed}.{encoded(mac.finalize())}"


def tampered(issuer: Issuer) -> str:
    header, _, signature = issuer.token().split(".")
    return f"{header}.{encoded(issuer.claims(sub='admin'))}.{signature}"


BAD_TOKENS: Mapping[str, Callable[[Issuer], str]] = {
    "garbage": lambda _: "garbage",
    "three parts of garbage": lambda _: "a.b.c",
    "empty": lambda _: "",
    "expired": lambda issuer: issuer.token(exp=int(time.time()) - 1),
    "not valid yet": lambda issuer: issuer.token(nbf=int(time.time()) + 300),
    "another issuer": lambda issuer: issuer.token(iss="https://issuer.example.com"),
    "another audience": lambda issuer: issuer.token(aud="another"),
    "no audience": lambda issuer: issuer.token(aud=None),
    "alg none": lambda issuer: f"{encoded({'alg': 'none', 'kid': 'k'})}.{encoded(issuer.claims())}.",
    "alg HS256": hs256,
    "a foreign key": lambda issuer: issuer.token(rsa.generate_private_key(public_exponent=65_537, key_size=2_048)),
    "an unknown key": lambda issuer: issuer.token(kid="another"),
    "tampered": tampered,
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
def test_any_other_token_is_refused(tokens: Client, issuer: Issuer, kind: str) -> None:
    before = set(tokens.items())
    headers = {"Authorization": f"Bearer {BAD_TOKENS[kind](issuer)}"}
    assert tokens.post({"n": 1}, headers) == (401, {"message": "Unauthorized"})
    assert set(tokens.items()) == before


def test_without_a_token_or_with_one_elsewhere_nobody_is_let_in(tokens: Client, issuer: Issuer) -> None:
    for path in ("/events", "/events/9b2d3c1e-0000-4000-8000-123456789abc", f"/events?Authorization={issuer.token()}"):
        assert tokens.request("GET", path)[0] == 401
    assert tokens.post({"n": 1}, {"X-Authorization": f"Bearer {issuer.token()}"})[0] == 401
