"""Errors that handlers/shared/http.py turns into responses.

ApiError
├── BadRequestError       400  the request, or every event in it, is invalid
├── UnauthorizedError     401  a webhook's request that is not signed, or too old
├── ForbiddenError        403  the request is not signed
├── NotFoundError         404  no such event or route
├── ConflictError         409  the idempotency key was used with another body
├── TooLargeError         413  too many events, or too large a one
├── UnsupportedError      415  a content type or encoding that is not supported
└── UnavailableError      503  a service did not answer, and nothing was accepted: the client may retry
"""

from collections.abc import Mapping, Sequence
from typing import Any

Details = Sequence[Mapping[str, Any]]


class ApiError(Exception):
    """Base. `details` is a list of `{"path", "message"}`, where `path` is a JSON Pointer or a parameter's name."""

    status = 500

    def __init__(self, code: str, message: str, details: Details = ()) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = list(details)


class BadRequestError(ApiError):
    """The request, or every event in it, is invalid."""

    status = 400


class UnauthorizedError(ApiError):
    """The request is not authentic. The response does not say why."""

    status = 401


class ForbiddenError(ApiError):
    """The route requires a signed request."""

    status = 403


class NotFoundError(ApiError):
    """There is no such event or route."""

    status = 404


class ConflictError(ApiError):
    """The idempotency key was used with another body."""

    status = 409


class TooLargeError(ApiError):
    """Too many events, or too large a one."""

    status = 413


class UnsupportedError(ApiError):
    """The body has a content type or encoding that is not supported."""

    status = 415


class UnavailableError(ApiError):
    """A service did not answer."""

    status = 503
