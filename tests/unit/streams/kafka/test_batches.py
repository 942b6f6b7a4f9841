"""Record batches of Kafka taken apart by column, against batches that were put together by the book, record by record."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitvelocity.streams.kafka.batches import Aborted, records_of

NAMES = st.sampled_from(["ce_id", "twice", "bv-place", "ü", "a" * 300])
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.none() | st.binary(max_size=300),
            "value": st.none() | st.binary(max_size=300) | st.just(b"v" * 20_000),
            "headers": st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=9)), max_size=5),
            "timestamp": st.integers(-(10**9), 4 * 10**9),
            "gap": st.integers(0, 200),
        }
    ),
    min_size=1,
    max_size=12,
)
CODECS: dict[int, Any] = {1: "gzip", 3: "lz4", 4: "zstd"}


def varint(number: int) -> bytes:
    rest, found = (number << 1) ^ (number >> 63), bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*found, rest])


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


@dataclass
class Writer:
    """Batches behind each other, and what a reader should find."""

    data: bytes = b""
    end: int = 100

    def batch(
        self, records: list[dict[str, Any]], *, codec: int = 0, attributes: int = 0, producer: int = -1, magic: int = 2, newest: int = 0
    ) -> list[dict[str, Any]]:
        base, first = self.end, records[0]["timestamp"]
        body, told, delta = b"", [], 0
        for record in records:
            delta += record["gap"]
            headers = b"".join(sized(name.encode()) + sized(value) for name, value in record["headers"])
            one = b"\0" + varint(record["timestamp"] - first) + varint(delta) + sized(record["key"]) + sized(record["value"])
            one += varint(len(record["headers"])) + headers
            body += varint(len(one)) + one
            millis = newest if attributes & 8 else record["timestamp"]
            told.append({"offset": base + delta, "millis": millis, **{name: record[name] for name in ("key", "value", "headers")}})
            delta += 1
        if codec:
            sink = pa.BufferOutputStream()
            with pa.CompressedOutputStream(sink, CODECS[codec]) as stream:
                stream.write(body)
            body = sink.getvalue().to_pybytes()
        after = struct.pack("!ibIhiqqqhii", 0, magic, 0, attributes | codec, delta - 1, first, newest, producer, 0, 0, len(records)) + body
        self.data += struct.pack("!qi", base, len(after)) + after
        self.end = base + delta
        return told


def read(writer: Writer, offset: int, aborted: list[Aborted] | None = None, cut: int = 0) -> list[dict[str, Any]]:
    data = writer.data[: len(writer.data) - cut]
    taken = records_of(memoryview(data), 3, offset, aborted or [])
    if not cut:
        assert taken.end == writer.end
    taken.records.validate(full=True)
    assert set(taken.records["partition"].to_pylist()) <= {3}
    found = taken.records.drop_columns(["partition"]).set_column(4, "timestamp", taken.records["timestamp"].cast(pa.int64())).to_pylist()
    return [{"millis": row.pop("timestamp") // 1000, **row} for row in found]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(RECORDS, st.sampled_from([0, 1, 3, 4]), st.sampled_from([0, 8])), min_size=1, max_size=4), st.data())
def test_what_is_put_together_is_taken_apart(parts: list[tuple[list[dict[str, Any]], int, int]], data: st.DataObject) -> None:
    writer, told = Writer(), []
    for records, codec, attributes in parts:
        told += writer.batch(records, codec=codec, attributes=attributes, newest=77)
    offset = data.draw(st.integers(100, writer.end - 1))
    assert read(writer, offset) == [row for row in told if row["offset"] >= offset]
    cut = data.draw(st.integers(1, 60))  # an answer may end within a batch
    whole = told[: -len(parts[-1][0])]
    assert read(writer, 100, cut=cut) == whole


ONE = [{"key": b"k", "value": b"v", "headers": [], "timestamp": 5, "gap": 0}]


def test_what_was_given_up_is_left_out_up_to_its_mark() -> None:
    writer = Writer()
    seen = writer.batch(ONE)
    seen += writer.batch(ONE, attributes=0x10, producer=1)  # committed below
    given_up = writer.end
    writer.batch(ONE, attributes=0x10, producer=2)
    writer.batch(ONE, attributes=0x30, producer=1)
    writer.batch(ONE, attributes=0x10, producer=2)
    writer.batch(ONE, attributes=0x30, producer=2)
    seen += writer.batch(ONE, attributes=0x10, producer=2)  # its next transaction
    writer.batch(ONE, attributes=0x30, producer=2)
    assert read(writer, 100, [Aborted(2, given_up)]) == seen
    assert read(writer, given_up, [Aborted(2, given_up)]) == seen[-1:]


@pytest.mark.parametrize("what", ["an old format", "snappy", "a byte too many", "a byte too few", "rubbish", "a field too long"])
def test_what_it_does_not_know_is_an_error(what: str) -> None:
    writer = Writer()
    writer.batch(ONE, magic=1 if what == "an old format" else 2, attributes=2 if what == "snappy" else 0)
    data = bytearray(writer.data)
    if what == "a byte too many":
        data = data[:8] + struct.pack("!i", len(data) - 11) + data[12:] + b"x"
    elif what == "a byte too few":
        data = data[:8] + struct.pack("!i", len(data) - 13) + data[12:-1]
    elif what == "rubbish":
        data[62:] = b"\xff" * (len(data) - 62)
    elif what == "a field too long":
        data[-3:-2] = b"\x7e"
    with pytest.raises((ValueError, IndexError)):
        records_of(memoryview(bytes(data)), 0, 0)
