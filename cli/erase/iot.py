"""Everything that an iot stack keeps of a device."""

import json
import re
from functools import partial

import boto3

from cli.core.removal import Version, versions_of
from cli.core.stack import Stack
from cli.erase.plan import Plan, items_step, lines_step, objects_step
from cli.remove_readings import NO_VERSION, contents_of
from components.options.iot import IotPipelineConfig
from components.variants.iot import READINGS, REJECTED
from handlers.iot.forms import is_device_id
from handlers.iot.objects import Upload
from local.errors import LocalError


def plan(stack: Stack, device_id: str) -> Plan:
    """Return the plan for a device, for which all uploads are read.

    With `readings.device_in_key`, those below `readings/{device_id}/` are the device's. An upload of several devices is
    left: if it were written again without one of them, it would be a new upload.
    """
    if not is_device_id(device_id):
        raise LocalError(
            f"{device_id!r} is no id of a device: 1 to 128 letters, digits, dots, colons, hyphens, underscores"
        )
    config = stack.config_as(IotPipelineConfig)
    bucket, table = stack.output("input_bucket"), stack.output("table_name")
    uploads, left = _uploads(bucket, device_id, config)
    pages = (
        boto3.client("dynamodb")
        .get_paginator("query")
        .paginate(
            TableName=table,
            KeyConditionExpression="device_id = :device",
            ExpressionAttributeValues={":device": {"S": device_id}},
            ProjectionExpression="device_id, time_key",
            ConsistentRead=True,
        )
    )
    keys = [{name: value["S"] for name, value in item.items()} for page in pages for item in page["Items"]]
    without = partial(_without, device_id, {each.key for each in uploads})
    rejected, unread = lines_step("rejected", bucket, REJECTED, without)
    return Plan(
        [
            rejected,
            objects_step("uploads", uploads),
            items_step("items", table, keys),
        ],
        [*left, *unread],
    )


def _uploads(bucket: str, device_id: str, config: IotPipelineConfig) -> tuple[list[Version], list[str]]:
    """Return the uploads of a device alone, in all versions, and what else there may be of it."""
    if config.readings.device_in_key:
        return list(versions_of(bucket, f"{READINGS}{device_id}/")), []
    versions = list(versions_of(bucket, READINGS))
    devices = {each: _devices(each, device_id, config) for each in versions if each.size}
    own = [each for each, found in devices.items() if found == {device_id}]
    keys = {each.key for each in own}
    shared = [each.key for each, found in devices.items() if found and device_id in found and len(found) > 1]
    left = [f"upload {key} has readings of other devices, too, so it stays until it expires" for key in shared]
    if unread := sum(found is None for found in devices.values()):
        left.append(f"{unread} uploads that cannot be read, so that their devices are unknown, stay until they expire")
    return [*own, *(each for each in versions if each.is_marker and each.key in keys)], left


def _devices(version: Version, device_id: str, config: IotPipelineConfig) -> set[str] | None:
    """Return the devices of an upload's readings, and `device_id` if what was rejected names it. None: unreadable."""
    mark = "" if version.id == NO_VERSION else version.id
    try:
        contents = contents_of(Upload(version.bucket, version.key, mark, version.etag, version.modified_at, ""), config)
    except LocalError:
        return None
    is_named = any(_names(device_id, rejection.text) for rejection in contents.rejections)
    return contents.devices | ({device_id} if is_named else set())


def _names(device_id: str, text: str) -> bool:
    # As a text, or as a number.
    return re.search(rf'"{re.escape(device_id)}"|:\s*{re.escape(device_id)}(?![\w.])', text) is not None


def _without(device_id: str, uploads: set[str], records: bytes) -> bytes:
    """Return records of rejections without those of the device's uploads, and without those that name it."""
    kept = [
        line
        for line in records.splitlines(keepends=True)
        if (record := json.loads(line))["object"] not in uploads and not _names(device_id, record["text"])
    ]
    return b"".join(kept)
