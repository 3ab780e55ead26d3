"""Results and their URLs."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from handlers.api import objects
from handlers.api.events import Envelope
from handlers.shared import aws
from tests.roles import forget_clients


@pytest.mark.parametrize("region", ["eu-central-1", "ap-southeast-5"])
def test_a_result_s_url_names_the_bucket_s_region_and_has_the_current_signature(
    monkeypatch: pytest.MonkeyPatch,
    region: str,
) -> None:
    for name, value in {
        "AWS_DEFAULT_REGION": region,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",  # pragma: allowlist secret
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    forget_clients()
    try:
        url = urlsplit(objects.result_url("results-bucket", "results/2026/11/21/a b.json"))
    finally:
        forget_clients()
    assert url.hostname == f"results-bucket.s3.{region}.amazonaws.com"
    assert url.path == "/results/2026/11/21/a%20b.json"
    query = parse_qs(url.query)
    assert query["X-Amz-Algorithm"] == ["AWS4-HMAC-SHA256"]
    assert query["X-Amz-Expires"] == ["900"]


ENVELOPE = Envelope("e-1", "order/paid", "2026-11-21T08:30:00.000000Z", "192.0.2.1", "agent", "c-1", "f" * 64, {"n": 1})


@pytest.fixture
def bucket(aws_in_process: None) -> str:  # noqa: ARG001  moto answers
    aws.client("s3").create_bucket(Bucket="bucket")
    return "bucket"


def stored(bucket: str) -> dict[str, Any]:
    keys = [found["Key"] for found in aws.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])]
    return {key: aws.client("s3").get_object(Bucket=bucket, Key=key) for key in keys}


def test_a_result_is_stored_under_the_day_its_event_was_received_and_a_retry_overwrites_it(bucket: str) -> None:
    for text in ("1", '{"\N{GRINNING FACE}": 2}'):
        objects.put_result(bucket, objects.result_key(ENVELOPE), text)
    ((key, found),) = stored(bucket).items()
    assert (key, found["ContentType"]) == ("results/2026/11/21/e-1.json", "application/json")
    assert found["Body"].read().decode() == '{"\N{GRINNING FACE}": 2}'
