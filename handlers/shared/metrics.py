"""The pipeline's own metrics, in CloudWatch's embedded metric format: one line an invocation, dimension `service`.

The alarms and the dashboard (components/observability.py) name these metrics; tests/test_contract.py holds both
together.
"""

from collections.abc import Mapping

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.metrics import MetricUnit

INGEST_COUNTS = ("Accepted", "Rejected", "Duplicate")
WORKER_COUNTS = ("Messages", "Processed", "Failed", "Repeated", "BatchItemFailures")
# Of the worker, too, where there is a bus.
OUTCOME_COUNTS = ("OutcomesUndelivered",)
# 0 or 1, each minute; the others by whoever changes the circuit.
CIRCUIT_OPEN = "CircuitOpen"
CIRCUIT_COUNTS = ("CircuitOpened", "CircuitClosed", CIRCUIT_OPEN)
CSV_WORKER_COUNTS = (
    "Messages",
    "FilesSucceeded",
    "FilesFailed",
    "FilesSkipped",
    "FilesContinued",
    "RowsProcessed",
    "RowsRejected",
    "BatchItemFailures",
)
LATENCY = "Latency"


def emit(counts: Mapping[str, int], latencies_ms: list[float] | None = None) -> None:
    """Writes one line. `latencies_ms` are the times from received to completed."""
    metrics = Metrics()
    for name, value in counts.items():
        metrics.add_metric(name, MetricUnit.Count, value)
    for latency in latencies_ms or ():
        metrics.add_metric(LATENCY, MetricUnit.Milliseconds, latency)
    metrics.flush_metrics()
