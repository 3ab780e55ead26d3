"""Options about requests: their headers, fields of their events, and how many there may be."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from components.options.common import Options

HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#\$%&'*+.^_`|~-]+$")]
# A path: fields of objects inside each other, as `order.number`.
FieldPath = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^.]+(\.[^.]+)*$")]


class PlaceOptions(Options):
    """A header of the request or a field of the event."""

    field: FieldPath | None = None
    """Path of the field, text or a number: `order.number`. An event may lack it."""
    header: HeaderName | None = None
    """Name of the header. A request may lack it."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.field is None) == (self.header is None):
            raise ValueError("needs either field or header")
        return self


class ThrottlingOptions(Options):
    """Request limits of the stage; requests above them are answered with 429."""

    rate_per_second: Annotated[float, Field(gt=0, le=10_000)] = 100
    """Sustained requests per second."""
    burst: Annotated[int, Field(ge=1, le=5_000)] = 200
    """Requests that may arrive at once."""
