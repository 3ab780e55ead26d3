"""Objects of readings: exact numbers, exact reasons, and a bad reading never costs a good one."""

import gzip
import json
import time
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.iot.contents import Contents, read
from handlers.iot.object_text import decoded
from handlers.iot.readings import Reading, UnusableObjectError, first_key, not_after, timestamp_of
from handlers.iot.worker import of_the_keys_device
from tests.strategies import json_values

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LATEST = NOW + timedelta(seconds=300)
DEVICE_IDS = "device_id must be 1 to 128 letters, digits, dots, colons, hyphens, underscores"
METRIC_NAMES = "a metric's name must be a letter and up to 63 letters, digits, underscores, dots or hyphens"
GOOD = '{"device_id": "d1", "timestamp": "2026-11-21T08:00:00Z", "metrics": {"temperature": 21.5}}'


def contents(text: str, maximum_readings: int = 1_000) -> Contents:
    return read(text, latest=LATEST, maximum_readings=maximum_readings)


def reading(text: str) -> Reading:
    found = contents(text)
    assert found.rejections == []
    assert len(found.readings) == 1
    return found.readings[0]


def reason(text: str) -> str:
    found = contents(text)
    assert found.readings == []
    assert len(found.rejections) == 1
    return found.rejections[0].reason


def of(**fields: Any) -> str:
    """The good reading with other fields; None takes one away."""
    changed = {**json.loads(GOOD), **fields}
    return json.dumps({name: value for name, value in changed.items() if value is not None})


# Forms of an object


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        f"\n {GOOD}\n",
        f"[{GOOD}]",
        f"[\n  {GOOD}\n]\n",
        f"{GOOD}\n\n",
        json.dumps(json.loads(GOOD), indent=2),
        f"\ufeff{GOOD}",
    ],
    ids=["one", "white space", "array", "pretty array", "blank lines", "pretty", "byte order mark"],
)
def test_a_reading_is_read_in_every_form(text: str) -> None:
    text = decoded([text.encode()], 10_000)
    assert reading(text) == reading(GOOD)


def test_many_readings_are_an_array_or_lines() -> None:
    many = [of(device_id=f"d{number}") for number in range(5)]
    forms = ["\n".join(many), "\r\n".join(many) + "\r\n", f"[{','.join(many)}]", "[\n" + ",\n".join(many) + "\n]"]
    for text in forms:
        found = contents(text)
        assert [each.device_id for each in found.readings] == ["d0", "d1", "d2", "d3", "d4"]
        assert found.rejections == []


def test_metrics_may_stand_beside_the_device() -> None:
    flat = '{"device_id": "d1", "timestamp": "2026-11-21T08:00:00Z", "temperature": 21.5}'
    assert reading(flat) == reading(GOOD)


@pytest.mark.parametrize(
    "middle", ["{broken", '{"device_id": "d1", "timestamp":', '"text', "nothing", "}", '{"device_id": "d1"']
)
@pytest.mark.parametrize("form", ["lines", "array"])
def test_what_is_not_json_costs_its_own_line_only(form: str, middle: str) -> None:
    lines = [of(device_id="before"), middle, of(device_id="after")]
    found = contents("\n".join(lines) if form == "lines" else "[\n" + ",\n".join(lines) + "\n]")
    assert [each.device_id for each in found.readings] == ["before", "after"]
    assert [each.text.rstrip(",") for each in found.rejections] == [middle]


def test_a_rejection_says_where_it_stood_why_and_what_it_was() -> None:
    found = contents("\n".join([GOOD, of(device_id=None), "{broken", of(device_id="d2")]))
    assert [(each.position, each.reason) for each in found.rejections] == [
        (1, "device_id is missing"),
        (2, "not JSON: Expecting property name enclosed in double quotes"),
    ]
    assert found.rejections[1].text == "{broken"
    assert json.loads(found.rejections[0].text)["metrics"] == {"temperature": 21.5}


def test_a_long_rejected_text_is_cut() -> None:
    assert len(contents('{"device_id": "' + "x" * 100_000).rejections[0].text) == 2_000


def test_an_array_without_end_keeps_what_was_whole() -> None:
    found = contents(f"[{GOOD},\n{GOOD[:40]}")
    assert found.readings == [reading(GOOD)]
    assert [each.reason for each in found.rejections][-1] == "not JSON: the array has no end"


