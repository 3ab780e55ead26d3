"""Errors that become an answer to the client, once, in handlers/shared/http.py.

ApiError
├── BadRequestError       400  the request, or every event in it, is not acceptable
├── ForbiddenError        403  nobody signed the request
├── NotFoundError         404  no such event or route
├── ConflictError         409  the idempotency key was used with another body
├── TooLargeError         413  too many events, or too large a one
└── UnavailableError      503  a service we need did not answer; nothing was accepted, send it again
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
    """The request, or every event in it, is not acceptable."""

    status = 400


class ForbiddenError(ApiError):
    """Nobody signed the request, and this route is for signed ones."""

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


class UnavailableError(ApiError):
    """A service that we need did not answer."""

    status = 503
