"""The URLs that results are handed out by; nothing is asked of AWS for them."""

from urllib.parse import parse_qs, urlsplit

import pytest

from handlers.api import objects
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
