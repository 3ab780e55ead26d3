"""The context object that Lambda passes to a handler."""

from typing import Protocol


class LambdaContext(Protocol):
    """The part that handlers use. https://docs.aws.amazon.com/lambda/latest/dg/python-context.html."""

    aws_request_id: str
    """The same when Lambda retries an asynchronous invocation."""

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until Lambda ends the function."""
