"""The archive of a stack, read hour by hour."""

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from handlers.api import archive
from handlers.api.archive import UnreadableObjectError

_place = re.compile(r"(dt=[0-9]{4}-[0-9]{2}-[0-9]{2}/hour=[0-9]{2})/[^/]+\.jsonl\.gz").fullmatch
TYPE = f"{archive.PREFIX}type="
# Below it sort all keys of a folder: it is the character behind `/`.
AFTER_SLASH = "0"


@dataclass(frozen=True)
class Selection:
    """Events received from `since` (included) until `until` (excluded), of some types or of all.

    Times are RFC 3339 in UTC with microseconds.
    """

    since: str
    until: str
    types: tuple[str, ...] = ()
    stuck: bool = False
    """Only those that wait for a message which is lost."""


class ArchiveReader:
    """The objects below `archive/` of a bucket. `problems` has those that cannot be read, and why."""

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3, self._bucket = s3, bucket
        self.problems: dict[str, str] = {}

    def types(self) -> dict[str, str]:
        """Return the types that the archive has, with the prefix of each."""
        found = {}
        for page in self._pages(Prefix=archive.PREFIX, Delimiter="/"):
            for each in page.get("CommonPrefixes", ()):
                prefix = str(each["Prefix"])
                if prefix.startswith(TYPE):
                    found[unquote(prefix.removeprefix(TYPE)[:-1])] = prefix
                else:
                    self._is_foreign(prefix)
            for each in page.get("Contents", ()):
                self._is_foreign(each["Key"])
        return found

    def hours(self, wanted: Selection) -> Iterator[tuple[str, list[str]]]:
        """Yield each hour (`dt=…/hour=…`) that has objects, oldest first, with their keys."""
        prefixes = [prefix for name, prefix in self.types().items() if not wanted.types or name in wanted.types]
        # Nothing is listed before it is needed: a page for each type.
        keys = heapq.merge(*(self._keys(prefix, wanted) for prefix in sorted(prefixes)))
        for hour, entries in groupby(keys, itemgetter(0)):
            yield hour, [key for _, key in entries]

    def events(self, keys: Sequence[str], wanted: Selection) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the events in objects, each with the key of its object, as often as they are there."""
        for key in keys:
            try:
                body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
                for line in archive.lines(body):
                    if wanted.since <= str(line.envelope.get("received_at")) < wanted.until:
                        yield key, line.envelope
            except UnreadableObjectError as error:
                self.problems[key] = str(error)
            except ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchKey":
                    raise
                self.problems[key] = "it is gone since it was listed"

    def _keys(self, prefix: str, wanted: Selection) -> Iterator[tuple[str, str]]:
        last = _hour(wanted.until) + AFTER_SLASH
        for page in self._pages(Prefix=prefix, StartAfter=prefix + _hour(wanted.since)):
            for each in page.get("Contents", ()):
                key = str(each["Key"])
                rest = key.removeprefix(prefix)
                if rest > last:
                    return
                if place := _place(rest):
                    yield place[1], key
                else:
                    self._is_foreign(key)

    def _pages(self, **given: str) -> Iterator[Mapping[str, Any]]:
        pages: Iterator[Mapping[str, Any]] = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, **given
        )
        return pages

    def _is_foreign(self, key: str) -> None:
        if key != archive.PREFIX:
            self.problems[key] = "it is not of the archive"


def _hour(time: str) -> str:
    return f"dt={time[:10]}/hour={time[11:13]}"
