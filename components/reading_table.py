"""The table of readings and of the devices' alert states."""

import pulumi
import pulumi_aws as aws
from pulumi import ResourceOptions

from components.grants import Grant
from components.options.common import ProtectionOptions


class ReadingTable(pulumi.ComponentResource):
    """Readings by `device_id` and `time_key`, so that a device's latest and those of a time are one query.

    Billed by request, expired by `expires_at`. What stands in an item is in handlers/iot/table.py.
    """

    def __init__(self, name: str, options: ProtectionOptions, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:ReadingTable", name, None, opts)
        table = aws.dynamodb.Table(
            name,
            billing_mode="PAY_PER_REQUEST",
            hash_key="device_id",
            range_key="time_key",
            attributes=[{"name": key, "type": "S"} for key in ("device_id", "time_key")],
            ttl={"attribute_name": "expires_at", "enabled": True},
            point_in_time_recovery={"enabled": options.point_in_time_recovery},
            deletion_protection_enabled=options.deletion_protection,
            opts=ResourceOptions(parent=self, retain_on_delete=options.retain_data),
        )
        self.arn = table.arn
        self.name = table.name
        self.register_outputs({"name": self.name})

    def grant_store(self) -> Grant:
        """To store readings, and to read and replace alert states.

        PartiQL statements are authorised by the kind of statement:
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html
        """
        return Grant(
            ("dynamodb:BatchWriteItem", "dynamodb:BatchGetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"),
            (self.arn,),
            {"TABLE_NAME": self.name},
            why="store readings and alert states",
        )
