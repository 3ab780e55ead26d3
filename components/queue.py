"""A queue, its dead letters, and the policies of both."""

from typing import Any, Literal, TypedDict

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.bucket import Bucket
from components.grants import Grant
from components.observability import Alarm, Formula, Metric, Panel, own_metric, rate_of
from components.options.common import SECONDS_A_DAY, AlarmOptions, FunctionAlarmOptions, PolledOptions, QueueOptions
from components.policies import deny_plain_http

# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
MAXIMUM_MESSAGE_BYTES = 1_048_576
# The most that SQS takes: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
MAXIMUM_RECEIVES = 1_000

VISIBLE = "ApproximateNumberOfMessagesVisible"
HIDDEN = "ApproximateNumberOfMessagesNotVisible"


class _Fifo(TypedDict, total=False):
    fifo_queue: Literal[True]
    deduplication_scope: str
    fifo_throughput_limit: str


# Order within a group, and as much throughput as there are groups:
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html
_FIFO: _Fifo = {
    "fifo_queue": True,
    "deduplication_scope": "messageGroup",
    "fifo_throughput_limit": "perMessageGroupId",
}


class Queue(pulumi.ComponentResource):
    """A queue with a dead-letter queue behind it, both standard or both FIFO, encrypted and closed to plain HTTP.

    `consumer`: the options of the `Worker` that takes the messages. The visibility timeout is derived from them: six
    times the consumer's timeout plus its batching window, as
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html recommends. `filled_by`: a bucket that may
    announce its objects in the queue. The consumer counts attempts and dead-letters messages itself: SQS's own limit is
    the last safety net.
    """

    def __init__(
        self,
        name: str,
        options: QueueOptions,
        consumer: PolledOptions,
        *,
        filled_by: Bucket | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Queue", name, None, opts)
        child = ResourceOptions(parent=self)
        kind = _FIFO if options.is_fifo else _Fifo()
        self.consumer = consumer
        # SQS leaves a message its age when it moves it here, which may be all that the queue allows. What the worker
        # puts here itself is kept for longer.
        self._dead_letters_kept_days = options.dead_letter_retention_days - options.retention_days
        dead_letters = aws.sqs.Queue(
            f"{name}-dead-letters",
            message_retention_seconds=options.dead_letter_retention_days * SECONDS_A_DAY,
            max_message_size=MAXIMUM_MESSAGE_BYTES,
            sqs_managed_sse_enabled=True,
            **kind,
            opts=child,
        )
        queue = aws.sqs.Queue(
            name,
            visibility_timeout_seconds=6 * consumer.timeout_seconds + consumer.batching_window_seconds,
            message_retention_seconds=options.retention_days * SECONDS_A_DAY,
            max_message_size=MAXIMUM_MESSAGE_BYTES,
            sqs_managed_sse_enabled=True,
            redrive_policy=Output.json_dumps(
                {"deadLetterTargetArn": dead_letters.arn, "maxReceiveCount": MAXIMUM_RECEIVES},
            ),
            **kind,
            opts=child,
        )
        aws.sqs.RedriveAllowPolicy(
            name,
            queue_url=dead_letters.url,
            redrive_allow_policy=Output.json_dumps({"redrivePermission": "byQueue", "sourceQueueArns": [queue.arn]}),
            opts=child,
        )
        self.policy = aws.sqs.QueuePolicy(
            name,
            queue_url=queue.url,
            policy=deny_plain_http("sqs:*", queue.arn, also=[] if filled_by is None else [_sent_by(filled_by, queue)]),
            opts=child,
        )
        aws.sqs.QueuePolicy(
            f"{name}-dead-letters",
            queue_url=dead_letters.url,
            policy=deny_plain_http("sqs:*", dead_letters.arn),
            opts=child,
        )
        self.arn = queue.arn
        self.url = queue.url
        self.name = queue.name
        self.dead_letters_arn = dead_letters.arn
        self.dead_letters_url = dead_letters.url
        self.dead_letters_name = dead_letters.name
        self.register_outputs({"url": self.url, "dead_letters_url": self.dead_letters_url})

    def grant_send(self) -> Grant:
        """To put messages into the queue."""
        return Grant(("sqs:SendMessage",), (self.arn,), {"QUEUE_URL": self.url}, why="put messages into the queue")

    def grant_consume(self) -> Grant:
        """To take messages, as an event source mapping does, and to set when a failed one comes back."""
        return Grant(
            ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),
            (self.arn,),
            {"QUEUE_URL": self.url},
            why="take messages from the queue",
        )

    def grant_send_dead_letters(self) -> Grant:
        """To put a message that will never succeed with the dead letters at once."""
        return Grant(
            ("sqs:SendMessage",),
            (self.dead_letters_arn,),
            {"DEAD_LETTER_QUEUE_URL": self.dead_letters_url},
            why="put messages with the dead letters",
        )

    def grant_measure(self) -> Grant:
        """To see how many messages are in the queue and with the dead letters."""
        urls = {"QUEUE_URL": self.url, "DEAD_LETTER_QUEUE_URL": self.dead_letters_url}
        both = (self.arn, self.dead_letters_arn)
        return Grant(("sqs:GetQueueAttributes",), both, urls, why="count messages and dead letters")

    def grant_look_at_dead_letters(self) -> Grant:
        """To look at dead letters, to leave them there, and to count them."""
        return Grant(
            ("sqs:ReceiveMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),
            (self.dead_letters_arn,),
            {"DEAD_LETTER_QUEUE_URL": self.dead_letters_url},
            why="look at dead letters",
        )

    def grant_take_dead_letters(self) -> Grant:
        """To look at dead letters, to leave them there or delete them, and to count them."""
        return Grant(
            ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ChangeMessageVisibility"),
            (self.dead_letters_arn,),
            {"DEAD_LETTER_QUEUE_URL": self.dead_letters_url},
            why="look at dead letters and delete those sent back",
        )

    def alarms(self, service: str, options: AlarmOptions) -> dict[str, Alarm]:
        """Alarms of the queue, and of its worker, which counts `Messages` and `BatchItemFailures`."""
        return {
            "dead-letters": dead_letters_alarm(self.dead_letters_name),
            "more-dead-letters": more_dead_letters_alarm(self.dead_letters_name),
            "oldest-dead-letter": oldest_dead_letter_alarm(
                self.dead_letters_name, self._dead_letters_kept_days, options
            ),
            "oldest-message": Alarm(
                "The worker does not keep up: the oldest message waits too long.",
                queue_metric("ApproximateAgeOfOldestMessage", self.name),
                threshold=options.oldest_message_seconds,
                section="oldest-message",
                step="queue",
                severity="critical",
            ),
            # Lambda's Errors does not include partial batch failures, so the worker counts them itself.
            "failed-messages": Alarm(
                "Too many messages fail and return to the queue.",
                rate_of(own_metric("BatchItemFailures", service, "Sum"), own_metric("Messages", service, "Sum")),
                threshold=options.failed_message_rate_percent,
                section="failed-messages",
                step="worker",
                periods=2,
            ),
        }

    def panels(self) -> tuple[Panel, Panel]:
        """The number of waiting messages and dead letters, and the age of the oldest message."""
        depth = [queue_metric(VISIBLE, name) for name in (self.name, self.dead_letters_name)]
        age = queue_metric("ApproximateAgeOfOldestMessage", self.name)
        return Panel("Waiting", depth), Panel("Age of the oldest message (seconds)", [age])


class DeadLetterQueue(pulumi.ComponentResource):
    """A queue for what failed for good, where no queue of ours stands before it. Encrypted and closed to plain HTTP.

    `topic_arn`: a topic that may put here what it could not deliver.
    """

    def __init__(
        self,
        name: str,
        *,
        retention_days: int,
        topic_arn: Output[str] | None = None,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:DeadLetterQueue", name, None, opts)
        child = ResourceOptions(parent=self)
        queue = aws.sqs.Queue(
            name,
            message_retention_seconds=retention_days * SECONDS_A_DAY,
            max_message_size=MAXIMUM_MESSAGE_BYTES,
            sqs_managed_sse_enabled=True,
            opts=child,
        )
        also = [] if topic_arn is None else [_undelivered_by(topic_arn, queue)]
        policy = deny_plain_http("sqs:*", queue.arn, also=also)
        aws.sqs.QueuePolicy(name, queue_url=queue.url, policy=policy, opts=child)
        self.arn = queue.arn
        self.url = queue.url
        self.name = queue.name
        self.retention_days = retention_days
        self.register_outputs({"url": self.url})

    def grant_receive_failures(self) -> Grant:
        """To have Lambda put a function's failed events here, which it does as the function's role."""
        return Grant(("sqs:SendMessage",), (self.arn,), why="keep events that fail", used_by_lambda=True)


def queue_metric(name: str, queue_name: Input[str], statistic: str = "Maximum") -> Metric:
    """One of SQS's metrics of a queue."""
    return Metric("AWS/SQS", name, {"QueueName": queue_name}, statistic)


def dead_letters_alarm(
    queue_name: Input[str],
    description: str = "Messages lie with the dead letters: look at them and redrive or delete them.",
    section: str = "dead-letters",
    *,
    step: str = "dead letters",
) -> Alarm:
    """An alarm that rings while a dead-letter queue holds a message."""
    # Depth, not NumberOfMessagesSent: SQS does not count messages that it moves there itself. And all of them: whoever
    # looks at dead letters hides them for a while.
    return Alarm(
        description,
        Formula("depth", "Dead letters", "visible + hidden", _depth(queue_name)),
        threshold=1,
        section=section,
        step=step,
        severity="critical",
        period_seconds=60,
    )


def more_dead_letters_alarm(queue_name: Input[str]) -> Alarm:
    """An alarm that rings for dead letters that join others: the alarm on the first of them rings already."""
    return Alarm(
        "New dead letters have joined those that lie there already.",
        Formula(
            "increase",
            "New dead letters",
            # The depth of the period before, and what has been added since.
            "IF(visible + hidden - DIFF(visible + hidden) >= 1, DIFF(visible + hidden), 0)",
            _depth(queue_name),
        ),
        threshold=1,
        # By the minute, in which SQS measures both once: over more, a message that is looked at counts as both.
        periods=5,
        datapoints=1,
        period_seconds=60,
        section="more-dead-letters",
        step="dead letters",
        severity="critical",
    )


def _depth(queue_name: Input[str]) -> dict[str, Metric]:
    return {"visible": queue_metric(VISIBLE, queue_name), "hidden": queue_metric(HIDDEN, queue_name)}


def oldest_dead_letter_alarm(queue_name: Input[str], kept_days: int, options: FunctionAlarmOptions) -> Alarm:
    """An alarm that rings before SQS deletes a dead letter, which it does after `kept_days` at the earliest."""
    return Alarm(
        "A dead letter expires soon, and its data is lost: redrive it.",
        queue_metric("ApproximateAgeOfOldestMessage", queue_name),
        threshold=kept_days * SECONDS_A_DAY * options.dead_letter_age_percent_of_retention / 100,
        section="oldest-dead-letter",
        step="dead letters",
        severity="critical",
    )


def _sent_by(bucket: Bucket, queue: aws.sqs.Queue) -> dict[str, Any]:
    """S3 may send on behalf of one bucket.

    The account besides, because whoever deletes a bucket leaves its name to everybody:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html
    """
    return {
        "Sid": "Uploads",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": {
            "ArnEquals": {"aws:SourceArn": bucket.arn},
            "StringEquals": {"aws:SourceAccount": queue.arn.apply(lambda arn: arn.split(":")[4])},
        },
    }


def _undelivered_by(topic_arn: Output[str], queue: aws.sqs.Queue) -> dict[str, Any]:
    """SNS may send on behalf of one topic, whose ARN has the account in it.

    https://docs.aws.amazon.com/sns/latest/dg/sns-configure-dead-letter-queue.html
    """
    return {
        "Sid": "Undelivered",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
