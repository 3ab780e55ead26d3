"""Results in the bucket."""

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