@pytest.mark.parametrize("text", ["", "  \n", "[]"])
def test_an_object_without_a_reading_is_refused_as_a_whole(text: str) -> None:
    with pytest.raises(UnusableObjectError, match="holds no reading"):
        contents(text)


def test_an_object_may_hold_as_many_readings_as_the_limit_says_and_not_one_more() -> None:
    many = "\n".join(of(device_id=f"d{number}") for number in range(11))
    assert len(contents(many, 11).readings) == 11
    with pytest.raises(UnusableObjectError, match=r"more than 10 readings \(readings.max_per_object\)"):
        contents(many, 10)


# Bytes


def test_gzip_is_recognised_by_its_bytes_also_in_parts_and_in_members() -> None:
    packed = gzip.compress(b"one ") + gzip.compress(b"two")
    assert decoded([packed], 100) == "one two"
    assert decoded([packed[i : i + 1] for i in range(len(packed))], 100) == "one two"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"x" * 1_000)[:-9], "ends in the middle"),
        (gzip.compress(b"one") + b"garbage", "not the gzip"),
        (gzip.compress(b"one")[:-8] + bytes(8), "not the gzip"),
        (b"\x1f\x8b", "ends in the middle"),
    ],
    ids=["cut off", "garbage behind it", "wrong checksum", "only the mark"],
)
def test_a_broken_gzip_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(UnusableObjectError, match=message):
        decoded([data], 10_000)


def test_an_object_is_read_up_to_the_limit_and_no_further() -> None:
    taken = 0

    def chunks() -> Any:
        nonlocal taken
        for _ in range(1_000):
            taken += 1
            yield b"x" * 1_000

    assert len(decoded([b"x" * 5_000], 5_000)) == 5_000
    with pytest.raises(UnusableObjectError, match="more than 5000 bytes"):
        decoded(chunks(), 5_000)
    assert taken == 6


def test_a_gzip_that_grows_beyond_the_limit_is_refused_before_it_has_grown() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with pytest.raises(UnusableObjectError, match="more than 1000 bytes"):
        decoded([bomb], 1_000)


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"", gzip.compress(b"")),
        (b"", gzip.compress(b" ")),
        (b"\x1f\x8b\x08" + bytes(7), b"\0\0\0\xff\xff"),
        (b"\x1f\x8b\x08\x08" + bytes(6), b"x"),
    ],
    ids=["empty members", "tiny members", "empty blocks", "a long name"],
)
def test_a_gzip_that_holds_next_to_nothing_is_read_up_to_the_limit_and_no_further(
    start: bytes, repeated: bytes
) -> None:
    taken = 0

    def chunks() -> Any:
        nonlocal taken
        yield start
        for _ in range(10):
            taken += 1
            yield repeated * 5_000

    with pytest.raises(UnusableObjectError, match="more than 10000 bytes"):
        decoded(chunks(), 10_000)
    assert taken <= 3


def test_bytes_that_are_not_utf_8_cost_their_own_reading_only() -> None:
    found = contents(decoded([GOOD.encode() + b"\n" + GOOD.encode().replace(b"d1", b"d\xff") + b"\n"], 10_000))
    assert found.readings == [reading(GOOD)]
    assert found.rejections[0].reason.startswith("device_id must be 1 to 128")
    json.dumps(found.rejections[0].text).encode()


