"""Metrics in CloudWatch's embedded metric format: one line an invocation, with the dimension `service`.

Counts of a webhook have a second dimension, `webhook`.

Each room names its counts. components/observability.py watches them; tests/test_contract.py asserts that they agree.
"""

from collections.abc import Mapping

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

LATENCY = "Latency"


def emit(counts: Mapping[str, int], latencies_ms: list[float] | None = None, *, webhook: str = "") -> None:
    """Write one line. `latencies_ms` are the times from received to completed."""
    metrics = Metrics()
    if webhook:
        metrics.add_dimension("webhook", webhook)
    for name, value in counts.items():
        metrics.add_metric(name, MetricUnit.Count, value)
    for latency in latencies_ms or ():
        metrics.add_metric(LATENCY, MetricUnit.Milliseconds, latency)
    metrics.flush_metrics()
