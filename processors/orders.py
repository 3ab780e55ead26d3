"""A realistic example: checks an order, adds up its lines, and works out the tax.

An order: `{"orderId": "A-17", "country": "DE", "lines": [{"sku": "tea", "quantity": 2, "unit_price": "3.50"}]}`, or one
with a plain `amount` and no lines. Amounts are worked out in decimals and answered as text, as money should be.
"""

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

from handlers.processor import Rejected

CENT = Decimal("0.01")
LARGEST_AMOUNT = 1_000_000_000
LARGEST_QUANTITY = 1_000_000
TAX_PERCENT = {"AT": Decimal(20), "CH": Decimal("8.1"), "DE": Decimal(19), "FR": Decimal(20)}
DEFAULT_COUNTRY = "DE"

_number = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?").fullmatch


def process(event: Mapping[str, Any]) -> dict[str, Any]:
    """`{"order_id", "net", "tax", "total", "lines"}` of an order. Raises Rejected with what is wrong with it."""
    order_id = event.get("orderId")
    if not isinstance(order_id, str) or not order_id.strip():
        raise Rejected("orderId must be a text that is not empty")
    country = event.get("country", DEFAULT_COUNTRY)
    if not isinstance(country, str) or country not in TAX_PERCENT:
        # Without the input itself: what a client wrote must not come back in somebody's mail or log.
        raise Rejected(f"country is not one we sell to: {', '.join(sorted(TAX_PERCENT))}")
    lines = event.get("lines")
    if lines is None:
        net, count = _amount(event.get("amount"), "amount"), 0
    elif isinstance(lines, list) and lines:
        net, count = sum((_line(line, number) for number, line in enumerate(lines, start=1)), Decimal(0)), len(lines)
    else:
        raise Rejected("lines must be a list with at least one line")
    tax = (net * TAX_PERCENT[country] / 100).quantize(CENT, ROUND_HALF_UP)
    return {
        "order_id": order_id,
        "net": str(net.quantize(CENT, ROUND_HALF_UP)),
        "tax": str(tax),
        "total": str((net + tax).quantize(CENT, ROUND_HALF_UP)),
        "lines": count,
    }


def _line(line: object, number: int) -> Decimal:
    if not isinstance(line, Mapping):
        raise Rejected(f"line {number} must be an object")
    quantity = line.get("quantity")
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= LARGEST_QUANTITY:
        raise Rejected(f"line {number}: quantity must be a whole number from 1 to {LARGEST_QUANTITY}")
    return quantity * _amount(line.get("unit_price"), f"line {number}: unit_price")


def _amount(value: object, name: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Rejected(f"{name} must be a number")
    # By way of text: Decimal(0.1) is not 0.1. And checked: Decimal takes "1_000", " 1 " and "NaN" for numbers.
    text = str(value)
    if not _number(text):
        raise Rejected(f"{name} must be a number")
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise Rejected(f"{name} must be a number") from None
    if not 0 < amount <= LARGEST_AMOUNT:
        raise Rejected(f"{name} must be above 0 and at most {LARGEST_AMOUNT}")
    return amount
