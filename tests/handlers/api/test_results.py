"""Results as JSON: what may be in them, and how what may not is named."""

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import json
import uuid
from typing import Any

import pydantic
import pytest
from hypothesis import given

from handlers.api.results import ResultError, to_json
from tests.strategies import json_values


@dataclasses.dataclass
class Line:
    sku: str = "A-17"
    price: decimal.Decimal = decimal.Decimal("1.10")


class Size(enum.Enum):
    LARGE = "L"


class Level(enum.IntEnum):
    HIGH = 3


class Order(pydantic.BaseModel):
    amount: float
    at: dt.date


@given(json_values)
def test_json_is_stored_as_it_is(value: Any) -> None:
    assert json.loads(to_json(value)) == value


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (decimal.Decimal("1.10"), "1.10"),
        (dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "2026-01-01T00:00:00+00:00"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Line(), {"sku": "A-17", "price": "1.10"}),
        (Size.LARGE, "L"),
        (Level.HIGH, 3),
        (Order(amount=1.5, at=dt.date(2026, 1, 2)), {"amount": 1.5, "at": "2026-01-02"}),
        ((1, (2, 3)), [1, [2, 3]]),
        ({3, 1, 2}, [1, 2, 3]),
        ({1: "one", Size.LARGE: "large"}, {"1": "one", "L": "large"}),
    ],
    ids=repr,
)
def test_common_types_are_stored(value: Any, stored: Any) -> None:
    assert json.loads(to_json({"deep": [value]})) == {"deep": [stored]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"items": [0, 0, 0, {"price": fractions.Fraction(1, 3)}]}, "result.items[3].price: Fraction"),
        ({"n": float("nan")}, "result.n: float nan"),
        ({"n": [float("-inf")]}, "result.n[0]: float -inf"),
        ({"b": b"x"}, "result.b: bytes"),
        ({"n": [10**5_000]}, "result.n[0]: int of 16610 bits"),
        ((number for number in [1]), "result: generator"),
        ({1: "int", "1": "text"}, "result.1: two keys"),
        ({(1, 2): 3}, "result: a key of type tuple"),
        ({True: 3}, "result: a key of type bool"),
        (Line, "result: type"),
        (object(), "result: object"),
    ],
)
def test_what_can_never_be_stored_is_named_with_its_path_and_type(value: Any, message: str) -> None:
    with pytest.raises(ResultError) as raised:
        to_json(value)
    assert str(raised.value).startswith(message)


def test_a_result_that_refers_to_itself_is_an_error() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ResultError, match="refers to itself"):
        to_json(value)