# Fields


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "device_id is missing"),
        ("hello", "not JSON: no value"),
        ("5", "a reading is a JSON object, not 5"),
        ("null", "a reading is a JSON object, not null"),
        ('"text"', 'a reading is a JSON object, not "text"'),
        (of(metrics={"temperature": "21.5"}), 'temperature must be a number, not "21.5"'),
        (of(metrics={"temperature": True}), "temperature must be a number, not true"),
        (of(metrics={"a": {"b": 1}}), "a must be a number, not an object"),
        (of(metrics={"a": [1]}), "a must be a number, not an array"),
        (of(metrics={}), "a reading has 1 to 100 metrics, not 0"),
        (of(metrics={f"m{number}": 1 for number in range(101)}), "a reading has 1 to 100 metrics, not 101"),
        (of(metrics=[1]), "metrics must be an object of names and numbers, not an array"),
        (of(metrics=None), "a reading has 1 to 100 metrics, not 0"),
        (of(device_id=None), "device_id is missing"),
        (of(device_id=""), f'{DEVICE_IDS}, not ""'),
        (of(device_id=7.5), f"{DEVICE_IDS}, not 7.5"),
        (of(device_id=True), f"{DEVICE_IDS}, not true"),
        (of(device_id=["d1"]), f"{DEVICE_IDS}, not an array"),
        (of(device_id="a b"), f'{DEVICE_IDS}, not "a b"'),
        (of(device_id="x" * 3_072), f'{DEVICE_IDS}, not "{"x" * 60}" and 3012 characters more'),
        (of(timestamp=None), "timestamp is missing"),
        (of(timestamp="0000-01-01T00:00:00Z"), 'timestamp is not a possible time: "0000-01-01T00:00:00Z"'),
        (of(timestamp="2026-02-30T00:00:00Z"), 'timestamp is not a possible time: "2026-02-30T00:00:00Z"'),
        (of(timestamp="1970-01-01T00:00:00Z"), 'timestamp is before 2000: "1970-01-01T00:00:00Z"'),
        (of(timestamp="9999-12-31T23:59:59-12:00"), 'timestamp is not a possible time: "9999-12-31T23:59:59-12:00"'),
        (of(metrics={"a b": 1}), f'{METRIC_NAMES}, not "a b"'),
        ('{"a":' * 100_000, "not JSON: too many levels"),
    ],
)
def test_what_is_no_reading_is_refused_with_its_reason(text: str, message: str) -> None:
    assert reason(text) == message


@pytest.mark.parametrize("word", ["Infinity", "-Infinity", "NaN"])
def test_a_number_that_is_none_is_refused_by_name(word: str) -> None:
    assert reason(GOOD.replace("21.5", word)) == f"temperature must be a number, not {word}"


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-21T08:00:00",
        "2026-11-21",
        "20261121T080000Z",
        "2026-11-21  08:00:00Z",
        "2026-11-21T08:00:00 Z",
        "2026-11-21T08:00:00+1",
        "2026-11-21T08:00:00+01:0",
        "2026-11-21T08:00Z",
        "2026-11-21T08:00:00.1234567890Z",
        "\uff12026-11-21T08:00:00Z",
        1_795_000_000,
        "",
    ],
)
def test_a_time_needs_its_zone_and_its_seconds(stamp: object) -> None:
    assert reason(of(timestamp=stamp)).startswith(
        "timestamp must be RFC 3339 with its zone, like 2026-11-21T08:46:09Z, not "
    )


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-11-21T09:00:00+0100",
        "2026-11-21T09:00:00+01",
        "2026-11-21T09:00:00+01:00",
        "2026-11-21 08:00:00+00:00",
        "2026-11-21t08:00:00z",
        "2026-11-21T08:00:00,000Z",
    ],
)
def test_what_common_formatters_write_is_the_same_time(stamp: str) -> None:
    assert reading(of(timestamp=stamp)) == reading(GOOD)


def test_a_device_may_be_an_integer() -> None:
    assert reading(of(device_id=7)).device_id == "7"


def test_arrays_may_follow_each_other_as_firehose_joins_them() -> None:
    one, other = f"[{of(device_id='d1')},{of(device_id='d2')}]", f"[{of(device_id='d3')}]"
    for text in (one + other, f"{one}\n{other}\n", f"{one}\n[]\n{other}", f"{of(device_id='d0')}\n{one}{other}"):
        found = contents(text)
        assert [each.device_id for each in found.readings][-3:] == ["d1", "d2", "d3"]
        assert found.rejections == []
    # A line that is lost takes the end of its array with it, and not the next array.
    found = contents(f"[{of(device_id='d1')}, broken]\n{other}")
    assert [each.device_id for each in found.readings] == ["d1", "d3"]
    assert [each.reason for each in found.rejections] == ["not JSON: no value"]


def test_a_clock_may_run_ahead_by_the_limit_and_no_further() -> None:
    assert reading(of(timestamp="2026-11-21T12:05:00Z")).time_key.startswith("2026-11-21T12:05")
    assert "ahead of the clock by more than readings.max_ahead_seconds" in reason(of(timestamp="2026-11-21T12:05:01Z"))
    assert "ahead of the clock" in reason(of(timestamp="9999-12-31T23:59:59Z"))


def test_a_field_that_stands_twice_is_refused() -> None:
    assert reason(GOOD.replace("21.5", '21.5, "temperature": 22')) == 'a field occurs twice: "temperature"'
    assert reason(GOOD[:-1] + ', "device_id": "d2"}') == 'a field occurs twice: "device_id"'


