"""The table that says of every event what became of it."""

import pulumi
import pulumi_aws as aws
from pulumi import Input, Output, ResourceOptions

from components.grants import Grant
from components.observability import Metric
from components.options.api import StorageOptions

TIME_INDEX = "by-time"


class Table(pulumi.ComponentResource):
    """One item an event, by `id`; billed by request, expired by `expires_at`.

    The index `by-time` (when `storage.time_index` is on) has the partition `day_shard` (`2026-11-21#3`) and the sort
    key `time_key` (`received_at#id`), so that a day's writes are spread over several partitions. It projects the keys
    and the type: what changes after acceptance is read from the item, so that a status change costs no index write.
    """

    def __init__(self, name: str, options: StorageOptions, *, opts: ResourceOptions | None = None) -> None:
        super().__init__("datapipeline:index:Table", name, None, opts)
        keys = ("id", "day_shard", "time_key") if options.time_index else ("id",)
        table = aws.dynamodb.Table(
            name,
            billing_mode="PAY_PER_REQUEST",
            hash_key="id",
            attributes=[{"name": key, "type": "S"} for key in keys],
            global_secondary_indexes=[
                {
                    "name": TIME_INDEX,
                    "key_schemas": [
                        {"attribute_name": "day_shard", "key_type": "HASH"},
                        {"attribute_name": "time_key", "key_type": "RANGE"},
                    ],
                    "projection_type": "INCLUDE",
                    "non_key_attributes": ["type"],
                },
            ]
            if options.time_index
            else None,
            ttl={"attribute_name": "expires_at", "enabled": True},
            point_in_time_recovery={"enabled": options.point_in_time_recovery},
            deletion_protection_enabled=options.deletion_protection,
            opts=ResourceOptions(parent=self, retain_on_delete=options.retain_data),
        )
        self.arn = table.arn
        self.name = table.name
        self._indexes = [TIME_INDEX] if options.time_index else []
        self.register_outputs({"name": self.name})

    def unit_metrics(self) -> list[Metric]:
        """The request units that the table and its index consume."""
        units = ("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits")
        indexes: list[dict[str, Input[str]]] = [{"GlobalSecondaryIndexName": index} for index in self._indexes]
        return [
            Metric("AWS/DynamoDB", unit, {"TableName": self.name, **index}, "Sum")
            for index in ({}, *indexes)
            for unit in units
        ]

    def grant_read(self) -> Grant:
        """To look events up by id."""
        return Grant(("dynamodb:BatchGetItem",), (self.arn,), {"TABLE_NAME": self.name}, why="look events up")

    def grant_accept(self) -> Grant:
        """To claim ids, to record accepted events, and to give claims up.

        PartiQL statements are authorised by the kind of statement:
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ql-iam.html
        """
        return Grant(
            ("dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:PartiQLDelete", "dynamodb:PutItem"),
            (self.arn,),
            {"TABLE_NAME": self.name},
            why="accept events",
        )

    def grant_list(self) -> Grant:
        """To list events by time, where there is a time index."""
        resources = (Output.concat(self.arn, "/index/", TIME_INDEX),)
        return Grant(("dynamodb:Query",), resources, {"TABLE_NAME": self.name}, why="list events by time")

    def grant_make(self, item_id: str) -> Grant:
        """To write one item that is no event."""
        return Grant(
            ("dynamodb:PutItem",),
            (self.arn,),
            {"TABLE_NAME": self.name},
            condition={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [item_id]}},
            why=f"make the item {item_id}",
        )

    def grant_keep(self, item_id: str) -> Grant:
        """To read and write one item that is no event.

        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html
        """
        return Grant(
            ("dynamodb:GetItem", "dynamodb:PutItem"),
            (self.arn,),
            {"TABLE_NAME": self.name},
            condition={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": [item_id]}},
            why=f"keep the item {item_id}",
        )

    def grant_complete(self) -> Grant:
        """To record what became of events."""
        return Grant(
            ("dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"),
            (self.arn,),
            {"TABLE_NAME": self.name},
            why="record what became of events",
        )
