"""Results and archive in the bucket."""

import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from handlers.api.events import Envelope
from handlers.shared import aws

RESULT_URL_SECONDS = 900


def result_key(envelope: Envelope) -> str:
    """Return `results/YYYY/MM/DD/{id}.json`, by the day the event was received, so that a retry overwrites it."""
    return f"results/{envelope.received_at[:10].replace('-', '/')}/{envelope.id}.json"


def put_result(bucket: str, key: str, text: str) -> None:
    """Store a result (JSON text)."""
    aws.client("s3").put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="application/json")


def result_url(bucket: str, key: str) -> str:
    """Return a presigned URL of a result, valid for 15 minutes."""
    url: str = aws.client("s3").generate_presigned_url(
        "get_object",
        Params={"Bucket": bucket, "Key": key},
        ExpiresIn=RESULT_URL_SECONDS,
    )
    return url


def archive(bucket: str, envelopes: Sequence[Envelope]) -> None:
    """Append a batch's events to the archive: a gzipped JSON Lines object for each type and hour.

    A line is the envelope with the client's object as `data`, which covers the exact bytes of a webhook. The object is
    named by its events' ids, so the same batch overwrites it; an event that is delivered again in another batch is
    archived again (at least once).
    """
    groups: dict[str, list[Envelope]] = {}
    for envelope in envelopes:
        groups.setdefault(archive_folder(vars(envelope)), []).append(envelope)

    def put(group: tuple[str, list[Envelope]]) -> None:
        folder, members = group
        lines = "".join(json.dumps(_line(envelope), separators=(",", ":")) + "\n" for envelope in members)
        aws.client("s3").put_object(
            Bucket=bucket,
            Key=f"{folder}/{_digest(members)}.jsonl.gz",
            # Without a time in it, the same events are the same bytes.
            Body=gzip.compress(lines.encode(), mtime=0),
            ContentType="application/gzip",
        )

    aws.each(put, groups.items())


def _digest(envelopes: Sequence[Envelope]) -> str:
    return hashlib.sha256("".join(sorted(envelope.id for envelope in envelopes)).encode()).hexdigest()[:32]


def archive_folder(event: Mapping[str, Any]) -> str:
    """Return the Hive partition of an envelope or an item: `archive/type=…/dt=YYYY-MM-DD/hour=HH`."""
    day, hour = event["received_at"][:10], event["received_at"][11:13]
    return f"archive/type={quote(event['type'], safe='')}/dt={day}/hour={hour}"


def _line(envelope: Envelope) -> Mapping[str, Any]:
    omitted = ("fingerprint", "idempotency_key", "body")
    return {name: value for name, value in vars(envelope).items() if name not in omitted and value is not None}
