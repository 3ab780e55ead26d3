"""`pipeline cost`: the monthly cost of a stack, by list prices and the model in cost_model.py."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cli.core.json_text import parse_object, read_text, write_json
from cli.core.stack import Stack
from cli.cost_model import Traffic, Usage, monthly_usage, not_counted
from components.options.api import ApiPipelineConfig
from local.errors import LocalError
from local.recording import Graph

PRICES = Path(__file__).with_name("prices.json")

# Quantities from here on are shown without decimals.
WHOLE = 100

SERVICES = {
    "api_gateway": "API Gateway",
    "lambda": "Lambda",
    "sqs": "SQS",
    "dynamodb": "DynamoDB",
    "s3": "S3",
    "sns": "SNS",
    "eventbridge": "EventBridge",
    "cloudwatch": "CloudWatch",
    "xray": "X-Ray",
    "kms": "KMS",
    "vpc": "VPC",
}


@dataclass(frozen=True)
class Bill:
    """The usage and the dollars of a month, by the units of the price table."""

    prices: Mapping[str, Any]
    usage: Usage
    dollars: Mapping[str, float]
    not_counted: list[str]

    @property
    def total(self) -> float:
        """All dollars."""
        return sum(self.dollars.values())


def run_cost(stack: str, traffic: Traffic, prices_file: str | None, *, as_json: bool) -> int:
    """Print the bill of a stack, by service."""
    prices = read_prices(prices_file or str(PRICES))
    costed = Stack(stack)
    config = costed.config_as(ApiPipelineConfig)
    usage = monthly_usage(config, costed.graph(), traffic)
    dollars = _by_unit(prices, usage)
    bill = Bill(prices, usage, dollars, not_counted(config))
    if as_json:
        write_json(_described(stack, bill))
    else:
        _show(stack, bill, traffic, traffic.batch(config))
    return 0


def monthly_dollars(prices: Mapping[str, Any], config: ApiPipelineConfig, graph: Graph, traffic: Traffic) -> float:
    """Return what a stack costs in a month."""
    return sum(_by_unit(prices, monthly_usage(config, graph, traffic)).values())


def _by_unit(prices: Mapping[str, Any], usage: Usage) -> dict[str, float]:
    return {unit: _dollars(prices, unit, quantity) for unit, quantity in usage.items()}


def read_prices(file: str) -> dict[str, Any]:
    """Return a price table. Raises LocalError when it does not have the shape of prices.json."""
    table = parse_object(*read_text(file))
    if not {"date", "region", "currency"} <= table.keys() or not isinstance(table.get("prices"), dict):
        raise LocalError(f"{file} must hold an object with date, region, currency and prices ({{unit: {{usd, per}}}})")
    for unit, price in table["prices"].items():
        if not isinstance(price, dict) or not all(isinstance(price.get(key), int | float) for key in ("usd", "per")):
            raise LocalError(f"{file}: prices.{unit} must be an object with the numbers usd and per")
    return table


def _dollars(table: Mapping[str, Any], unit: str, quantity: float) -> float:
    price = table["prices"].get(unit)
    if price is None:
        raise LocalError(f"the price table of {table['date']} has no price for {unit}")
    return float(quantity * price["usd"] / price["per"])


def _described(stack: str, bill: Bill) -> dict[str, Any]:
    return {
        "stack": stack,
        "prices": bill.prices["date"],
        "region": bill.prices["region"],
        "currency": bill.prices["currency"],
        "usd": round(bill.total, 2),
        "not_counted": bill.not_counted,
        "lines": {
            unit: {"quantity": round(quantity, 3), "usd": round(bill.dollars[unit], 4)}
            for unit, quantity in bill.usage.items()
        },
    }


def _show(stack: str, bill: Bill, traffic: Traffic, batch: float) -> None:
    grid = Table("service", "what", "a month", f"{bill.prices['currency']} a month", box=SIMPLE)
    for column in grid.columns[2:]:
        column.justify = "right"
    for row in _rows(bill):
        grid.add_row(*row)
    grid.add_section()
    grid.add_row("together", "", "", f"{bill.total:,.2f}")
    console = Console(width=100)
    console.print(grid)
    console.print(
        f"{stack}: {traffic.events_a_month:,} events a month of {traffic.event_bytes:,} bytes, "
        f"{traffic.events_a_request:,} to a request, {batch:,.0f} to a run of the worker.\n"
        f"By list prices of {bill.prices['region']} ({bill.prices['date']}), without free tiers, data transfer and "
        "retries. An estimate, not a bill." + "".join(f"\nNot counted: {what}." for what in bill.not_counted),
        highlight=False,
        soft_wrap=True,
    )


def _rows(bill: Bill) -> Iterator[tuple[str, str, str, str]]:
    """A row a unit, the dearest of each service first."""
    for prefix, service in SERVICES.items():
        units = [unit for unit in bill.usage if unit.startswith(f"{prefix}.")]
        for position, unit in enumerate(sorted(units, key=lambda unit: -bill.dollars[unit])):
            name = unit.partition(".")[2].replace("_", " ")
            quantity = bill.usage[unit]
            shown = f"{quantity:,.0f}" if quantity >= WHOLE else f"{quantity:,.2f}"
            yield "" if position else service, name, shown, f"{bill.dollars[unit]:,.2f}"