# Numbers


@pytest.mark.parametrize(
    ("written", "exact"),
    [
        ("0.1", "0.1"),
        ("1.50", "1.5"),
        ("-0.0", "0"),
        ("0e-500", "0"),
        ("100", "1E+2"),
        ("9" * 38, "9" * 38),
        ("1e-130", "1E-130"),
        ("9.99e125", "9.99E+125"),
        ("12345678901234567890.12345678901234567", "12345678901234567890.12345678901234567"),
    ],
)
def test_numbers_are_kept_to_the_last_digit(written: str, exact: str) -> None:
    assert str(reading(GOOD.replace("21.5", written)).metrics["temperature"]) == exact


@pytest.mark.parametrize(
    "written", ["1" * 39, "0." + "1" * 39, "1e126", "1e-131", "1e999999", "-1e999999", "1" * 5_000]
)
def test_a_number_that_the_table_cannot_hold_exactly_is_refused(written: str) -> None:
    assert reason(GOOD.replace("21.5", written)).startswith("temperature has more than 38 digits, or is too large")


def test_an_exponent_beyond_everything_costs_its_line_only() -> None:
    found = contents(GOOD.replace("21.5", "1e9999999999999999999") + "\n" + GOOD)
    assert found.readings == [reading(GOOD)]
    assert [each.reason for each in found.rejections] == ["not JSON: a number is too large"]


numbers = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**20), max_value=10**20, places=9)


@given(st.dictionaries(st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,10}", fullmatch=True), numbers, min_size=1, max_size=5))
def test_any_exact_number_comes_through_as_it_was(metrics: dict[str, Decimal]) -> None:
    # A flat reading knows the device's and the time's names by another meaning.
    inner = ", ".join(f'"{name}": {number}' for name, number in metrics.items())
    assert reading(GOOD.replace('"temperature": 21.5', inner)).metrics == metrics


# Keys


def test_a_repeat_has_the_same_key_however_it_is_written() -> None:
    first = reading(of(metrics={"a": 1.5, "b": 2}))
    same = '{"b": 2.0, "timestamp": "2026-11-21T09:30:00.000+01:30", "a": 1.50, "device_id": "d1"}'
    assert reading(same) == first
    found = contents(f"{same}\n{same}")
    assert found.readings == [first]
    assert found.repeated == 1


def test_other_metrics_at_the_same_moment_are_another_reading() -> None:
    found = contents("\n".join([of(metrics={"a": 1}), of(metrics={"a": 2}), of(metrics={"b": 1})]))
    assert len({each.time_key for each in found.readings}) == 3
    assert found.repeated == 0


moments = st.datetimes(datetime(2000, 1, 1), datetime(2026, 11, 20), timezones=st.just(UTC))  # noqa: DTZ001
offsets = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timedelta(minutes=minutes))


@given(moments, moments, offsets)
def test_keys_sort_as_times_do_whatever_their_zones(one: datetime, other: datetime, offset: timedelta) -> None:
    shown = one.astimezone(timezone(offset)).isoformat()
    first, second = reading(of(timestamp=shown)).time_key, reading(of(timestamp=other.isoformat())).time_key
    if one != other:
        assert (first < second) == (one < other)
    assert datetime.fromisoformat(timestamp_of(first)) == one
    assert (first_key(other) <= first) == (other <= one)


def test_nanoseconds_are_kept() -> None:
    key = reading(of(timestamp="2026-11-21T08:00:00.123456789+00:00")).time_key
    assert timestamp_of(key) == "2026-11-21T08:00:00.123456789Z"


# Anything at all


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")))
def test_no_text_raises_anything_but_its_refusal(text: str) -> None:
    try:
        found = contents(text)
    except UnusableObjectError:
        return
    assert found.rejections
    json.dumps([each.text for each in found.rejections]).encode()


