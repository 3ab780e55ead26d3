"""Alarms and the dashboard of a pipeline.

Every metric is one that AWS, or our own functions (handlers/shared/metrics.py), really emit with just these dimensions:
SQS https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
Lambda https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
DynamoDB https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
Logs https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch-Logs-Monitoring-CloudWatch-Metrics.html
API Gateway: see ApiMetrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.api import ApiMetrics
from components.function import METRICS_NAMESPACE, Function
from components.options.common import AlarmOptions, FunctionAlarmOptions
from components.outcomes import Outcomes
from components.queue import DeadLetterQueue, Queue
from components.scheduled_function import ScheduledFunction
from components.table import Table

PERIOD_SECONDS = 300
SECONDS_AN_HOUR = 3_600


@dataclass(frozen=True)
class Metric:
    """One metric and the statistic taken of it over a period."""

    namespace: str
    name: str
    dimensions: Mapping[str, Input[str]]
    statistic: str


@dataclass(frozen=True)
class Rate:
    """`part` of `whole` in percent; nothing of nothing is 0."""

    part: Metric
    whole: Metric


@dataclass(frozen=True)
class Alarm:
    """Rings when `watched` is at or above `threshold` for `periods` periods.

    `heartbeat`: rings when it is below, or is not there, for that long; after the alarm is made, at the earliest.
    """

    description: str
    watched: Metric | Rate
    threshold: float
    periods: int = 1
    period_seconds: int = PERIOD_SECONDS
    heartbeat: bool = False


@dataclass(frozen=True)
class Panel:
    """One graph of the dashboard."""

    title: str
    metrics: Sequence[Metric]


class Observability(pulumi.ComponentResource):
    """The alarms of a pipeline and its dashboard. Alarms tell the alarms topic of trouble and of its end."""

    def __init__(
        self,
        name: str,
        *,
        service: str,
        alarms: Mapping[str, Alarm],
        panels: Sequence[Panel],
        alarms_arn: Input[str],
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Observability", name, None, opts)
        for label, alarm in alarms.items():
            self._alarm(f"{name}-{label}", alarm, alarms_arn)
        aws.cloudwatch.Dashboard(
            name,
            dashboard_name=f"{service}-{name}",
            dashboard_body=_dashboard(panels),
            opts=ResourceOptions(parent=self),
        )
        self.register_outputs({})

    def _alarm(self, name: str, alarm: Alarm, alarms_arn: Input[str]) -> None:
        aws.cloudwatch.MetricAlarm(
            name,
            alarm_description=alarm.description,
            comparison_operator="LessThanThreshold" if alarm.heartbeat else "GreaterThanOrEqualToThreshold",
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            # No traffic is no trouble: most of these metrics have no value then. What does not run has none, either.
            treat_missing_data="breaching" if alarm.heartbeat else "notBreaching",
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-warm-up.html
            warm_up_configuration=(
                {"warm_up_period_duration_in_minutes": alarm.periods * alarm.period_seconds // 60}
                if alarm.heartbeat
                else None
            ),
            alarm_actions=[alarms_arn],
            ok_actions=[alarms_arn],
            **_watched(alarm),
            opts=ResourceOptions(parent=self),
        )


class _Watched(TypedDict, total=False):
    namespace: str
    metric_name: str
    dimensions: Mapping[str, Input[str]]
    period: int
    statistic: str
    extended_statistic: str
    metric_queries: Sequence[aws.cloudwatch.MetricAlarmMetricQueryArgsDict]


def _watched(alarm: Alarm) -> _Watched:
    match alarm.watched:
        case Metric(namespace, name, dimensions, statistic):
            watched: _Watched = {
                "namespace": namespace,
                "metric_name": name,
                "dimensions": dimensions,
                "period": alarm.period_seconds,
            }
            if statistic.startswith("p"):
                return {**watched, "extended_statistic": statistic}
            return {**watched, "statistic": statistic}
        case Rate(part, whole):
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html (IF)
            return {
                "metric_queries": [
                    {
                        "id": "rate",
                        "expression": "IF(whole > 0, 100 * part / whole, 0)",
                        "label": f"{part.name} in percent of {whole.name}",
                        "return_data": True,
                    },
                    _query("part", part, alarm.period_seconds),
                    _query("whole", whole, alarm.period_seconds),
                ],
            }


def _query(label: str, metric: Metric, period_seconds: int) -> aws.cloudwatch.MetricAlarmMetricQueryArgsDict:
    return {
        "id": label,
        "metric": {
            "namespace": metric.namespace,
            "metric_name": metric.name,
            "dimensions": metric.dimensions,
            "period": period_seconds,
            "stat": metric.statistic,
        },
    }


def _of_queue(metric: str, queue_name: Input[str], statistic: str) -> Metric:
    return Metric("AWS/SQS", metric, {"QueueName": queue_name}, statistic)


def _of_function(metric: str, function: Function, statistic: str) -> Metric:
    return Metric("AWS/Lambda", metric, {"FunctionName": function.name}, statistic)


def _of_api(metric: str, api: ApiMetrics, statistic: str) -> Metric:
    return Metric("AWS/ApiGateway", metric, api.dimensions, statistic)


def _own(metric: str, service: str, statistic: str) -> Metric:
    return Metric(METRICS_NAMESPACE, metric, {"service": service}, statistic)


def queue_alarms(queue: Queue, service: str, options: AlarmOptions) -> dict[str, Alarm]:
    """Of a queue with a worker behind it that counts `Messages` and `BatchItemFailures`."""
    return {
        "dead-letters": dead_letters_alarm(queue.dead_letters_name),
        "oldest-message": _oldest_message(queue, options),
        "failed-messages": _failed_messages(service, options),
    }


def api_alarms(api: ApiMetrics, options: AlarmOptions) -> dict[str, Alarm]:
    """Of an API of either kind."""
    return {"api-errors": _api_errors(api, options), "api-latency": _api_latency(api, options)}


def function_alarms(label: str, function: Function, options: FunctionAlarmOptions) -> dict[str, Alarm]:
    """Of a function, which `label` names in the alarms."""
    return {
        f"{label}-errors": _errors(label, function, options),
        f"{label}-throttles": _throttles(label, function),
        f"{label}-duration": _duration(label, function, options),
    }


def scheduled_alarms(
    label: str,
    scheduled: ScheduledFunction,
    options: FunctionAlarmOptions,
) -> dict[str, Alarm]:
    """Of a function that runs by the clock: nobody waits for its answer, or sees that it does not run."""
    # Periods of less than an hour may be a day in all, those of an hour a week:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (Period)
    period_seconds = 60 if scheduled.stopped_after_seconds < SECONDS_AN_HOUR else SECONDS_AN_HOUR
    return {
        **function_alarms(label, scheduled.function, options),
        f"{label}-stopped": Alarm(
            f"The {label} function does not run: its schedule is disabled, or Lambda does not run it.",
            # Throttled requests are not counted as invocations.
            _of_function("Invocations", scheduled.function, "Sum"),
            threshold=1,
            periods=scheduled.stopped_after_seconds // period_seconds,
            period_seconds=period_seconds,
            heartbeat=True,
        ),
        f"{label}-dead-letters": Alarm(
            f"Runs of the {label} function were given up: its dead letters say which ones, its logs why.",
            _of_queue("ApproximateNumberOfMessagesVisible", scheduled.dead_letters.name, "Maximum"),
            threshold=1,
            period_seconds=60,
        ),
    }


def api_panels(api: ApiMetrics) -> tuple[Panel, Panel]:
    """Requests, and how long they take."""
    return (
        Panel("Requests", [_of_api("Count", api, "Sum"), _of_api(api.server_errors, api, "Sum")]),
        Panel("API latency (ms)", [_of_api("Latency", api, statistic) for statistic in ("p50", "p95")]),
    )


def queue_panels(queue: Queue) -> tuple[Panel, Panel]:
    """What waits, and for how long."""
    return (
        Panel(
            "Waiting",
            [
                _of_queue("ApproximateNumberOfMessagesVisible", queue.name, "Maximum"),
                _of_queue("ApproximateNumberOfMessagesVisible", queue.dead_letters_name, "Maximum"),
            ],
        ),
        Panel(
            "Age of the oldest message (seconds)", [_of_queue("ApproximateAgeOfOldestMessage", queue.name, "Maximum")]
        ),
    )


def counts_panel(title: str, service: str, *names: str) -> Panel:
    """The pipeline's own counts (handlers/shared/metrics.py)."""
    return Panel(title, [_own(name, service, "Sum") for name in names])


