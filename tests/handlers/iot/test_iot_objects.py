"""Records about uploads: their place does not depend on the upload's name."""

import json
from io import BytesIO
from typing import Any
from urllib.parse import quote_plus

import pytest

from handlers.iot import objects
from handlers.iot.readings import Rejection
from handlers.shared import aws


class Bucket:
    """Objects that were put, by key."""

    def __init__(self) -> None:
        self.objects: dict[str, str] = {}

    def put_object(self, *, Key: str, Body: BytesIO, **_: Any) -> None:  # noqa: N803  as boto calls it
        self.objects[Key] = Body.read().decode()


@pytest.mark.parametrize(
    "key",
    ["readings/../../rejected/x.json", "readings/..", "readings/a\nb.json", "readings/\x1b[2J", "readings/=1+1,x"],
)
def test_rejections_lie_below_their_prefix_by_time_and_id_whatever_the_upload_is_called(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    bucket = Bucket()
    monkeypatch.setattr(aws, "client", lambda _: bucket)
    entry = {"key": quote_plus(key), "sequencer": "1"}
    record = {"eventTime": "2026-11-21T08:00:00Z", "s3": {"bucket": {"name": "b"}, "object": entry}}
    upload = objects.Upload.from_record(record)
    assert upload.key == key
    written = objects.put_rejections("b", upload, [Rejection(0, "no", "\udcff\x1b[2J")])
    assert written == f"rejected/2026/11/21/{upload.id}.jsonl"
    assert upload.id.isalnum()
    (line,) = bucket.objects[written].splitlines()
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["object"] == key
