"""The variable cost of a million events by the model of `pipeline cost`. A part of `make bench`.

Nothing is measured.

The model's calls are those that tests/emulator/api/test_cost_model.py counts. The fixed cost of a month (alarms, the
dashboard, metrics) is not in it, as it is the same for any number of events. Storing the items until they expire is
told apart.
"""

from pathlib import Path
from typing import Any

from benchmarks.figures import Rows, Size
from benchmarks.pictures import LEAN, naive_dollars
from cli.cost import PRICES, read_prices
from cli.cost_model import Traffic, monthly_usage
from components.config import load
from components.options.api import ApiPipelineConfig
from local.project import load_project
from local.recording import synthesise

SAMPLES = Path(__file__).parents[1] / "tests/samples"
MILLION, EVENT_BYTES = 1_000_000, 500
# So many events a month that what a schedule costs is in neither of the two months that are compared.
FEWER, MORE = 100 * MILLION, 200 * MILLION
LEAN_ROW = "lean (track: false, results: inline, no index), 100 to a request"


def dollars(config: dict[str, Any], events_a_request: int) -> dict[str, float]:
    """Return what a million more events cost the sample stack `dev` with these options, and their storage."""
    typed = load(load_project(SAMPLES, "dev").with_config(config).config, file="Pulumi.dev.yaml", check_processor=False)
    if not isinstance(typed, ApiPipelineConfig):
        raise TypeError("the sample stack dev must be of the variant api")
    graph, prices = synthesise(SAMPLES, "dev", config), read_prices(str(PRICES))["prices"]
    fewer, more = (
        monthly_usage(typed, graph, Traffic(events, events_a_request, EVENT_BYTES)) for events in (FEWER, MORE)
    )
    parts = {"usd": 0.0, "storage_usd": 0.0}
    for unit, quantity in more.items():
        a_million = (quantity - fewer.get(unit, 0)) / (MORE - FEWER) * MILLION
        part = "storage_usd" if unit.endswith("gb_months") else "usd"
        parts[part] += a_million * prices[unit]["usd"] / prices[unit]["per"]
    return parts


def measure(_size: Size) -> Rows:
    """Return dollars per million events."""
    bills = {
        "naive pipeline, 1 to a request": {"usd": naive_dollars(read_prices(str(PRICES)), MILLION)},
        "default options, 1 to a request": dollars({}, 1),
        "default options, 100 to a request": dollars({}, 100),
        LEAN_ROW: dollars(LEAN, 100),
    }
    return {name: {column: [value] for column, value in bill.items()} for name, bill in bills.items()}