def latency_panel(title: str, service: str) -> Panel:
    """The pipeline's own measure of how long it takes from one end to the other."""
    return Panel(title, [_own("Latency", service, statistic) for statistic in ("p50", "p95", "Maximum")])


def functions_panel(*functions: Function) -> Panel:
    """Runs of functions, and those that went wrong."""
    return Panel(
        "Functions",
        [
            _of_function(metric, function, "Sum")
            for function in functions
            for metric in ("Invocations", "Errors", "Throttles")
        ],
    )


def cost_panels(functions: Sequence[Function], table: Table, queue: Queue) -> tuple[Panel, Panel, Panel]:
    """What the bill comes from: what functions take, what the table reads and writes, what is sent and logged."""
    units = ("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits")
    logged = [Metric("AWS/Logs", "IncomingBytes", {"LogGroupName": each.log_group_name}, "Sum") for each in functions]
    return (
        Panel("Cost: time of functions (ms)", [_of_function("Duration", function, "Sum") for function in functions]),
        Panel(
            "Cost: request units of the table",
            [
                Metric("AWS/DynamoDB", unit, dimensions, "Sum")
                for dimensions in table.metric_dimensions
                for unit in units
            ],
        ),
        Panel("Cost: messages sent, bytes logged", [_of_queue("NumberOfMessagesSent", queue.name, "Sum"), *logged]),
    )


