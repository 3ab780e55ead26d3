"""Bodies of requests: what is accepted, and how another kind is refused."""

import gzip
import json
import time
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.shared.bodies import FORM_TYPE, MAXIMUM_BODY_BYTES, expanded, form_fields, json_text
from handlers.shared.errors import BadRequestError, TooLargeError, UnsupportedError

GZIP = {"content-encoding": "gzip"}
EVENT = b'{"a": 1}'


def zipped(data: bytes) -> bytes:
    # Without the time, so that tests have the same names in every process.
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip", " gzip "])
def test_a_gzipped_body_is_expanded(encoding: str) -> None:
    assert json_text(zipped(EVENT), {"content-encoding": encoding}) == EVENT.decode()


@pytest.mark.parametrize("headers", [{}, {"content-encoding": ""}, {"content-encoding": "identity"}])
def test_a_body_without_an_encoding_stays_as_it_is(headers: dict[str, str]) -> None:
    assert expanded(EVENT, headers) == EVENT


def test_a_bomb_is_refused_at_the_bound_with_flat_memory() -> None:
    bomb = gzip.compress(bytes(30_000_000))
    assert len(bomb) < 31_000
    tracemalloc.start()
    try:
        with pytest.raises(TooLargeError, match="larger than 6291456 bytes"):
            expanded(bomb, GZIP)
        assert tracemalloc.get_traced_memory()[1] < 3 * MAXIMUM_BODY_BYTES
    finally:
        tracemalloc.stop()


def test_a_body_may_expand_to_the_bound_and_no_further() -> None:
    assert len(expanded(gzip.compress(bytes(MAXIMUM_BODY_BYTES)), GZIP)) == MAXIMUM_BODY_BYTES
    with pytest.raises(TooLargeError):
        expanded(gzip.compress(bytes(MAXIMUM_BODY_BYTES + 1)), GZIP)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "truncated"),
        (EVENT, "not gzip"),
        (zlib.compress(EVENT), "not gzip"),
        (zipped(EVENT)[:-1], "truncated"),
        (zipped(EVENT)[:12], "truncated"),
        (zipped(zipped(EVENT)), "compressed twice"),
        (zipped(EVENT) + b"more", "followed by other bytes"),
        (zipped(EVENT) * 2, "one gzip member"),
        (zipped(EVENT)[:-8] + bytes(8), "not gzip"),
    ],
)
def test_a_damaged_gzip_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(BadRequestError, match=reason) as raised:
        expanded(body, GZIP)
    assert raised.value.code == "invalid_gzip"


@pytest.mark.parametrize("encoding", ["br", "deflate", "zstd", "gzip, gzip", "gzip,gzip"])
def test_another_encoding_is_named(encoding: str) -> None:
    with pytest.raises(UnsupportedError) as raised:
        expanded(EVENT, {"content-encoding": encoding})
    assert raised.value.code == "unsupported_encoding"
    assert repr(encoding) in raised.value.message


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        'application/json;charset="utf-8"',
        "text/json",
        "application/vnd.api+json",
        "application/cloudevents+json; charset=us-ascii",
    ],
)
def test_json_of_any_name_is_json(content_type: str) -> None:
    assert json_text(EVENT, {"content-type": content_type}) == EVENT.decode()
    assert json_text(EVENT, {}) == EVENT.decode()


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        ("text/plain", "text/plain"),
        (FORM_TYPE, FORM_TYPE),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
        ("application/jsonp", "application/jsonp"),
        ("application/json; charset=utf-16", "utf-16"),
        ("application/json; charset=latin1", "latin1"),
        ("json", "json"),
    ],
)
def test_another_content_type_is_named(content_type: str, named: str) -> None:
    with pytest.raises(UnsupportedError) as raised:
        json_text(EVENT, {"content-type": content_type})
    assert (raised.value.status, raised.value.code) == (415, "unsupported_media_type")
    assert named in raised.value.message


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert json.loads(json_text(b"\xef\xbb\xbf" + EVENT, {})) == {"a": 1}


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a\xc3", "é".encode("latin-1"), b"\xed\xa0\x80"])
def test_text_that_is_not_utf_8_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="the body is not UTF-8 text"):
        json_text(body, {})


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", {}),
        (b"a=1&b=", {"a": "1", "b": ""}),
        (b"a=1&a=2&b=x+y%26", {"a": ["1", "2"], "b": "x y&"}),
        (b"name=J%C3%BCrgen", {"name": "Jürgen"}),
        (b"&a=1&&b=%2b&", {"a": "1", "b": "+"}),
        (b"&", {}),
    ],
)
def test_fields_of_a_form_are_text_or_lists_of_it(body: bytes, fields: dict[str, object]) -> None:
    assert form_fields(body, {"content-type": FORM_TYPE}) == fields


@pytest.mark.parametrize("body", [b"a", b"a=1&b", b"a=%ff", b"a=%zz", b"a=100%", b"a=%u00e4", b'{"a": 1}', b"a=\xff"])
def test_a_form_that_can_be_read_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError, match=r"not a URL-encoded form|not UTF-8") as raised:
        form_fields(body, {"content-type": FORM_TYPE})
    assert raised.value.code == "invalid_form"


@pytest.mark.parametrize(
    "form", [b"&".join([b"a=1"] * 10_001), b"&" * 6_000_000, b"a=" + b"%41" * 2_000_000, b"a=" + b"x" * 3_200_000]
)
def test_a_form_that_expands_is_refused_before_it_is_taken_apart(form: bytes) -> None:
    body = gzip.compress(form)
    started = time.process_time()
    with pytest.raises(TooLargeError, match="larger than 10000 fields and 3145728 bytes"):
        form_fields(body, {"content-type": FORM_TYPE, **GZIP})
    assert time.process_time() - started < 1


def test_a_form_may_have_as_many_fields_as_the_limit() -> None:
    assert len(form_fields(b"&".join(b"f%d=" % n for n in range(10_000)), {"content-type": FORM_TYPE})) == 10_000


@given(st.binary(), st.sampled_from(["", "gzip", "br"]), st.text(max_size=40))
def test_any_body_is_read_or_refused(body: bytes, encoding: str, content_type: str) -> None:
    headers = {"content-encoding": encoding, "content-type": content_type}
    for read in (json_text, form_fields):
        # What else is raised fails the test.
        with suppress(BadRequestError, UnsupportedError):
            read(body, headers)