@given(st.lists(json_values, min_size=1, max_size=8), st.booleans())
def test_every_value_is_read_or_recorded(values: list[Any], as_array: bool) -> None:  # noqa: FBT001
    texts = [json.dumps(value) for value in values]
    # An array on a line of its own is an array of readings; in an array it is no reading.
    good = [of(device_id=f"d{number}") for number in range(len(values))]
    mixed = [text for pair in zip(good, texts, strict=True) for text in pair]
    found = contents(f"[{','.join(mixed)}]" if as_array else "\n".join(mixed))
    assert {each.device_id for each in found.readings} >= {f"d{number}" for number in range(len(values))}
    count = len(values) + sum(len(each) if isinstance(each, list) and not as_array else 1 for each in values)
    assert len(found.readings) + found.repeated + len(found.rejections) == count


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"device_id": "d", "device_id": "e"}', 'a field occurs twice: "device_id"'),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "metrics": {"t": 1, "\\u0074": 2}}', "occurs twice"),
        ('{"device_id": "d\\ud800", "timestamp": "2026-11-21T08:00:00Z", "t": 1}', r'"d\ud800"'),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "t\\ud800": 1}', r'"t\ud800"'),
        ('{"device_id": "d\\n{\\"forged\\": 1}", "timestamp": "2026-11-21T08:00:00Z", "t": 1}', r"d\n{"),
        ('{"device_id": "\\u001b[31m", "timestamp": "2026-11-21T08:00:00Z", "t": 1}', r"\u001b[31m"),
        ('{"device_id": "../../d", "timestamp": "2026-11-21T08:00:00Z", "t": 1}', "../../d"),
        ('{"device_id": "=1+1", "timestamp": "2026-11-21T08:00:00Z", "t": 1}', "=1+1"),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "t": 1%s}' % ("0" * 400), "more than 38 digits"),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "t": 1%s}' % ("0" * 99_999), "more than 38 digits"),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "t": 1e999999999}', "more than 38 digits"),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "t": 1e9999999999999999999}', "too large"),
        ('{"device_id": "d", "timestamp": "2026-11-21T08:00:00Z", "t": NaN}', "NaN"),
        ("[" * 100_000, "too many levels"),
    ],
)
def test_a_hostile_reading_is_refused_with_a_reason_of_one_line_of_ascii(text: str, reason: str) -> None:
    contents = read(text, latest=LATEST, maximum_readings=10)
    assert contents.readings == []
    (rejection, *_) = contents.rejections
    assert reason in rejection.reason
    assert rejection.reason.isascii()
    assert rejection.reason.isprintable()
    assert len(rejection.reason) < 300


def test_readings_that_are_dated_ahead_count_as_of_their_upload_and_keep_their_order() -> None:
    dates = [NOW - timedelta(seconds=1), NOW, NOW + timedelta(seconds=1), NOW + timedelta(seconds=290)]
    readings = [reading(GOOD.replace("2026-11-21T08:00:00Z", each.isoformat())) for each in dates]
    counted = [not_after(each, NOW) for each in readings]
    assert [timestamp_of(each.time_key) for each in counted] == ["2026-11-21T11:59:59Z", *["2026-11-21T12:00:00Z"] * 3]
    assert counted == sorted(counted, key=lambda each: each.time_key)
    later = reading(GOOD.replace("2026-11-21T08:00:00Z", (NOW + timedelta(milliseconds=1)).isoformat()))
    assert max(each.time_key for each in counted) < later.time_key


@pytest.mark.parametrize(
    ("key", "accepted"),
    [("readings/d1/a.json", True), ("readings/d2/a.json", False), ("readings/d1", False), ("readings/d1x/a", False)],
)
def test_a_key_names_the_device_whose_readings_it_may_hold(key: str, accepted: bool) -> None:  # noqa: FBT001
    objection = of_the_keys_device(key, None)
    assert (objection(reading(GOOD)) is None) == accepted


@pytest.mark.parametrize("line", ['{"a":' + "1" * 390, '{"device_id": "' + "x" * 380, "x" * 400])
def test_ten_thousand_values_that_are_not_json_are_refused_in_linear_time(line: str) -> None:
    started = time.process_time()
    found = read(f"{line}\n" * 10_000, latest=LATEST, maximum_readings=10_000)
    # Each error counted the lines before it: 7 seconds of this function's time.
    assert time.process_time() - started < 3
    assert [each.position for each in found.rejections] == list(range(10_000))
    assert {each.text for each in found.rejections} == {line}


def test_a_field_that_stands_twice_among_fifty_thousand_is_found_in_linear_time() -> None:
    started = time.process_time()
    fields = ",".join(f'"m{number}":1' for number in range(50_000))
    found = read(f'{{{fields},"m49999":1}}', latest=LATEST, maximum_readings=1)
    assert time.process_time() - started < 3
    assert [each.reason for each in found.rejections] == ['a field occurs twice: "m49999"']