def async_alarms(function: Function, event_age_seconds: int) -> dict[str, Alarm]:
    """Of a function that is invoked asynchronously."""
    return {
        "event-age": Alarm(
            "The worker does not keep up: uploads wait too long, or are tried again.",
            _of_function("AsyncEventAge", function, "Maximum"),
            threshold=event_age_seconds * 1_000,
        ),
        # What is neither done nor with the dead letters: this number is the only trace of it.
        "undelivered": Alarm(
            "Lambda could not put failed events with the dead letters: uploads are not processed, and nobody has them.",
            _of_function("DestinationDeliveryFailures", function, "Sum"),
            threshold=1,
        ),
    }


def rejections_alarm(service: str, percent: float) -> Alarm:
    """Of a pipeline that counts what it `Received` and what of it is `Rejected`."""
    return Alarm(
        "Too much of what is uploaded is refused; rejected/ says what and why.",
        Rate(_own("Rejected", service, "Sum"), _own("Received", service, "Sum")),
        threshold=percent,
    )


def circuit_alarms(breaker: ScheduledFunction, service: str, options: FunctionAlarmOptions) -> dict[str, Alarm]:
    """Of a circuit breaker, and of the function that looks after it."""
    return {
        "circuit-open": Alarm(
            "The circuit is open: what the processor calls is out, and the worker takes no messages.",
            _own("CircuitOpen", service, "Maximum"),
            threshold=1,
            period_seconds=60,
        ),
        **scheduled_alarms("breaker", breaker, options),
    }


def outcomes_alarms(outcomes: Outcomes, service: str) -> dict[str, Alarm]:
    """Of a worker that says on an event bus what became of events, and of the bus."""
    alarms = {
        "outcomes-undelivered": Alarm(
            "The event bus did not take outcome events, and they were given up: subscribers do not know of them.",
            _own("OutcomesUndelivered", service, "Sum"),
            threshold=1,
        ),
    }
    if outcomes.dead_letters_name is not None:
        alarms["outcomes-dead-letters"] = Alarm(
            "EventBridge could not encrypt or decrypt outcome events: subscribers do not know of them; mend the key.",
            _of_queue("ApproximateNumberOfMessagesVisible", outcomes.dead_letters_name, "Maximum"),
            threshold=1,
            period_seconds=60,
        )
    return alarms


