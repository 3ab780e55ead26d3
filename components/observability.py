"""Alarms, panels and how they are rendered. The alarms themselves stand beside the resources that they watch.

Every metric is one that AWS or the functions (handlers/shared/metrics.py) emit with exactly these dimensions:
SQS https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-available-cloudwatch-metrics.html
Lambda https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
DynamoDB https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html
Logs https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch-Logs-Monitoring-CloudWatch-Metrics.html
API Gateway: see ApiMetrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.options.common import MINUTES_A_DAY

METRICS_NAMESPACE = "DataPipeline"
PERIOD_SECONDS = 300
# Fewer events or requests in a period are no share to speak of: one client's mistake, or a scanner at night.
FEWEST_FOR_A_SHARE = 10


@dataclass(frozen=True)
class Metric:
    """A metric and its statistic over a period."""

    namespace: str
    name: str
    dimensions: Mapping[str, Input[str]]
    statistic: str


@dataclass(frozen=True)
class Formula:
    """Metric math over metrics, which it names by their keys. `name` and `label` are those of its result.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
    """

    name: str
    label: str
    expression: str
    metrics: Mapping[str, Metric]


def rate_of(part: Metric, whole: Metric, *, minimum: int = 1) -> Formula:
    """`part` in percent of `whole`; 0 while `whole` is less than `minimum`."""
    return Formula(
        "rate",
        f"{part.name} in percent of {whole.name}",
        f"IF(whole >= {minimum}, 100 * part / whole, 0)",
        {"part": part, "whole": whole},
    )


def share(part: Metric, *others: Metric, minimum: int) -> Formula:
    """`part` in percent of itself and `others` together; 0 while all are less than `minimum`."""
    metrics = {"part": part, **{f"other{number}": each for number, each in enumerate(others, 1)}}
    whole = f"({' + '.join(metrics)})"
    return Formula(
        "share",
        f"{part.name} in percent of {', '.join(each.name for each in metrics.values())}",
        f"IF({whole} >= {minimum}, 100 * part / {whole}, 0)",
        metrics,
    )


@dataclass(frozen=True)
class Alarm:
    """Rings when `watched` is at or above `threshold` for `periods` periods.

    A `heartbeat` rings when it is below the threshold, or missing, for that long. Its first evaluation ends that long
    after the alarm is created.
    """

    description: str
    watched: Metric | Formula
    threshold: float
    section: str
    """The section of docs/alarms.md that says what to do: its heading, as GitHub links to it."""
    step: str
    """The step of the pipeline that has the trouble, or a function."""
    severity: Literal["critical", "warning"] = "warning"
    """`critical`: data is lost, waits or will be lost unless somebody acts."""
    periods: int = 1
    datapoints: int | None = None
    """The periods of these that must be at the threshold. Default: all."""
    period_seconds: int = PERIOD_SECONDS
    heartbeat: bool = False
    latched: bool = False
    """Without data it stays as it is: what writes the metric may be what failed."""


def heartbeat_alarm(description: str, counted: Metric, minutes: int | None) -> dict[str, Alarm]:
    """An alarm on traffic that stops: nothing was counted for this long. Without `minutes` there is none."""
    if minutes is None:
        return {}
    # Periods below an hour cover a day at most:
    # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html (Period)
    period_seconds = 60 if minutes <= MINUTES_A_DAY else 3_600
    return {
        "heartbeat": Alarm(
            description,
            counted,
            threshold=1,
            section="heartbeat",
            step="source",
            severity="critical",
            periods=minutes * 60 // period_seconds,
            period_seconds=period_seconds,
            heartbeat=True,
        )
    }


@dataclass(frozen=True)
class Panel:
    """One graph of the dashboard."""

    title: str
    metrics: Sequence[Metric]


class Observability(pulumi.ComponentResource):
    """The alarms and the dashboard of a pipeline. Alarms notify the alarms topic when they ring and when they end."""

    def __init__(
        self,
        name: str,
        *,
        service: str,
        alarms: Mapping[str, Alarm],
        panels: Sequence[Panel],
        alarms_arn: Input[str],
        runbook: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Observability", name, None, opts)
        self._service, self._runbook = service, runbook
        made = [self._alarm(f"{name}-{label}", alarm, alarms_arn) for label, alarm in alarms.items()]
        self.alarm_names: Output[list[str]] = Output.all(*(alarm.name for alarm in made)).apply(sorted)
        aws.cloudwatch.Dashboard(
            name,
            dashboard_name=f"{service}-{name}",
            dashboard_body=_dashboard(panels),
            opts=ResourceOptions(parent=self),
        )
        self.register_outputs({})

    def _alarm(self, name: str, alarm: Alarm, alarms_arn: Input[str]) -> aws.cloudwatch.MetricAlarm:
        return aws.cloudwatch.MetricAlarm(
            name,
            # Mails have it as their subject, and alarms of many stacks come to one address.
            name=f"{self._service}-{name}",
            alarm_description=(
                f"{self._service}, {alarm.step}, {alarm.severity}: {alarm.description} "
                f"What to do: {self._runbook}#{alarm.section}"
            ),
            comparison_operator="LessThanThreshold" if alarm.heartbeat else "GreaterThanOrEqualToThreshold",
            threshold=alarm.threshold,
            evaluation_periods=alarm.periods,
            datapoints_to_alarm=alarm.datapoints,
            # Most metrics have no value without traffic, which is no failure; a stopped function has none, either.
            treat_missing_data="breaching" if alarm.heartbeat else "ignore" if alarm.latched else "notBreaching",
            # https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-warm-up.html
            warm_up_configuration=(
                {"warm_up_period_duration_in_minutes": alarm.periods * alarm.period_seconds // 60}
                if alarm.heartbeat
                else None
            ),
            alarm_actions=[alarms_arn],
            ok_actions=[alarms_arn],
            **_watched(alarm),
            # An alarm that has another name stays: a new one would forget whether it rings.
            opts=ResourceOptions(parent=self, ignore_changes=["name"]),
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
        case Formula(name, label, expression, metrics):
            return {
                "metric_queries": [
                    {"id": name, "expression": expression, "label": label, "return_data": True},
                    *(_query(key, metric, alarm.period_seconds) for key, metric in metrics.items()),
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


def own_metric(name: str, service: str, statistic: str, **dimensions: str) -> Metric:
    """One of the metrics that the functions write (handlers/shared/metrics.py)."""
    return Metric(METRICS_NAMESPACE, name, {"service": service, **dimensions}, statistic)


def counts_panel(title: str, service: str, *names: str, **dimensions: str) -> Panel:
    """Counts that the functions write."""
    return Panel(title, [own_metric(name, service, "Sum", **dimensions) for name in names])


def latency_panel(title: str, service: str) -> Panel:
    """The time from one end of the pipeline to the other, as the functions measure it."""
    return Panel(title, [own_metric("Latency", service, statistic) for statistic in ("p50", "p95", "Maximum")])


def _dashboard(panels: Sequence[Panel]) -> Output[str]:
    """The dashboard's body, with the panels from left to right, top to bottom."""
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
