"""The scheduled report as Lambda runs it, and its rights."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from handlers.api import report
from handlers.api.summary import window_before
from tests.api_pipeline import Pipeline
from tests.api_reports import MIDNIGHT, Reports
from tests.decisions import FAILURES, LOGS, denied, recorded, unused
from tests.roles import Role

UNSEEN = FAILURES | LOGS


@pytest.fixture
def reports(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Reports:
    made = Reports(pipeline)
    monkeypatch.setattr(report, "_settings", lambda: made.settings)
    return made


def test_lambda_runs_the_function_with_what_the_schedule_gives_it(reports: Reports) -> None:
    root = reports.pipeline.root
    schedules = [
        root("scheduler").get_schedule(Name=each["Name"]) for each in root("scheduler").list_schedules()["Schedules"]
    ]
    inputs = [(json.loads(each["Target"]["Input"]), each["Target"]) for each in schedules]
    # The reconciler's schedule has none.
    targets = {given["period"]: target for given, target in inputs if "period" in given}
    assert set(targets) == {"hourly", "daily"}
    for period, moment in (("hourly", MIDNIGHT + timedelta(hours=3, minutes=5)), ("daily", MIDNIGHT)):
        # As AWS does: https://docs.aws.amazon.com/scheduler/latest/UserGuide/managing-schedule-context-attributes.html
        payload = targets[period]["Input"].replace("<aws.scheduler.scheduled-time>", f"{moment:%Y-%m-%dT%H:%M:%SZ}")
        answer = root("lambda").invoke(FunctionName=targets[period]["Arn"], Payload=payload)
        assert "FunctionError" not in answer, answer["Payload"].read()
        assert window_before(period, moment).key in reports.kept()
    assert {kept["service"] for kept in reports.kept().values()} == {"datapipeline-dev"}
    assert len(reports.messages()) == 2


def role_of(reports: Reports) -> Role:
    return Role(reports.pipeline.root, reports.pipeline.environments["report"]["AWS_LAMBDA_FUNCTION_NAME"])


def does_all_it_does(reports: Reports) -> None:
    """Use each right. Raises ClientError if one is missing."""
    reports.have(MIDNIGHT)
    with role_of(reports).acting():
        reports.run(MIDNIGHT + timedelta(hours=1))


NEEDED = [
    (1, "dynamodb:Query"),
    (2, "dynamodb:BatchGetItem"),
    (3, "dynamodb:PutItem"),
    (4, "sqs:GetQueueAttributes"),
    (5, "s3:PutObject"),
    (6, "sns:Publish"),
]


def test_all_that_is_granted_is_used_where_it_is_granted_and_nothing_is_denied(
    reports: Reports, decisions: Path
) -> None:
    role = role_of(reports)
    assert [each for each in role.actions if each[1] not in UNSEEN] == NEEDED
    with recorded(decisions) as recording:
        does_all_it_does(reports)
    assert len(reports.kept()) == len(reports.messages()) == 1
    assert denied(recording.of(role.name)) == []
    assert {action for action, _ in unused(role.document, recording.of(role.name))} == UNSEEN


@pytest.mark.parametrize(("statement", "action"), NEEDED)
def test_without_any_one_right_it_fails(reports: Reports, statement: int, action: str) -> None:
    with role_of(reports).without(action, statement), pytest.raises(ClientError) as raised:
        does_all_it_does(reports)
    assert "not authorized to perform" in str(raised.value)
