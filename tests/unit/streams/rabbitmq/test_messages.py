"""Records as messages of AMQP 1.0, and back: our own by column, those of others one by one."""

from __future__ import annotations

import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.errors import SettingsError
from bitvelocity.streams import RECORD_SCHEMA
from bitvelocity.streams.rabbitmq.address import parse_address
from bitvelocity.streams.rabbitmq.decoding import FENCE, decode
from bitvelocity.streams.rabbitmq.encoding import encode
from bitvelocity.streams.rabbitmq.frames import Chunk

rstream = pytest.importorskip("rstream")

NAMES = st.sampled_from(["ce_id", "twice", "bv-place", "ü", "a" * 300])
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.none() | st.binary(max_size=300),
            "value": st.none() | st.binary(max_size=300),
            "headers": st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=9) | st.just(b"text")), max_size=5),
            "timestamp": st.integers(-(10**9), 4 * 10**9).map(lambda millis: millis * 1000),
        }
    ),
    max_size=20,
)


def chunk_of(messages: list[bytes], offset: int = 7, time: int = 1234) -> Chunk:
    data = b"".join(struct.pack("!I", len(message)) + message for message in messages)
    return Chunk(offset, time, len(messages), len(messages), memoryview(data))


def table(records: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(records, schema=RECORD_SCHEMA)


@settings(max_examples=150, deadline=None)
@given(RECORDS)
def test_what_is_encoded_is_decoded(records: list[dict[str, Any]]) -> None:
    made = table(records)
    got = decode([chunk_of(encode(made).to_pylist())])
    assert got["offset"].to_pylist() == list(range(7, 7 + len(records)))
    assert got.drop_columns(["offset"]).to_pylist() == made.to_pylist()


ALIKE = st.lists(NAMES, max_size=5).flatmap(
    lambda names: st.lists(
        st.tuples(st.binary(max_size=9), *[st.binary(max_size=300) | st.just(b"text") for _ in names]).map(
            lambda row: {"key": row[0], "value": row[0], "headers": list(zip(names, row[1:], strict=True))}
        ),
        min_size=1,
        max_size=12,
    )
)
ODD: list[dict[str, Any]] = [
    {}, {"key": b""}, {"headers": [("ce_id", None)]}, {"headers": [("ce_id", b"")]},
    {"key": b"", "headers": [("ce_id", b"1"), ("twice", None)]},
]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(ALIKE, st.none() | st.tuples(st.sampled_from(ODD), st.integers(0, 12)), st.booleans())
def test_headers_of_the_same_names_are_decoded_as_any(records: list[dict[str, Any]], odd: Any, keyed: bool) -> None:
    """All alike, or all but one: the fast way tells what the other would, or nothing."""
    rows = [row if keyed else {**row, "key": None} for row in records]
    if odd is not None:
        rows.insert(odd[1], {"value": b"odd", **odd[0]})
    made, messages = table(rows), encode(table(rows)).to_pylist()
    expected = [(row["key"], row["value"], row["headers"] or []) for row in made.to_pylist()]
    assert decoded(messages) == expected
    assert [decoded([message]) for message in messages] == [[row] for row in expected]


def test_short_lengths_and_maps_that_do_not_end_where_they_say() -> None:
    """As another program may write our layout: names and values of both sizes, and what is wrong in the last of many."""

    def message(*items: bytes, count: int | None = None, rest: bytes = b"") -> bytes:
        content = struct.pack("!I", len(items) if count is None else count) + b"".join(items) + rest
        return b"\x00\x53\x73\x45\x00\x53\x74\xd1" + struct.pack("!I", len(content)) + content + b"\x00\x53\x75\xb0\x00\x00\x00\x01v"

    def short(value: bytes, kind: int = 0xA1) -> bytes:
        return bytes([kind, len(value)]) + value

    key = (short(b"bv-key"), short(b"k\xff", 0xA0))
    good = [message(*key, short(b"name"), short(b"x" * size)) for size in range(3)]
    told = [(b"k\xff", b"v", [("name", b"x" * size)]) for size in range(3)]
    assert decoded(good) == told
    long = message(*key, b"\xb1\x00\x00\x00\x04name", b"\xb1\x00\x00\x00\x02xy")
    assert decoded([*good, long]) == [*told, (b"k\xff", b"v", [("name", b"xy")])]
    wrong = [
        message(*key, short(b"name"), b"\xa1\xff"), message(*key, short(b"name"), short(b"x"), rest=b"\x40"),
        message(*key, short(b"name"), short(b"x"), count=6), message(*key, short(b"name"), b"\xb1\xff\xff\xff\xff"), message(*key, short(b"nome"), short(b"x")),
    ]  # fmt: skip
    for one in wrong:
        assert decoded([*good, one])[:3] == told
        assert decoded([one, *good])[1:] == told
        assert decoded([*good, one])[3:] == decoded([one, *good])[:1] == decoded([one])


def decoded(messages: list[bytes]) -> list[Any]:
    return [(row["key"], row["value"], row["headers"]) for row in decode([chunk_of(messages)]).to_pylist()]


@settings(max_examples=100, deadline=None)
@given(st.lists(RECORDS, max_size=4), st.integers(0, 40))
def test_chunks_are_decoded_together_from_an_offset_on(parts: list[list[dict[str, Any]]], floor: int) -> None:
    chunks, rows = [], []
    for number, records in enumerate(parts):
        begin = 7 + 25 * number  # offsets may have gaps
        chunks.append(chunk_of(encode(table(records)).to_pylist(), begin, 1000 + number))
        rows += [(begin + at, row["key"], row["value"], row["headers"]) for at, row in enumerate(table(records).to_pylist())]
    got = decode(chunks, floor).to_pylist()
    assert [(row["offset"], row["key"], row["value"], row["headers"]) for row in got] == [row for row in rows if row[0] >= floor]


@settings(max_examples=100, deadline=None)
@given(RECORDS, st.lists(st.binary(max_size=60), max_size=4), st.randoms())
def test_what_is_no_message_of_ours_stays_in_its_place(
    records: list[dict[str, Any]], others: list[bytes], random: Any
) -> None:
    """Any bytes, and messages that were cut off, among our own: nothing fails, nothing moves."""
    ours = encode(table(records)).to_pylist()
    cut = [message[: random.randrange(len(message))] for message in ours[:3]]
    whole = ours + others + cut
    order = random.sample(range(len(whole)), len(whole))
    got = decode([chunk_of([whole[at] for at in order])]).to_pylist()
    assert len(got) == len(whole)
    for at, row in zip(order, got, strict=True):
        if at < len(ours):
            assert (row["key"], row["value"]) == (records[at]["key"], records[at]["value"])


def test_the_layouts_of_another_client() -> None:
    message = rstream.AMQPMessage(
        properties=rstream.Properties(content_type="application/json", creation_time=5000),
        application_properties={"bv-key": b"\xff", "text": "word", "number": 7, "yes": True, "none": None},
        body=b"x" * 300,
    )
    plain = rstream.AMQPMessage(body=b"small")
    got = decode([chunk_of([bytes(message), bytes(plain)])]).to_pylist()
    assert (got[0]["key"], got[0]["value"], got[0]["timestamp"].timestamp()) == (b"\xff", b"x" * 300, 5.0)
    expected = [("content-type", b"application/json"), ("text", b"word"), ("number", b"7"), ("yes", b"true"), ("none", None)]
    assert got[0]["headers"] == expected
    assert (got[1]["key"], got[1]["value"], got[1]["timestamp"].timestamp()) == (None, b"small", 1.234)


def test_another_client_reads_ours() -> None:
    headers = [("ce_id", b"7/0"), ("bytes", b"\xff"), ("ce_id", b"again")]
    records: list[dict[str, Any]] = [
        {"key": b"k", "value": b"v", "headers": headers, "timestamp": 5_000_000},
        {"key": None, "value": None, "headers": None, "timestamp": None},
    ]
    first, second = (rstream.amqp_decoder(message) for message in encode(table(records)).to_pylist())
    assert first.application_properties == {b"bv-key": b"k", b"ce_id": b"7/0", b"bytes": b"\xff", b"bv-again:1:ce_id": b"again"}
    assert (first.body, first.properties.creation_time) == (b"v", 5000)
    assert (second.body, second.value, second.properties.creation_time) == (None, None, None)


@pytest.mark.parametrize("codec", [0, 1, 2, 4])
def test_entries_of_several_messages(codec: int) -> None:
    ours = encode(table([{"value": b"%d" % number} for number in range(50)])).to_pylist()
    content = b"".join(struct.pack("!I", len(message)) + message for message in ours[1:])
    names: dict[int, Any] = {1: "gzip", 2: "snappy", 4: "zstd"}
    packed = pa.Codec(names[codec]).compress(content, asbytes=True) if codec else content
    entry = struct.pack("!BHII", 0x80 | codec << 4, 49, len(content), len(packed)) + packed
    data = struct.pack("!I", len(ours[0])) + ours[0] + entry
    got = decode([Chunk(3, 0, 2, 50, memoryview(data))])
    assert got["value"].to_pylist() == [b"%d" % number for number in range(50)]
    assert got["offset"].to_pylist() == list(range(3, 53))


def test_fences_are_left_out() -> None:
    records: list[dict[str, Any]] = [{"value": b"1"}, {"value": b"", "headers": [(FENCE, b"p")]}, {"value": b"2"}]
    got = decode([chunk_of(encode(table(records)).to_pylist())])
    assert (got["offset"].to_pylist(), got["value"].to_pylist()) == ([7, 9], [b"1", b"2"])


def test_addresses() -> None:
    found = parse_address("amqps://me:p%40ss@there:1/shop?stream_port=2")
    assert (found.host, found.port, found.stream_port, found.user, found.password) == ("there", 1, 2, "me", "p@ss")
    assert (found.vhost, found.trust is not None) == ("shop", True)
    assert "p@ss" not in repr(found)
    assert parse_address("amqp://localhost").stream_port == 5552
    for wrong in ("localhost:5672", "amqp://", "amqp://h?stream_port=x"):
        with pytest.raises(SettingsError, match="cannot be read"):
            parse_address(wrong)
