"""Policy decisions of a role, as the emulator recorded them (local/patches.py)."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

# What is granted and cannot be seen in the emulator, by who uses it. On the graph it is asserted by equality:
# tests/components/test_shipped_roles.py, test_roles.py, test_circuit_breaker.py, test_csv.py, test_iot.py.
UNSEEN = {
    "Lambda's log delivery": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "Lambda's poller": {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"},
    "Lambda, for asynchronous events that fail": {"sqs:SendMessage"},
    # Who may not list is told AccessDenied instead of NoSuchKey; local/patches.py asks beside the record.
    "S3, which says that an object is gone": {"s3:ListBucket"},
    "fault injection: tests/emulator/api/test_faults.py": {"ssm:GetParameter"},
    # The emulator's Scheduler invokes without a role, and what fails does not pass by it.
    "Scheduler": {"lambda:InvokeFunction", "sqs:SendMessage"},
    # Nothing is encrypted there: docs/fidelity.md.
    "the services that encrypt, in the name of who calls them": {"kms:Decrypt", "kms:GenerateDataKey"},
    "Lambda, which connects functions to a network": {
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
    },
}
# Keys of conditions that the emulator has no value for: whatever they ask holds there.
CONDITIONS = {"dynamodb:LeadingKeys", "lambda:SourceFunctionArn", "lambda:FunctionArn"}
LOGS, POLLER, FAILURES, NOT_ASKED, FAULTS, SCHEDULER, ENCRYPTION, NETWORK = UNSEEN.values()


@dataclass(frozen=True)
class Decision:
    """One policy decision."""

    principal: str
    action: str
    resource: str
    allowed: bool


@dataclass
class Recording:
    """The decisions of a block."""

    decisions: list[Decision] = field(default_factory=list)

    def of(self, role: str) -> list[Decision]:
        """Those about a role, by its name: `arn:aws:sts::000000000000:assumed-role/<role>/<session>`."""
        return [decision for decision in self.decisions if role in decision.principal.split("/")]


@contextmanager
def recorded(log: Path) -> Iterator[Recording]:
    """The decisions that the emulator takes during the block; they are there when it is over."""
    start = log.stat().st_size
    recording = Recording()
    yield recording
    with log.open(encoding="utf-8") as lines:
        lines.seek(start)
        recording.decisions += [Decision(**json.loads(line)) for line in lines]


def unused(policy: Mapping[str, Any], decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """Return the granted (action, resource) pairs that were not used."""
    used = {(decision.action, decision.resource) for decision in decisions if decision.allowed}
    return [
        (action, pattern)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for pattern in statement["Resource"]
        if not any(action == did and fnmatchcase(where, pattern) for did, where in used)
    ]


def denied(decisions: Iterable[Decision]) -> list[tuple[str, str]]:
    """Return the refused (action, resource) pairs."""
    return [(decision.action, decision.resource) for decision in decisions if not decision.allowed]
