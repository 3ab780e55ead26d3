"""Log groups, saved queries, alarms and dashboards.

Alarms exist and can be set by hand; the emulator does not evaluate them. It saves no queries.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from local.monitor import Created
from local.services import Clients, Inputs, creates
from local.services.iam import pairs
from local.services.lambda_ import pascal


@creates("aws:cloudwatch/logGroup:LogGroup", ignores={"skipDestroy": "all groups go with the emulator"})
def log_group(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    tags = {"tags": inputs.tags} if inputs.tags else {}
    aws("logs").create_log_group(logGroupName=name, **tags, **inputs.renamed(kmsKeyId="kmsKeyId"))
    if "retentionInDays" in inputs:
        aws("logs").put_retention_policy(logGroupName=name, retentionInDays=inputs["retentionInDays"])
    return Created(name, {"name": name, "arn": aws.arn("logs", f"log-group:{name}")})


@creates(
    "aws:cloudwatch/queryDefinition:QueryDefinition",
    ignores={"queryString": "the emulator saves no queries; those that it understands can be started"},
)
def query_definition(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    for group in inputs["logGroupNames"]:
        # AWS requires existing groups. This checks them, too, although the emulator has no saved queries.
        aws("logs").describe_log_streams(logGroupName=group, limit=1)
    query_id = hashlib.sha256(name.encode()).hexdigest()[:32]
    arn = aws.arn("logs", f"query-definition:{query_id}")
    return Created(query_id, {"arn": arn, "queryDefinitionId": query_id})


@creates("aws:cloudwatch/metricAlarm:MetricAlarm")
def metric_alarm(aws: Clients, name: str, inputs: Inputs) -> Created:
    inputs.get("name")
    request = inputs.renamed(
        ActionsEnabled="actionsEnabled",
        AlarmActions="alarmActions",
        AlarmDescription="alarmDescription",
        ComparisonOperator="comparisonOperator",
        DatapointsToAlarm="datapointsToAlarm",
        EvaluationPeriods="evaluationPeriods",
        ExtendedStatistic="extendedStatistic",
        InsufficientDataActions="insufficientDataActions",
        MetricName="metricName",
        Namespace="namespace",
        OKActions="okActions",
        Period="period",
        Statistic="statistic",
        Threshold="threshold",
        TreatMissingData="treatMissingData",
        Unit="unit",
    )
    if "warmUpConfiguration" in inputs:
        request["WarmUpConfiguration"] = pascal(inputs["warmUpConfiguration"])
    if "dimensions" in inputs:
        request["Dimensions"] = _dimensions(inputs["dimensions"])
    if "metricQueries" in inputs:
        request["Metrics"] = [_query(query) for query in inputs["metricQueries"]]
    aws("cloudwatch").put_metric_alarm(AlarmName=name, Tags=pairs(inputs.tags), **request)
    return Created(name, {"name": name, "arn": aws.arn("cloudwatch", f"alarm:{name}")})


def _dimensions(dimensions: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Name": name, "Value": value} for name, value in dimensions.items()]


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    request = {"Id": query["id"], "ReturnData": query.get("returnData", False)}
    names = {"expression": "Expression", "label": "Label", "period": "Period"}
    request |= {new: query[key] for key, new in names.items() if key in query}
    if metric := query.get("metric"):
        request["MetricStat"] = {
            "Metric": {
                "Namespace": metric["namespace"],
                "MetricName": metric["metricName"],
                "Dimensions": _dimensions(metric.get("dimensions", {})),
            },
            "Period": metric["period"],
            "Stat": metric["stat"],
        }
    return request


@creates("aws:cloudwatch/dashboard:Dashboard")
def dashboard(aws: Clients, _name: str, inputs: Inputs) -> Created:
    name = inputs["dashboardName"]
    aws("cloudwatch").put_dashboard(DashboardName=name, DashboardBody=inputs["dashboardBody"])
    return Created(name, {"dashboardArn": f"arn:aws:cloudwatch::{aws.account}:dashboard/{name}"})
