"""A small model of CloudWatch's alarms, which plays data through them, for `make gameday` and for tests.

The emulator evaluates no alarms. This plays data points through alarms as the stack's graph has them, with a subset of
metric math. An alarm is looked at whenever a period ends; CloudWatch looks each minute, and takes more data points into
account before it treats any as missing, so that it may ring a little later.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
"""

import ast
import math
import operator
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from local.recording import Graph

Key = tuple[str, str, frozenset[tuple[str, str]]]
ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm"
MINUTE = 60

_OPERATORS: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
}
_STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "Sum": sum,
    "Maximum": max,
    "Minimum": min,
    "Average": lambda values: sum(values) / len(values),
    "SampleCount": len,
}
_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


class Data:
    """Data points by metric and minute."""

    def __init__(self) -> None:
        self._points: dict[Key, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))

    def put(self, minute: int, namespace: str, name: str, value: float, **dimensions: str) -> None:
        """Add a data point."""
        self._points[namespace, name, frozenset(dimensions.items())][minute].append(value)

    def drop(self, name: str, minutes: Iterable[int]) -> None:
        """Remove what is there of a metric in some minutes, whatever its dimensions."""
        for (_, each, _), points in self._points.items():
            if each == name:
                for minute in minutes:
                    points.pop(minute, None)

    def statistic(self, metric: Mapping[str, Any], period: int, minutes: int) -> float | None:
        """Return the statistic of a metric in a period of this many minutes, or None without data."""
        key = metric["namespace"], metric["metricName"], frozenset(metric["dimensions"].items())
        points = self._points.get(key, {})
        values = [
            value for minute in range(period * minutes, (period + 1) * minutes) for value in points.get(minute, ())
        ]
        statistic = metric["stat"]
        if not values:
            return None
        if statistic.startswith("p"):
            return sorted(values)[math.ceil(float(statistic[1:]) / 100 * len(values)) - 1]
        return _STATISTICS[statistic](values)


@dataclass(frozen=True)
class Change:
    """An alarm that begins to ring, or ends, at the end of a minute."""

    minute: int
    alarm: str
    rings: bool


def changes(graph: Graph, data: Data, minutes: int) -> list[Change]:
    """Play the first `minutes` minutes of data through all alarms of a stack. All begin as OK."""
    found = [
        change
        for alarm in graph.of_type(ALARM)
        for change in _changes(alarm.name.partition("-watch-")[2], alarm.inputs, data, minutes)
    ]
    return sorted(found, key=lambda change: (change.minute, change.alarm))


def rang(graph: Graph, data: Data, minutes: int) -> dict[str, list[int]]:
    """Return the minutes at whose end each alarm began to ring, for those that did."""
    begun: dict[str, list[int]] = defaultdict(list)
    for change in changes(graph, data, minutes):
        if change.rings:
            begun[change.alarm].append(change.minute)
    return dict(begun)


def _changes(label: str, inputs: Mapping[str, Any], data: Data, minutes: int) -> Iterable[Change]:
    queries = inputs.get("metricQueries") or [_single(inputs)]
    period = next(each["metric"]["period"] for each in queries if "metric" in each) // MINUTE
    warm_up = inputs.get("warmUpConfiguration", {}).get("warmUpPeriodDurationInMinutes", 0)
    size, rings = inputs["evaluationPeriods"], False
    missing = inputs["treatMissingData"]
    breaches = _COMPARISONS[inputs["comparisonOperator"]]
    math_ = _Math(queries, data, period)
    for last in range(minutes // period):
        end = (last + 1) * period
        if end < warm_up:
            continue
        window = [math_.value(each) for each in range(last - size + 1, last + 1)]
        if missing == "ignore" and None in window:
            continue
        bad = sum(missing == "breaching" if value is None else breaches(value, inputs["threshold"]) for value in window)
        if (bad >= inputs.get("datapointsToAlarm", size)) is not rings:
            rings = not rings
            yield Change(end - 1, label, rings)


def _single(inputs: Mapping[str, Any]) -> dict[str, Any]:
    names = ("namespace", "metricName", "dimensions", "period")
    stat = inputs.get("statistic") or inputs["extendedStatistic"]
    return {"id": "only", "returnData": True, "metric": {**{name: inputs[name] for name in names}, "stat": stat}}


class _Math:
    """The one query of an alarm that returns data, by period. A value that is missing leaves its result missing."""

    def __init__(self, queries: Iterable[Mapping[str, Any]], data: Data, minutes: int) -> None:
        self._queries = {each["id"]: each for each in queries}
        (self._result,) = (key for key, each in self._queries.items() if each.get("returnData"))
        self._data, self._minutes = data, minutes
        self._named = cache(self._of_query)

    def value(self, period: int) -> float | None:
        return self._named(self._result, period)

    def _of_query(self, name: str, period: int) -> float | None:
        query = self._queries[name]
        if "metric" in query:
            return self._data.statistic(query["metric"], period, self._minutes)
        return self._of(_parsed(query["expression"]), period)

    def _of(self, node: ast.expr, period: int) -> float | None:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.Name(id=name):
                return self._named(name, period)
            case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
                return _applied(op, self._of(left, period), self._of(right, period))
            case ast.Call(func=ast.Name(id="IF"), args=[condition, yes, no]):
                if (holds := self._of(condition, period)) is None:
                    return None
                return self._of(yes if holds else no, period)
            case ast.Call(func=ast.Name(id="DIFF"), args=[series]):
                return self._difference(series, period)
        raise NotImplementedError(ast.unparse(node))

    def _difference(self, series: ast.expr, period: int) -> float | None:
        before = (self._of(series, each) for each in range(period - 1, -1, -1))
        return _applied(ast.Sub(), self._of(series, period), next((each for each in before if each is not None), None))


@cache
def _parsed(expression: str) -> ast.expr:
    """Parse metric math: what is used of it is Python's grammar, too."""
    return ast.parse(expression, mode="eval").body


def _applied(op: ast.AST, left: float | None, right: float | None) -> float | None:
    if left is None or right is None:
        return None
    if isinstance(op, ast.Div):
        # CloudWatch drops such a data point.
        return left / right if right else None
    return float(_OPERATORS[type(op)](left, right))
