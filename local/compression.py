"""Patches to MiniStack for compressed requests, which it turns into text with replacement characters."""

import json
import zlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from ministack.services import apigateway, apigateway_v1  # type: ignore[import-untyped]

from local.gate import MAXIMUM_BODY_BYTES

_compressed: ContextVar[bool] = ContextVar("compressed", default=False)


def apply() -> None:
    """Give functions of an HTTP API the compressed bytes, and those of a REST API the expanded text, as AWS does."""
    _keep_bytes_for_http_apis()
    _expand_for_rest_apis()


def _is_compressed(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def _keep_bytes_for_http_apis() -> None:
    invoke, is_text = apigateway._invoke_lambda_proxy, apigateway._v2_request_body_is_text  # noqa: SLF001

    async def invoke_lambda_proxy(*args: Any, **options: Any) -> Any:
        headers = args[5]
        _compressed.set(_is_compressed(headers))
        return await invoke(*args, **options)

    def is_text_and_not_compressed(content_type: str | None) -> bool:
        return not _compressed.get() and bool(is_text(content_type))

    apigateway._invoke_lambda_proxy = invoke_lambda_proxy  # noqa: SLF001
    apigateway._v2_request_body_is_text = is_text_and_not_compressed  # noqa: SLF001


def _expand_for_rest_apis() -> None:
    """A REST API expands gzip before it validates a body.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gzip-compression-decompression.html
    """
    execute = apigateway_v1.handle_execute

    async def handle_execute(
        api: str, stage: str, method: str, path: str, headers: Any, body: bytes, query: Any
    ) -> Any:
        if body and headers.get("content-encoding", "").strip().lower() == "gzip":
            inflater = zlib.decompressobj(16 + zlib.MAX_WBITS)
            try:
                body = inflater.decompress(body, MAXIMUM_BODY_BYTES + 1)
            except zlib.error:
                return _refused(400, "Bad Request")
            if len(body) > MAXIMUM_BODY_BYTES:
                return _refused(413, "Request Too Long")
            if not inflater.eof:
                return _refused(400, "Bad Request")
        return await execute(api, stage, method, path, headers, body, query)

    apigateway_v1.handle_execute = handle_execute


def _refused(status: int, message: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps({"message": message}).encode()
