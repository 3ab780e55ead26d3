"""Signs each event, so that whoever gets the result can tell whose it is: a processor with a secret, `signing_key`."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any

from handlers.processor import secret


def process(event: Mapping[str, Any]) -> dict[str, str]:
    """`{"signature"}`: the HMAC-SHA256 of the event as canonical JSON, in hexadecimal digits."""
    body = json.dumps(event, sort_keys=True, separators=(",", ":"))
    return {"signature": hmac.new(secret("signing_key").encode(), body.encode(), hashlib.sha256).hexdigest()}
