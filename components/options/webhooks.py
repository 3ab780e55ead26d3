"""Options of webhooks: requests that their sender signs."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from components.options.common import Options
from components.options.requests import HeaderName, PlaceOptions, ThrottlingOptions
from components.options.secrets import Secret, SecretOptions, check_characters

# Each word starts with a letter, so that `PIPELINE_SECRET_WEBHOOK_SHOP_2` is the second secret of `shop`.
WebhookName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$", max_length=32)]
# Their requests are signed with the time.
TIMED = ("stripe", "slack", "standard")
MAXIMUM_SECRETS = 10
# With the longest other options the environment stays below 4 KB (tests/components/test_webhooks.py).
WEBHOOKS_CHARACTERS = 2_500


class HmacOptions(Options):
    """The signature of any other sender: an HMAC over the exact bytes of the body."""

    header: HeaderName
    """The header with the signature."""
    algorithm: Literal["sha1", "sha256", "sha512"] = "sha256"
    """The hash of the HMAC."""
    encoding: Literal["hex", "base64"] = "hex"
    """Encoding of the signature; `hex` is lower case."""
    prefix: Annotated[str, Field(max_length=32, pattern=r"^[!-~]*$")] = ""
    """Text before the signature in the header, such as `sha256=`."""


class ChallengeOptions(Options):
    """A `GET` request with which a sender verifies the URL."""

    parameter: Annotated[str, Field(min_length=1, max_length=64)]
    """The query parameter that the response repeats, such as `hub.challenge` or `challenge`."""
    token_parameter: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """The query parameter that must equal `token`, such as `hub.verify_token`. Default: none: each is answered."""
    token: Secret | None = None
    """Location of that secret: an ARN, or `{arn, key_arn}`."""

    @model_validator(mode="after")
    def _parameter_and_token(self) -> Self:
        if (self.token_parameter is None) != (self.token is None):
            raise ValueError("token_parameter and token go together")
        return self


class WebhookOptions(Options):
    """A route for one sender. It is open, and accepts only requests that the sender signed."""

    signature: Literal["github", "stripe", "slack", "shopify", "standard", "hmac"]
    """The signature of requests: that of one of these senders, of Standard Webhooks, or an HMAC described by `hmac`."""
    secrets: Annotated[tuple[Secret, ...], Field(min_length=1, max_length=MAXIMUM_SECRETS)]
    """Locations of the secrets that a request may be signed with: an ARN each, or `{arn, key_arn}`. Name two while you
    rotate."""
    hmac: HmacOptions | None = None
    """Details, required with `signature: hmac`."""
    tolerance_seconds: Annotated[int, Field(ge=1, le=86_400)] = 300
    """Largest distance between the signed time and now, for `stripe`, `slack` and `standard`. Others sign no time."""
    type: PlaceOptions | None = None
    """Header or field with the event's type. Default: the sender's own; with `hmac`, all events are `default`."""
    idempotency: PlaceOptions | None = None
    """Header or field with the delivery's id, which identifies repeats. Default: the sender's own; with `hmac` none, so
    that repeats are new events."""
    headers: tuple[HeaderName, ...] = ()
    """Headers passed to the processor besides the content type and those of the sender."""
    challenge: ChallengeOptions | None = None
    """Answer a `GET` request with a challenge. Default: off. Slack's challenge, a `POST`, is always answered."""
    throttling: ThrottlingOptions = ThrottlingOptions()
    """Request limits of this route."""
    max_body_bytes: Annotated[int, Field(ge=1, le=1_048_576)] = 262_144
    """Largest body. Event and body must fit into a message of 1 MiB."""

    @model_validator(mode="after")
    def _details_fit_the_signature(self) -> Self:
        if (self.signature == "hmac") != (self.hmac is not None):
            raise ValueError("signature 'hmac' and the group 'hmac' (header, algorithm, encoding, prefix) go together")
        if len({secret.arn for secret in self.secrets}) < len(self.secrets):
            raise ValueError("secrets has a duplicate; remove it")
        if "tolerance_seconds" in self.model_fields_set and self.signature not in TIMED:
            raise ValueError(
                f"tolerance_seconds: {self.signature!r} signs no time; it goes with {', '.join(TIMED)} only"
            )
        return self

    @property
    def all_secrets(self) -> tuple[SecretOptions, ...]:
        """Secrets that the function reads: those of signatures first, then the challenge token."""
        token = self.challenge.token if self.challenge else None
        return (*self.secrets, *((token,) if token else ()))


def described(webhooks: Mapping[str, WebhookOptions]) -> str:
    """Return webhooks as handlers/api/webhooks.py reads them, without what is empty there."""
    return json.dumps({name: described_as(options) for name, options in webhooks.items()}, separators=(",", ":"))


def described_as(options: WebhookOptions) -> dict[str, Any]:
    """Return the fields of `Webhook` in handlers/api/webhooks.py for one webhook."""
    challenge = options.challenge
    settings = {
        "signature": options.signature,
        "secrets": [secret.arn for secret in options.secrets],
        "max_body_bytes": options.max_body_bytes,
        "tolerance_seconds": options.tolerance_seconds,
        **(options.hmac.model_dump() if options.hmac else {}),
        **_place("type", options.type),
        **_place("key", options.idempotency),
        "headers": options.headers,
        "challenge_parameter": challenge and challenge.parameter,
        "token_parameter": challenge and challenge.token_parameter,
        "token": challenge and challenge.token and challenge.token.arn,
    }
    return {name: value for name, value in settings.items() if value}


def _place(of: str, place: PlaceOptions | None) -> dict[str, str | None]:
    return {} if place is None else {f"{of}_header": place.header, f"{of}_field": place.field}


def _fit_into_a_function(webhooks: Mapping[str, WebhookOptions]) -> Mapping[str, WebhookOptions]:
    secrets = [secret for webhook in webhooks.values() for secret in webhook.all_secrets]
    if len(secrets) > MAXIMUM_SECRETS:
        raise ValueError(f"there are {len(secrets)} secrets, and at most {MAXIMUM_SECRETS} fit into a role's policies")
    check_characters(dict(zip(map(str, range(len(secrets))), secrets, strict=True)))
    if (taken := len(described(webhooks))) > WEBHOOKS_CHARACTERS:
        raise ValueError(
            f"take {taken} characters in all, and {WEBHOOKS_CHARACTERS} fit into the environment of their function: "
            "use fewer webhooks, or shorter names"
        )
    return webhooks


Webhooks = Annotated[Mapping[WebhookName, WebhookOptions], AfterValidator(_fit_into_a_function)]
