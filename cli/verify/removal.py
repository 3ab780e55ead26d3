"""Removal of the probe's own objects, items and dead letters, and of nothing else."""

from collections.abc import Mapping, Sequence
from typing import Any

import boto3

from handlers.shared.dead_letters import DeadLetters
from handlers.shared.letters import UNKNOWN, Cause, Letter, Wanted

LETTERS, SECONDS = 1_000, 30


def remove_objects(bucket: str, key: str, *, below: bool = False) -> bool:
    """Delete an object, or with `below` all objects whose keys begin with `key`, in all versions.

    Returns True if there was any.
    """
    s3 = boto3.client("s3")
    found = False
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
        for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            if below or each["Key"] == key:
                s3.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
                found = True
    return found


def remove_item(table: str, key: Mapping[str, Any]) -> None:
    """Delete an item by its key, in DynamoDB's form."""
    boto3.client("dynamodb").delete_item(TableName=table, Key=dict(key))


def remove_dead_letters(url: str, mark: str) -> None:
    """Delete the dead letters in whose body a mark stands; the others become visible again."""

    def whose(letters: Sequence[Letter]) -> list[Cause]:
        return [Cause(mark if mark in letter.body else None, UNKNOWN, None) for letter in letters]

    DeadLetters(url, whose).purge(Wanted(id=mark), LETTERS, SECONDS)
