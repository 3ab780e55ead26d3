"""Names of the metrics that the api variant's functions write."""

INGEST_COUNTS = ("Accepted", "Rejected", "Duplicate")
WORKER_COUNTS = ("Messages", "Processed", "Failed", "Repeated", "BatchItemFailures")
# The worker writes these only where there is an event bus.
OUTCOME_COUNTS = ("OutcomesUndelivered",)
# 0 or 1, written each minute where there is a circuit breaker.
CIRCUIT_OPEN = "CircuitOpen"
# Written each minute where the circuit breaker has a key.
CIRCUIT_KEYS_HELD = "CircuitKeysHeld"
# With the dimension `webhook`, by what a request turned out to be.
WEBHOOK_COUNTS = {"genuine": "WebhookAccepted", "forged": "WebhookForged", "stale": "WebhookStale"}
# Written by the reconciler, every few minutes while there are dead letters.
OLDEST_LETTER = "OldestDeadLetterSeconds"
# Written by the reconciler each hour in which there are any, and once when there are none any more.
STUCK_EVENTS = "StuckEvents"
