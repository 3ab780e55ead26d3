"""Patches to MiniStack for bodies of requests: functions get them as from AWS, encoded and not too large."""

import json
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from typing import Any

from ministack.services import apigateway, apigateway_v1  # type: ignore[import-untyped]

from local.gate import MAXIMUM_BODY_BYTES

# Of base64, in which a body takes a third more.
MAXIMUM_BINARY_BYTES = MAXIMUM_BODY_BYTES // 4 * 3

_compressed: ContextVar[bool] = ContextVar("compressed", default=False)


def apply() -> None:
    """Give functions the exact bytes of compressed and of binary requests, and refuse those that Lambda would."""
    _keep_bytes_for_http_apis()
    _keep_bytes_for_rest_apis()


def _is_compressed(headers: Mapping[str, str]) -> bool:
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def _keep_bytes_for_http_apis() -> None:
    """A compressed body is base64, whatever its content type is. MiniStack makes it text with replacements."""
    invoke, is_text = apigateway._invoke_lambda_proxy, apigateway._v2_request_body_is_text  # noqa: SLF001

    def is_text_and_not_compressed(content_type: str | None) -> bool:
        return not _compressed.get() and bool(is_text(content_type))

    async def invoke_lambda_proxy(*args: Any, **options: Any) -> Any:
        headers, body = args[5], args[6]
        _compressed.set(_is_compressed(headers))
        if len(body) > MAXIMUM_BINARY_BYTES and not is_text_and_not_compressed(headers.get("content-type")):
            return _too_long()
        return await invoke(*args, **options)

    apigateway._invoke_lambda_proxy = invoke_lambda_proxy  # noqa: SLF001
    apigateway._v2_request_body_is_text = is_text_and_not_compressed  # noqa: SLF001


def _keep_bytes_for_rest_apis() -> None:
    """A body without a content type counts as JSON. MiniStack takes it for text even where all types are binary.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-payload-encodings.html
    """
    execute, matches = apigateway_v1.handle_execute, apigateway_v1._media_type_matches  # noqa: SLF001

    def media_type_matches(media_type: str | None, binary_types: Collection[str] | None) -> bool:
        return bool(matches(media_type or "application/json", binary_types))

    async def handle_execute(
        api: str, stage: str, method: str, path: str, headers: Any, body: bytes, query: Any
    ) -> Any:
        # All types are binary in every REST API of the program.
        if len(body) > MAXIMUM_BINARY_BYTES:
            return _too_long()
        return await execute(api, stage, method, path, headers, body, query)

    apigateway_v1._media_type_matches = media_type_matches  # noqa: SLF001
    apigateway_v1.handle_execute = handle_execute


def _too_long() -> tuple[int, dict[str, str], bytes]:
    return 413, {"Content-Type": "application/json"}, json.dumps({"message": "Request Too Long"}).encode()
