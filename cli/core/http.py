"""Requests to a pipeline's API, with the standard library."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cli.core.json_text import read_text
from cli.core.terminal import inert
from local.errors import LocalError
from local.project import DEFAULT_REGION

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Access:
    """Authentication to a protected API: headers (a key, a token) or a signature with AWS credentials."""

    headers: Mapping[str, str] = field(default_factory=dict)
    sign: bool = False

    @classmethod
    def from_options(cls, headers: Sequence[str], *, sign: bool) -> "Access":
        """Parse `Name: value` texts; `@file` is a file with one a line. Raises LocalError for any other.

        Other users of the machine see what stands on a command line.
        """
        lines = [line for header in headers for line in _written(header)]
        parts = [line.partition(":") for line in lines]
        if wrong := next((name for name, colon, _ in parts if not colon or not name.strip()), None):
            raise LocalError(f"--header {wrong!r} must be like 'x-api-key: value'")
        return cls({name.strip(): value.strip() for name, _, value in parts}, sign)

    def of(self, method: str, url: str, body: str | bytes | None, headers: Mapping[str, str]) -> dict[str, str]:
        """Return all headers of a request. Raises LocalError when there are no credentials to sign it with."""
        given = {**headers, **self.headers}
        return _signed(method, url, body, given) if self.sign else given


def _written(header: str) -> list[str]:
    if not header.startswith("@"):
        return [header]
    text, _ = read_text(header[1:])
    return [line for line in text.splitlines() if line.strip()]


OPEN = Access()


def _signed(method: str, url: str, body: str | bytes | None, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers with the signature that `AWS_IAM` requires.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-access-control-iam.html
    """
    import botocore.session  # noqa: PLC0415  unsigned requests do not pay its 200 ms
    from botocore.auth import SigV4Auth  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415

    session = botocore.session.get_session()
    credentials = session.get_credentials()
    if credentials is None:
        raise LocalError("--sign needs AWS credentials, in the environment or in a profile")
    host = (urlsplit(url).hostname or "").split(".")
    region = host[2] if host[1:2] == ["execute-api"] else session.get_config_variable("region") or DEFAULT_REGION
    request = AWSRequest(method, url, data=body or "", headers=dict(headers))
    SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
    return dict(request.headers.items())


@dataclass(frozen=True)
class Answer:
    """A response of any status."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def json(self) -> Any:
        """The parsed body; None when it is not JSON."""
        try:
            return json.loads(self.text)
        except ValueError:
            return None

    @property
    def reason(self) -> str:
        """The error message in the body, else the beginning of the body."""
        body = self.json
        if isinstance(body, dict) and isinstance(body.get("error"), dict):
            return inert(str(body["error"].get("message", body["error"])))
        return inert(f"HTTP {self.status} {self.text[:200]}")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Leaves a redirect as it is: urllib would send the credentials along to wherever it leads."""

    def redirect_request(self, *_: Any) -> None:
        return None


def request(
    method: str,
    url: str,
    body: str | bytes | None = None,
    headers: Mapping[str, str] | None = None,
    access: Access = OPEN,
) -> Answer:
    """Send one request. Raises LocalError when there is no response."""
    data = body.encode() if isinstance(body, str) else body
    given = access.of(method, url, body, {"Content-Type": "application/json", **(headers or {})})
    outgoing = urllib.request.Request(url, data=data, headers=given, method=method)  # noqa: S310  the stack's own address
    # Requests to the emulator never go through a proxy.
    local = urlsplit(url).hostname == "127.0.0.1"
    opener = urllib.request.build_opener(_NoRedirects, *([urllib.request.ProxyHandler({})] if local else []))
    try:
        with opener.open(outgoing, timeout=TIMEOUT_SECONDS) as answer:
            return Answer(answer.status, answer.read().decode(errors="replace"), dict(answer.headers))
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.read().decode(errors="replace"), dict(error.headers))
    except OSError as error:
        host = urlsplit(url).netloc
        raise LocalError(f"{host} does not answer: {getattr(error, 'reason', error)}") from error
