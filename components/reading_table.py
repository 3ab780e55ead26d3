"""The table of readings and of the devices' alert states."""

import pulumi
import pulumi_aws as aws
from pulumi import Output, ResourceOptions

from components.grants import Grant
from components.options.common import ProtectionOptions

DEVICE_INDEX = "by-device"
DUE_INDEX = "by-due-at"


class ReadingTable(pulumi.ComponentResource):
    """Readings by `device_id` and `time_key`, so that a device's latest and those of a time are one query.

    Billed by request, expired by `expires_at`. What stands in an item is in handlers/iot/table.py. The indexes hold the
    keys of devices: `by-device` is written when a device is new; `by-due-at` exists if `silence` is watched.
    """

    def __init__(
        self, name: str, options: ProtectionOptions, *, silence: bool, opts: ResourceOptions | None = None
    ) -> None:
        super().__init__("datapipeline:index:ReadingTable", name, None, opts)
        keys = {"device_id": "S", "time_key": "S", "device_shard": "S"} | ({"due_at": "N"} if silence else {})
        indexes = {DEVICE_INDEX: "device_id"} | ({DUE_INDEX: "due_at"} if silence else {})
        table = aws.dynamodb.Table(
            name,
            billing_mode="PAY_PER_REQUEST",
            hash_key="device_id",
            range_key="time_key",
            attributes=[{"name": key, "type": kind} for key, kind in keys.items()],
            global_secondary_indexes=[_index(index, key) for index, key in indexes.items()],
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

    def grant_find_due(self) -> Grant:
        """To find the devices that are due in the index."""
        return Grant(
            ("dynamodb:Query",),
            (Output.concat(self.arn, "/index/", DUE_INDEX),),
            {"TABLE_NAME": self.name},
            why="find devices that may be silent",
        )

    def grant_keep_states(self) -> Grant:
        """To read and replace the states of devices that have one."""
        return Grant(
            ("dynamodb:BatchGetItem", "dynamodb:PartiQLUpdate"),
            (self.arn,),
            {"TABLE_NAME": self.name},
            why="read and replace alert states",
        )


def _index(name: str, range_key: str) -> aws.dynamodb.TableGlobalSecondaryIndexArgsDict:
    return {
        "name": name,
        "key_schemas": [
            {"attribute_name": "device_shard", "key_type": "HASH"},
            {"attribute_name": range_key, "key_type": "RANGE"},
        ],
        "projection_type": "KEYS_ONLY",
    }
