"""`pipeline remove-readings`: the way back out of a bad upload.

No list of what an upload stored is kept: the upload itself names its devices and times, and each reading names the
upload that wrote it. So this costs nothing until it is used, and then a query for each device.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cli.core.json_text import write_json
from cli.core.stack import Stack
from cli.core.terminal import write_lines
from components.options.iot import IotPipelineConfig
from components.variants.iot import BYTES_A_MEGABYTE
from handlers.iot.contents import Contents, read
from handlers.iot.forms import Form
from handlers.iot.object_text import decoded
from handlers.iot.objects import Upload, chunks
from handlers.iot.readings import UnusableObjectError
from handlers.iot.table import ReadingTable
from handlers.shared import aws
from handlers.shared.times import timestamp
from local.errors import LocalError

# The version id of an object in a bucket without versions.
NO_VERSION = "null"


@dataclass(frozen=True)
class Removal:
    """Readings of an upload: `readings` counts those in the object, `found` those that no later upload overwrote."""

    readings: int
    found: int
    removed: int
    devices: int


def run_remove_readings(stack: str, key: str, version: str | None, *, dry_run: bool, as_json: bool) -> int:
    """Delete the readings that an upload wrote, and print their number. Raises LocalError."""
    source = Stack(stack)
    config = source.config_as(IotPipelineConfig)
    source.aim_aws_clients()
    stored = uploads_of(source.output("input_bucket"), key)
    upload, written = chosen(stored, key, version)
    removal = remove(ReadingTable(source.output("table_name")), config, upload, written, dry_run=dry_run)
    if as_json:
        write_json({"object": key, "version": written.rpartition("#")[2], "dry_run": dry_run, **vars(removal)})
        return 0
    verb = "would be removed" if dry_run else "removed"
    lines = [f"{removal.found if dry_run else removal.removed} readings of {removal.devices} devices {verb}"]
    if left := removal.readings - removal.found:
        lines.append(f"{left} of the object's readings are not there: expired, removed, or written again by others")
    write_lines(lines)
    return 0


def uploads_of(bucket: str, key: str) -> list[Upload]:
    """Return what the bucket has of a key, the newest first."""
    pages = aws.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
    return [
        Upload(
            bucket=bucket,
            key=key,
            version="" if each["VersionId"] == NO_VERSION else each["VersionId"],
            etag=each["ETag"].strip('"'),
            arrived_at=each["LastModified"],
            id="",
        )
        for page in pages
        for each in page.get("Versions", ())
        if each["Key"] == key
    ]


def chosen(stored: Sequence[Upload], key: str, version: str | None) -> tuple[Upload, str]:
    """Return the upload to read, and the source that readings have which are to be removed. Raises LocalError.

    An upload that was overwritten is gone; the one that came after it is read for the devices and times.
    """
    if not stored:
        raise LocalError(f"there is no object {key!r} in the bucket, which would name the devices and times to look at")
    if version is None:
        if len(stored) > 1:
            versions = "\n".join(f"  {each.version or each.etag}  {timestamp(each.arrived_at)}" for each in stored)
            raise LocalError(f"{key!r} has several versions; choose one with --version:\n{versions}")
        return stored[0], stored[0].source
    same = [each for each in stored if version in (each.version, each.etag)]
    return (same[0], same[0].source) if same else (stored[0], f"{key}#{version}")


def remove(table: ReadingTable, config: IotPipelineConfig, upload: Upload, written: str, *, dry_run: bool) -> Removal:
    """Delete the readings with the source `written` among the devices and times of an upload. Raises LocalError."""
    contents = contents_of(upload, config)
    times: defaultdict[str, list[str]] = defaultdict(list)
    for reading in contents.readings:
        times[reading.device_id].append(reading.time_key)

    def of_device(device_id: str) -> tuple[int, int]:
        keys = table.written_by(written, device_id, min(times[device_id]), max(times[device_id]))
        return len(keys), 0 if dry_run else table.remove(keys, written)

    counts = [of_device(device_id) for device_id in times]
    found, removed = (sum(each[position] for each in counts) for position in (0, 1))
    return Removal(len(contents.readings), found, removed, sum(bool(count) for count, _ in counts))


def contents_of(upload: Upload, config: IotPipelineConfig) -> Contents:
    """Return the readings of an upload, as the worker reads them. Raises LocalError."""
    options = config.readings
    latest: datetime = upload.arrived_at + timedelta(seconds=options.max_ahead_seconds)
    try:
        return read(
            decoded(chunks(upload), options.max_object_mb * BYTES_A_MEGABYTE),
            latest=latest,
            maximum_readings=options.max_per_object,
            form=Form.from_json(config.form_json()),
        )
    except UnusableObjectError as error:
        raise LocalError(f"{upload.key}: {error}") from error
