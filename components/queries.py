"""Saved queries: the usual questions to the functions' logs, in CloudWatch Logs Insights under `<project>-<stack>/`.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CWL_QuerySyntax.html, of what handlers/api/ingest.py and
handlers/api/worker.py log; tests/emulator/stacks/test_logs.py looks at what they really do.
"""

from collections.abc import Mapping, Sequence

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

from components.function import Function

# One line of the worker is about many events: unnest makes one row of each.
_EACH_EVENT = 'filter message = "batch" | fields jsonParse(@message) as line | unnest line.events into event'

EVENT_QUERIES: Mapping[str, str] = {
    # Put the id in: every line of both functions that is about the request.
    "follow-a-request": (
        "fields @timestamp, @log, level, message, @message"
        " | filter @message like /CORRELATION-ID/ | sort @timestamp asc | limit 1000"
    ),
    # Put the event's id in, twice.
    "attempts-of-an-event": (
        f'filter @message like /EVENT-ID/ | {_EACH_EVENT} | filter event.id = "EVENT-ID"'
        " | display @timestamp, event.attempts, event.outcome, event.error_type, event.error | sort @timestamp asc"
    ),
    "failures-by-error": (
        f"{_EACH_EVENT} | filter ispresent(event.error_type)"
        " | stats count(*) as attempts by event.error_type, event.outcome | sort attempts desc"
    ),
    "slowest-events": (
        f"{_EACH_EVENT} | fields event.latency_ms as latency_ms | filter ispresent(latency_ms)"
        " | display @timestamp, event.id, event.type, event.attempts, latency_ms | sort latency_ms desc | limit 20"
    ),
    "refused-requests": (
        'filter message = "request" and status >= 400'
        " | stats count(*) as requests by route, status | sort requests desc"
    ),
    "runs-and-cold-starts": (
        'filter @type = "REPORT"'
        " | stats count(*) as runs, count(@initDuration) as cold_starts, avg(@initDuration) as cold_start_ms,"
        " pct(@duration, 50) as p50_ms, pct(@duration, 95) as p95_ms, max(@duration) as longest_ms,"
        " max(@maxMemoryUsed) / 1000000 as memory_mb by @log, bin(1h)"
    ),
}


class SavedQueries(pulumi.ComponentResource):
    """Queries, saved for the logs of some functions."""

    def __init__(
        self,
        name: str,
        queries: Mapping[str, str],
        *,
        service: str,
        functions: Sequence[Function],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:SavedQueries", name, None, opts)
        for label, query in queries.items():
            aws.cloudwatch.QueryDefinition(
                f"{name}-{label}",
                # They are not auto-named; the slash makes a folder of the stack's own.
                name=f"{service}/{label}",
                query_string=query,
                log_group_names=[function.log_group_name for function in functions],
                opts=ResourceOptions(parent=self),
            )
        self.register_outputs({})
