"""The switch of fault injection: a parameter that says what goes wrong just now."""

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

from components.grants import Grant
from components.part import Part

OFF = "none"


class FaultSwitch(pulumi.ComponentResource):
    """A parameter that functions look at every few seconds (handlers/api/faults.py). It is made only on request."""

    def __init__(self, name: str, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:FaultSwitch", name, None, opts)
        parameter = aws.ssm.Parameter(
            name,
            type="String",
            value=OFF,
            description="What goes wrong on purpose: pipeline faults set MODE",
            # `pulumi up` in the middle of a game day does not end it.
            opts=ResourceOptions(parent=self, ignore_changes=["value"]),
        )
        self.arn = parameter.arn
        self.name = parameter.name
        self.register_outputs({"name": self.name})

    def grant_read(self) -> Grant:
        """To look at it."""
        return Grant(("ssm:GetParameter",), (self.arn,), {"FAULT_PARAMETER_NAME": self.name}, why="look what to break")


def faults_part(name: str, *, enabled: bool, opts: ResourceOptions | None) -> Part:
    """Faults that can be injected into both functions."""
    if not enabled:
        return Part()
    switch = FaultSwitch(name, opts=opts)
    grants = [switch.grant_read()]
    return Part(ingest_grants=grants, worker_grants=grants, outputs={"fault_parameter_name": switch.name})
