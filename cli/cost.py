"""`pipeline cost`: the monthly cost of a stack, by list prices and the model of its variant."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from cli import cost_csv, cost_iot, cost_model
from cli.core.json_text import parse_object, read_text, write_json
from cli.core.stack import Stack
from cli.cost_csv import CsvTraffic
from cli.cost_iot import IotTraffic
from cli.cost_model import Traffic
from cli.cost_units import Usage
from components.config import PipelineConfig
from components.options.api import ApiPipelineConfig
from components.options.csv import CsvPipelineConfig
from components.options.iot import IotPipelineConfig
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
    "secrets_manager": "Secrets Manager",  # pragma: allowlist secret
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


# The volume that a stack of each variant takes, and its defaults.
DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "api": {"events_a_month": 1_000_000, "events_a_request": 1, "event_bytes": 500},
    "csv": {"gb_a_month": 100, "file_mb": 50},
    "iot": {"readings_a_month": 10_000_000, "readings_an_object": 100},
}


def run_cost(stack: str, volume: Mapping[str, float | None], prices_file: str | None, *, as_json: bool) -> int:
    """Print the bill of a stack, by service. `volume` is as in DEFAULTS; None is a default.

    Raises LocalError for a volume of another variant.
    """
    prices = read_prices(prices_file or str(PRICES))
    costed = Stack(stack)
    config, given = costed.config, {name: each for name, each in volume.items() if each is not None}
    taken = DEFAULTS[config.variant]
    if foreign := sorted(given.keys() - taken.keys()):
        named, own = (", ".join(f"--{_option(name)}" for name in names) for names in (foreign, taken))
        raise LocalError(f"stack {stack!r} is of the variant {config.variant}: {named} does not fit; it takes {own}")
    usage, left_out, described = _usage(config, costed.graph(), {**taken, **given})
    bill = Bill(prices, usage, _by_unit(prices, usage), left_out)
    if as_json:
        write_json(_described(stack, bill))
    else:
        _show(stack, bill, described)
    return 0


def _option(name: str) -> str:
    return name.replace("_a_", "_per_").replace("_an_", "_per_").replace("_", "-")


def _usage(config: PipelineConfig, graph: Graph, volume: Mapping[str, Any]) -> tuple[Usage, list[str], str]:
    """Return what is used, what is not counted, and the volume in words."""
    match config:
        case ApiPipelineConfig():
            events = Traffic(**volume)
            return (
                cost_model.monthly_usage(config, graph, events),
                cost_model.not_counted(config),
                events.described(config),
            )
        case CsvPipelineConfig():
            files = CsvTraffic(**volume)
            return cost_csv.monthly_usage(config, graph, files), cost_csv.not_counted(config), files.described()
        case IotPipelineConfig():
            readings = IotTraffic(**volume)
            return cost_iot.monthly_usage(config, graph, readings), cost_iot.not_counted(config), readings.described()
        case _:
            assert_never(config)


def monthly_dollars(prices: Mapping[str, Any], config: ApiPipelineConfig, graph: Graph, traffic: Traffic) -> float:
    """Return what a stack costs in a month."""
    return sum(_by_unit(prices, cost_model.monthly_usage(config, graph, traffic)).values())


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


def _show(stack: str, bill: Bill, described: str) -> None:
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
        f"{stack}: {described}.\n"
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
