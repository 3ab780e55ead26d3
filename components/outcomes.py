"""The event bus that says what became of each event."""

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

from components.grants import Grant


class Outcomes(pulumi.ComponentResource):
    """A bus of the pipeline's own. Subscribers are rules on it, of this stack or any other.

    It has no resource policy: roles of this account have policies of their own, nobody else may send, and EventBridge
    answers over TLS only.
    """

    def __init__(self, name: str, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:Outcomes", name, None, opts)
        bus = aws.cloudwatch.EventBus(name, opts=ResourceOptions(parent=self))
        self.arn = bus.arn
        self.name = bus.name
        self.register_outputs({"name": self.name})

    def grant_put(self) -> Grant:
        """To put events on the bus."""
        return Grant(("events:PutEvents",), (self.arn,), {"EVENT_BUS_NAME": self.name}, why="tell outcomes")
