"""Files that come in through a bucket: what announces them, and the table that says what became of each."""

import pulumi
import pulumi_aws as aws
from pulumi import Input, ResourceOptions

from components.bucket import Bucket
from components.grants import Grant
from components.options.common import ProtectionOptions
from components.queue import Queue


class Uploads(pulumi.ComponentResource):
    """Announces new objects with a prefix in a queue.

    The worker checks suffixes: S3 compares case, and would drop other objects silently.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-enable-disable-notification-intro.html
    """

    def __init__(
        self,
        name: str,
        bucket: Bucket,
        queue: Queue,
        *,
        prefix: str,
        opts: ResourceOptions | None = None,
    ) -> None:
        super().__init__("datapipeline:index:Uploads", name, None, opts)
        aws.s3.BucketNotification(
            name,
            bucket=bucket.name,
            queues=[
                {
                    "id": "new-objects",
                    "queue_arn": queue.arn,
                    "events": ["s3:ObjectCreated:*"],
                    "filter_prefix": prefix,
                }
            ],
            # S3 tries the queue when it is told of it, and fails when it may not write there yet.
            opts=ResourceOptions(parent=self, depends_on=[queue.policy]),
        )
        self.register_outputs({})


DAY_INDEX = "by-day"


class FileTable(pulumi.ComponentResource):
    """One item a file, by `id`, expired by `expires_at`: see handlers/csv/files.py. Billed by request.

    The index `by-day` lists the files that were begun on a day by their status and time. It has keys only, which change
    when a file is begun and when it is done, and not with a checkpoint.
    """

    def __init__(self, name: str, options: ProtectionOptions, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:FileTable", name, None, opts)
        table = aws.dynamodb.Table(
            name,
            billing_mode="PAY_PER_REQUEST",
            hash_key="id",
            attributes=[{"name": name, "type": "S"} for name in ("id", "day", "status_time")],
            global_secondary_indexes=[
                {
                    "name": DAY_INDEX,
                    "key_schemas": [
                        {"attribute_name": "day", "key_type": "HASH"},
                        {"attribute_name": "status_time", "key_type": "RANGE"},
                    ],
                    "projection_type": "KEYS_ONLY",
                }
            ],
            ttl={"attribute_name": "expires_at", "enabled": True},
            point_in_time_recovery={"enabled": options.point_in_time_recovery},
            deletion_protection_enabled=options.deletion_protection,
            opts=ResourceOptions(parent=self, retain_on_delete=options.retain_data),
        )
        self.arn: Input[str] = table.arn
        self.name = table.name
        self.register_outputs({"name": self.name})

    def grant_track(self) -> Grant:
        """To take files, and to record what becomes of them."""
        return Grant(
            ("dynamodb:UpdateItem", "dynamodb:GetItem"), (self.arn,), {"TABLE_NAME": self.name}, why="track files"
        )

    def grant_read(self) -> Grant:
        """To look files up by id."""
        return Grant(("dynamodb:GetItem",), (self.arn,), {"TABLE_NAME": self.name}, why="look files up")
