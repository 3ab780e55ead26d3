"""Signatures of webhooks, with the examples of the senders' own documents."""

import base64
import hashlib
import hmac
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.api.signatures import MAXIMUM_SIGNATURES, Rule, Scheme, key_of, sign, verify

NOW = 1_700_000_000
BODY = b'{"a": 1}'
KEY = base64.b64encode(b"a key for a test").decode()
RULES: Mapping[str, Rule] = {
    "github": Rule("github"),
    "stripe": Rule("stripe"),
    "slack": Rule("slack"),
    "shopify": Rule("shopify"),
    "standard": Rule("standard"),
    "hex": Rule("hmac", header="X-Signature", prefix="sig="),
    "base64": Rule("hmac", header="X-Signature", algorithm="sha512", encoding="base64"),
}
TIMED = ("stripe", "slack", "standard")

each_rule = pytest.mark.parametrize("name", RULES)


def signed(name: str, secret: str = KEY, *, body: bytes = BODY, now: int = NOW) -> dict[str, str]:
    headers = sign(RULES[name], secret, body, message_id="msg_1", now=now)
    return {header.lower(): value for header, value in headers.items()}


def verdict(name: str, headers: Mapping[str, str], *, body: bytes = BODY, secrets: tuple[str, ...] = (KEY,)) -> str:
    rule = RULES[name]
    return verify(rule, [key_of(rule, secret) for secret in secrets], headers, body, NOW)


SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    b"%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a1"
    b"4d10d2c447fce8b6703c"  # pragma: allowlist secret
)


@pytest.mark.parametrize(
    ("scheme", "secret", "headers", "body", "now"),
    [
        (
            "github",
            "It's a Secret to Everybody",
            {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
            b"Hello, World!",
            0,
        ),
        (
            "slack",
            "8f742231b10e8888abcd99yyyzzz85a5",
            {
                "x-slack-request-timestamp": "1531420618",
                "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
            },
            SLACK_BODY,
            1_531_420_618,
        ),
        (
            "standard",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",  # pragma: allowlist secret
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",  # pragma: allowlist secret
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
            b'{"test": 2432232314}',
            1_614_265_330,
        ),
    ],
)
def test_the_example_of_the_sender_s_document_is_genuine(
    scheme: Scheme, secret: str, headers: dict[str, str], body: bytes, now: int
) -> None:
    keys = [key_of(Rule(scheme), secret)]
    assert verify(Rule(scheme), keys, headers, body, now) == "genuine"
    assert verify(Rule(scheme), keys, headers, body + b" ", now) == "forged"


def test_stripe_and_shopify_sign_as_their_documents_say() -> None:
    # They give no example with its secret: these are their instructions, step by step.
    stripe = hmac.new(KEY.encode(), f"{NOW}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert verdict("stripe", {"stripe-signature": f"t={NOW},v1={stripe},v0=old"}) == "genuine"
    shopify = base64.b64encode(hmac.new(KEY.encode(), BODY, hashlib.sha256).digest()).decode()
    assert verdict("shopify", {"x-shopify-hmac-sha256": shopify}) == "genuine"


@each_rule
def test_what_the_sender_signs_is_genuine_with_either_of_two_secrets(name: str) -> None:
    other = base64.b64encode(b"another").decode()
    assert verdict(name, signed(name)) == "genuine"
    assert verdict(name, signed(name), secrets=(other, KEY)) == "genuine"
    assert verdict(name, signed(name, other), secrets=(other, KEY)) == "genuine"


@each_rule
def test_a_forged_request_is_refused(name: str) -> None:
    other = base64.b64encode(b"another").decode()
    good = signed(name)
    assert verdict(name, good, body=BODY + b"\n") == "forged"
    assert verdict(name, good, secrets=(other,)) == "forged"
    assert verdict(name, good, secrets=()) == "forged"
    assert verdict(name, {}) == "forged"
    for header in good:
        assert verdict(name, {each: value for each, value in good.items() if each != header}) == "forged"
        assert verdict(name, {**good, header: ""}) == "forged"
        for repeated in (f"{good[header]},{good[header]}", f"x, {good[header]}", f"{good[header]}, {good[header]}"):
            assert verdict(name, {**good, header: repeated}) == "forged"
        assert verdict(name, {**good, header: good[header] + "\ud800é"}) == "forged"


@each_rule
def test_another_encoding_of_the_right_signature_is_refused(name: str) -> None:
    for header, value in signed(name).items():
        if "timestamp" not in header and header != "webhook-id":
            assert verdict(name, {**signed(name), header: value.upper()}) == "forged"
            assert verdict(name, {**signed(name), header: value.replace("=", "%3D")}) == (
                "genuine" if "=" not in value else "forged"
            )


@pytest.mark.parametrize("name", TIMED)
@pytest.mark.parametrize(
    ("age", "expected"), [(0, "genuine"), (300, "genuine"), (-300, "genuine"), (301, "stale"), (-301, "stale")]
)
def test_a_timestamp_may_be_as_far_from_now_as_the_tolerance(name: str, age: int, expected: str) -> None:
    assert verdict(name, signed(name, now=NOW - age)) == expected


@pytest.mark.parametrize("name", TIMED)
def test_a_forged_request_is_never_stale(name: str) -> None:
    assert verdict(name, signed(name, now=NOW - 5_000), body=b"forged") == "forged"


def test_the_right_one_of_several_signatures_counts_up_to_a_limit() -> None:
    value = signed("standard")["webhook-signature"]
    for count, expected in ((MAXIMUM_SIGNATURES - 1, "genuine"), (MAXIMUM_SIGNATURES, "forged")):
        headers = {**signed("standard"), "webhook-signature": " ".join(["v1,bm8="] * count + [value])}
        assert verdict("standard", headers) == expected
    assert verdict("standard", {**signed("standard"), "webhook-signature": value.replace("v1,", "v1a,")}) == "forged"


@given(st.dictionaries(st.sampled_from([h for name in RULES for h in signed(name)]), st.text()), st.binary())
def test_no_request_without_the_secret_is_genuine_or_an_error(headers: dict[str, str], body: bytes) -> None:
    assert {verdict(name, headers, body=body) for name in RULES} == {"forged"}


@each_rule
def test_a_secret_may_have_come_with_the_line_break_of_its_file(name: str) -> None:
    assert verdict(name, signed(name), secrets=(f"{KEY}\r\n",)) == "genuine"


@pytest.mark.parametrize(
    ("name", "secret"), [("github", ""), ("github", "\n"), ("standard", "whsec_"), ("standard", "whsec_no base64")]
)
def test_a_secret_with_which_anybody_could_sign_is_refused(name: str, secret: str) -> None:
    with pytest.raises(ValueError, match=r"empty|base64|padding|data"):
        key_of(RULES[name], secret)