def async_panels(function: Function, dead_letters_name: Input[str]) -> tuple[Panel, Panel]:
    """What waits for a function that is invoked asynchronously, and what it could not do."""
    return (
        Panel("Age of the oldest event (ms)", [_of_function("AsyncEventAge", function, "Maximum")]),
        Panel("Dead letters", [_of_queue("ApproximateNumberOfMessagesVisible", dead_letters_name, "Maximum")]),
    )


def dead_letters_alarm(queue_name: Input[str]) -> Alarm:
    """Of a queue of dead letters."""
    # Visible depth, not NumberOfMessagesSent: SQS does not count messages it moves there itself.
    return Alarm(
        "Messages lie with the dead letters: look at them and redrive or delete them.",
        _of_queue("ApproximateNumberOfMessagesVisible", queue_name, "Maximum"),
        threshold=1,
        period_seconds=60,
    )


def undelivered_alarms(label: str, dead_letters: DeadLetterQueue | None) -> dict[str, Alarm]:
    """Of the notifications that could not be delivered, when somebody gets any that could fail."""
    return {} if dead_letters is None else {f"{label}-undelivered": dead_letters_alarm(dead_letters.name)}


def _oldest_message(queue: Queue, options: AlarmOptions) -> Alarm:
    return Alarm(
        "The worker does not keep up: the oldest message waits too long.",
        _of_queue("ApproximateAgeOfOldestMessage", queue.name, "Maximum"),
        threshold=options.oldest_message_seconds,
    )


def _failed_messages(service: str, options: AlarmOptions) -> Alarm:
    # Lambda's Errors does not see partial batch failures, so the worker counts them itself.
    return Alarm(
        "Too many messages fail and return to the queue.",
        Rate(_own("BatchItemFailures", service, "Sum"), _own("Messages", service, "Sum")),
        threshold=options.failed_message_rate_percent,
        periods=2,
    )


def _api_errors(api: ApiMetrics, options: AlarmOptions) -> Alarm:
    return Alarm(
        "The API answers too many requests with a server error.",
        Rate(_of_api(api.server_errors, api, "Sum"), _of_api("Count", api, "Sum")),
        threshold=options.api_error_rate_percent,
    )


def _api_latency(api: ApiMetrics, options: AlarmOptions) -> Alarm:
    return Alarm(
        "The API is slow: 95 of 100 requests take less than this, 5 take longer.",
        _of_api("Latency", api, "p95"),
        threshold=options.api_latency_p95_ms,
        periods=3,
    )


def _errors(label: str, function: Function, options: FunctionAlarmOptions) -> Alarm:
    return Alarm(
        f"Too many runs of the {label} function end in an error.",
        Rate(_of_function("Errors", function, "Sum"), _of_function("Invocations", function, "Sum")),
        threshold=options.error_rate_percent,
    )


def _throttles(label: str, function: Function) -> Alarm:
    return Alarm(
        f"Lambda refuses to run the {label} function: the concurrency limit is reached.",
        _of_function("Throttles", function, "Sum"),
        threshold=1,
    )


def _duration(label: str, function: Function, options: FunctionAlarmOptions) -> Alarm:
    return Alarm(
        f"Runs of the {label} function come near its timeout.",
        _of_function("Duration", function, "Maximum"),
        threshold=function.timeout_seconds * 1_000 * options.duration_percent_of_timeout / 100,
    )


def _dashboard(panels: Sequence[Panel]) -> Output[str]:
    """Panels from left to right, top to bottom."""
    region = aws.get_region_output().region
    columns, width, height = 2, 12, 6
    widgets = [
        {
            "type": "metric",
            "x": width * (position % columns),
            "y": height * (position // columns),
            "width": width,
            "height": height,
            "properties": {
                "title": panel.title,
                "region": region,
                "period": PERIOD_SECONDS,
                "metrics": [
                    [
                        metric.namespace,
                        metric.name,
                        *(part for pair in metric.dimensions.items() for part in pair),
                        {"stat": metric.statistic},
                    ]
                    for metric in panel.metrics
                ],
            },
        }
        for position, panel in enumerate(panels)
    ]
    return Output.json_dumps({"widgets": widgets})
