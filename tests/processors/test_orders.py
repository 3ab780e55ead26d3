"""Orders: exact money, and a reason for every order that cannot be."""

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.processor import Rejected
from tests.samples.processors.orders import LARGEST_AMOUNT, TAX_PERCENT, process
from tests.strategies import JsonObject, json_objects, json_values


def line(quantity: Any = 1, unit_price: Any = 1) -> JsonObject:
    return {"sku": "tea", "quantity": quantity, "unit_price": unit_price}


def cents(value: Fraction) -> Fraction:
    """Rounded to cents, half up, in whole numbers."""
    return Fraction((value * 200 + 1) // 2, 100)


def test_the_lines_of_an_order_are_added_up_and_taxed() -> None:
    order = {"orderId": "A-17", "country": "DE", "lines": [line(2, "3.50"), line(3, 0.1)]}
    assert process(order) == {"order_id": "A-17", "net": "7.30", "tax": "1.39", "total": "8.69", "lines": 2}


def test_an_order_with_a_plain_amount_needs_no_lines() -> None:
    assert process({"orderId": "A-17", "amount": 100}) == {
        "order_id": "A-17",
        "net": "100.00",
        "tax": "19.00",
        "total": "119.00",
        "lines": 0,
    }


def test_lines_count_and_the_amount_beside_them_does_not() -> None:
    assert process({"orderId": "A", "amount": 5, "lines": [line(1, 7)]})["net"] == "7.00"


@pytest.mark.parametrize(
    ("country", "tax"),
    [("AT", "20.00"), ("CH", "8.10"), ("DE", "19.00"), ("FR", "20.00")],
)
def test_each_country_has_its_tax(country: str, tax: str) -> None:
    assert process({"orderId": "A", "amount": 100, "country": country})["tax"] == tax


@pytest.mark.parametrize(
    ("amount", "net", "tax", "total"),
    [
        (0.1, "0.10", "0.02", "0.12"),
        ("0.30", "0.30", "0.06", "0.36"),
        (1.005, "1.01", "0.19", "1.20"),
        ("1.5", "1.50", "0.29", "1.79"),
        (0.29, "0.29", "0.06", "0.35"),
        (LARGEST_AMOUNT, "1000000000.00", "190000000.00", "1190000000.00"),
    ],
)
def test_money_is_decimal_and_half_a_cent_goes_up(amount: object, net: str, tax: str, total: str) -> None:
    answer = process({"orderId": "A", "amount": amount})
    assert (answer["net"], answer["tax"], answer["total"]) == (net, tax, total)


def test_a_tenth_added_ten_times_is_one() -> None:
    assert process({"orderId": "A", "lines": [line(1, 0.1)] * 10})["net"] == "1.00"


prices = st.decimals(min_value=Decimal("0.001"), max_value=LARGEST_AMOUNT, places=3)


@given(
    st.lists(st.tuples(st.integers(1, 1_000), prices), min_size=1, max_size=20), st.sampled_from(sorted(TAX_PERCENT))
)
@settings(deadline=None)
def test_sums_and_taxes_are_exact(lines: list[tuple[int, Decimal]], country: str) -> None:
    order = {"orderId": "A", "country": country, "lines": [line(quantity, str(price)) for quantity, price in lines]}
    answer = process(order)
    net = sum((quantity * Fraction(price) for quantity, price in lines), Fraction(0))
    tax = cents(net * Fraction(TAX_PERCENT[country]) / 100)
    assert Fraction(answer["net"]) == cents(net)
    assert Fraction(answer["tax"]) == tax
    assert Fraction(answer["total"]) == cents(net) + tax


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({}, "orderId must be a text that is not empty"),
        ({"orderId": ""}, "orderId must be a text that is not empty"),
        ({"orderId": "  "}, "orderId must be a text that is not empty"),
        ({"orderId": 17, "amount": 1}, "orderId must be a text that is not empty"),
        ({"orderId": "A", "country": "XX", "amount": 1}, "country is not one we sell to: AT, CH, DE, FR"),
        ({"orderId": "A", "country": None, "amount": 1}, "country is not one we sell to: AT, CH, DE, FR"),
        ({"orderId": "A", "country": ["DE"], "amount": 1}, "country is not one we sell to: AT, CH, DE, FR"),
        ({"orderId": "A"}, "amount must be a number"),
        *(
            ({"orderId": "A", "amount": amount}, "amount must be a number")
            for amount in (None, True, [1], {"a": 1}, "", "ten", "1,5", "1_000", " 1 ", "\u0661", "NaN", float("inf"))
        ),
        *(
            ({"orderId": "A", "amount": amount}, "amount must be above 0 and at most 1000000000")
            for amount in (0, -1, "-0.01", 1_000_000_000.01, "1e99")
        ),
        ({"orderId": "A", "lines": []}, "lines must be a list with at least one line"),
        ({"orderId": "A", "lines": {"a": 1}}, "lines must be a list with at least one line"),
        ({"orderId": "A", "lines": "tea"}, "lines must be a list with at least one line"),
        ({"orderId": "A", "lines": 0}, "lines must be a list with at least one line"),
        ({"orderId": "A", "lines": [line(), "tea"]}, "line 2 must be an object"),
        *(
            ({"orderId": "A", "lines": [line(quantity)]}, "line 1: quantity must be a whole number from 1 to 1000000")
            for quantity in (0, -1, 1.5, 1.0, True, "1", None)
        ),
        ({"orderId": "A", "lines": [line(), line(1, "x")]}, "line 2: unit_price must be a number"),
        ({"orderId": "A", "lines": [line(1, 0)]}, "line 1: unit_price must be above 0 and at most 1000000000"),
    ],
)
def test_an_order_that_cannot_be_is_rejected_with_its_reason(order: JsonObject, reason: str) -> None:
    with pytest.raises(Rejected) as raised:
        process(order)
    assert str(raised.value) == reason


@pytest.mark.parametrize("digits", [19, 30, 4_000])
def test_a_quantity_beyond_reason_is_rejected(digits: int) -> None:
    # Past 28 digits, decimal arithmetic would round, or fail as if trying again could help.
    with pytest.raises(Rejected, match="line 1: quantity"):
        process({"orderId": "A", "lines": [line(10**digits, LARGEST_AMOUNT)]})


amounts = json_values | prices.map(str) | st.floats() | st.integers()
almost_orders = st.fixed_dictionaries(
    {"orderId": st.text() | json_values},
    optional={
        "country": st.sampled_from(sorted(TAX_PERCENT)) | json_values,
        "amount": amounts,
        "lines": st.lists(
            st.fixed_dictionaries({}, optional={"quantity": st.integers() | json_values, "unit_price": amounts})
            | json_values,
            max_size=4,
        )
        | json_values,
    },
)


@given(almost_orders | json_objects)
@settings(deadline=None, max_examples=300)
def test_any_event_has_a_result_or_a_reason(event: JsonObject) -> None:
    try:
        answer = process(event)
    except Rejected as error:
        assert str(error)  # noqa: PT017  which of the two it is is up to the event
        return
    assert Decimal(answer["net"]) + Decimal(answer["tax"]) == Decimal(answer["total"])
    json.dumps(answer, allow_nan=False)
