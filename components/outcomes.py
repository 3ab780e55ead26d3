"""The event bus that says what became of each event."""

from typing import Any

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.encryption import Key, encrypted
from components.grants import Grant
from components.observability import Alarm, own_metric
from components.options.common import SECONDS_A_DAY, Feature
from components.part import Part
from components.policies import deny_plain_http
from components.queue import MAXIMUM_MESSAGE_BYTES, dead_letters_alarm
from components.runtime import Runtime

DEAD_LETTERS_KEPT_DAYS = 14


class Outcomes(pulumi.ComponentResource):
    """A bus of the pipeline's own, under the stack's key where it has one. Subscribers are rules on it, of any stack.

    It has no resource policy: roles of this account have policies of their own, nobody else may send, and EventBridge
    answers over TLS only. With a key it has dead letters: the events that EventBridge took and cannot encrypt or
    decrypt, as the key is disabled or gone. No other events get there, so that without a key there are none.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-encryption-event-bus-dlq.html

    `opts` must not put everything under the key: the dead letters are to be taken when it does not work.
    """

    def __init__(self, name: str, key: Key | None, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:Outcomes", name, None, opts)
        child = ResourceOptions(parent=self)
        dead_letters = None
        if key is not None:
            dead_letters = aws.sqs.Queue(
                f"{name}-dead-letters",
                message_retention_seconds=DEAD_LETTERS_KEPT_DAYS * SECONDS_A_DAY,
                max_message_size=MAXIMUM_MESSAGE_BYTES,
                sqs_managed_sse_enabled=True,
                opts=child,
            )
        bus = aws.cloudwatch.EventBus(
            name,
            dead_letter_config=None if dead_letters is None else {"arn": dead_letters.arn},
            opts=encrypted(self, key),
        )
        if dead_letters is not None:
            aws.sqs.QueuePolicy(
                f"{name}-dead-letters",
                queue_url=dead_letters.url,
                policy=deny_plain_http("sqs:*", dead_letters.arn, also=[_given_up_by(bus, dead_letters)]),
                opts=child,
            )
        self.arn = bus.arn
        self.name = bus.name
        self.dead_letters_name = None if dead_letters is None else dead_letters.name
        self.register_outputs({"name": self.name})

    def grant_put(self) -> Grant:
        """To put events on the bus."""
        return Grant(("events:PutEvents",), (self.arn,), {"EVENT_BUS_NAME": self.name}, why="tell outcomes")

    def alarms(self, service: str) -> dict[str, Alarm]:
        """Alarms on outcome events that did not reach the bus, or that the bus could not deliver."""
        alarms = {
            "outcomes-undelivered": Alarm(
                "The event bus did not take outcome events, and they were given up: subscribers do not know of them.",
                own_metric("OutcomesUndelivered", service, "Sum"),
                threshold=1,
                section="outcomes-undelivered",
                step="outcomes",
            ),
        }
        if self.dead_letters_name is not None:
            alarms["outcomes-dead-letters"] = dead_letters_alarm(
                self.dead_letters_name,
                "EventBridge could not encrypt or decrypt outcome events: subscribers miss them; fix the key.",
                section="outcomes-dead-letters",
                step="outcomes",
            )
        return alarms


def outcomes_part(name: str, options: Feature | None, runtime: Runtime, *, parent: pulumi.Resource) -> Part:
    """Outcome events on a bus, to which the worker publishes them."""
    if options is None:
        return Part()
    # Not below the key's options: see `Outcomes`.
    outcomes = Outcomes(name, runtime.key, opts=ResourceOptions(parent=parent))
    return Part(
        worker_grants=[outcomes.grant_put()],
        outcome_grants=[outcomes.grant_put()],
        alarms=outcomes.alarms(runtime.service),
        outputs={"event_bus_name": outcomes.name},
    )


def _given_up_by(bus: aws.cloudwatch.EventBus, queue: aws.sqs.Queue) -> dict[str, Any]:
    """EventBridge may send on behalf of one bus.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html (permissions)
    """
    account: Output[str] = bus.arn.apply(lambda arn: arn.split(":")[4])
    return {
        "Sid": "GivenUp",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": bus.arn}, "StringEquals": {"aws:SourceAccount": account}},
    }
