"""A processor that has a secret, tested without AWS."""

import pytest

from handlers.processor import UnknownSecretError, given_secrets
from tests.samples.processors.receipts import process


def test_the_signature_follows_from_the_event_and_the_key() -> None:
    with given_secrets({"signing_key": "key"}):
        signed = process({"b": 1, "a": [2]})
        assert signed == process({"a": [2], "b": 1})
        assert signed != process({"a": [2], "b": 2})
    # printf '{"a":[2],"b":1}' | openssl dgst -sha256 -hmac key
    digest = "45b64c237f48dd2eeb3ae85e751f39a16690ed03c7ac81b7853de367d1fcf265"  # pragma: allowlist secret
    assert signed == {"signature": digest}
    with given_secrets({"signing_key": "another"}):
        assert process({"b": 1, "a": [2]}) != signed


def test_without_the_secret_it_says_which_is_missing() -> None:
    with pytest.raises(UnknownSecretError, match="'signing_key'"):
        process({})
