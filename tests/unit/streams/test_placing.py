"""Partitions of keys, and places."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.streams import (
    PLACED_SCHEMA,
    RECORD_SCHEMA,
    Place,
    above,
    parse_place,
    partition_of,
    place_text,
    with_places,
)

# Kafka's own test vectors: org.apache.kafka.common.utils.UtilsTest.testMurmur2
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("partitions", [2, 7, 1000])
def test_keys_go_where_java_puts_them(partitions: int) -> None:
    expected = [(value & 0x7FFFFFFF) % partitions for value in VECTORS.values()]
    assert partition_of(pa.array(list(VECTORS), pa.binary()), partitions).tolist() == expected


def test_a_slice_and_chunks_and_missing_keys() -> None:
    keys = [b"21", None, b"abc", b"", b"foobar"]
    whole = partition_of(pa.array(keys, pa.binary()), 12).tolist()
    assert whole[1] == 0
    assert partition_of(pa.array(keys, pa.binary()).slice(2), 12).tolist() == whole[2:]
    assert partition_of(pa.chunked_array([keys[:2], keys[2:]], pa.binary()), 12).tolist() == whole
    assert partition_of(pa.array([], pa.binary()), 12).tolist() == []


places = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 2**31 - 1), st.integers(-1, 127))


@given(st.lists(places, min_size=1, max_size=20))
def test_places_are_text_in_their_order(some: list[tuple[int, int, int]]) -> None:
    lsn, ordinal, step = (np.array(column, kind) for column, kind in zip(zip(*some, strict=True), (np.int64, np.int32, np.int8), strict=True))
    text = [str(one) for one in place_text(lsn, ordinal, step).to_pylist()]
    assert [tuple(parse_place(one)) for one in text] == some
    assert sorted(text) == [text[some.index(one)] for one in sorted(some)]


def test_no_place() -> None:
    with pytest.raises(ValueError, match="no place"):
        parse_place(b"12")


@given(st.lists(places, max_size=20).map(sorted), places)
def test_rows_above_a_place(some: list[tuple[int, int, int]], place: tuple[int, int, int]) -> None:
    rows = [dict(zip(("lsn", "ordinal", "step"), one, strict=True)) for one in some]
    table = pa.Table.from_pylist(rows, schema=PLACED_SCHEMA)
    rest = above(table, Place(*place)).select(["lsn", "ordinal", "step"]).to_pylist()
    assert [tuple(row.values()) for row in rest] == [one for one in some if one > place]
    assert above(table, None) is table


@given(st.lists(st.none() | st.lists(st.tuples(st.just("a") | st.just("b"), st.binary(max_size=3)), max_size=3), max_size=9))
def test_each_record_gets_its_place_as_its_last_header(headers: list[list[tuple[str, bytes]] | None]) -> None:
    rows = [{"value": b"v", "headers": own, "lsn": n, "ordinal": 0, "step": 0} for n, own in enumerate(headers)]
    table = pa.Table.from_pylist([{}, *rows, {}], schema=PLACED_SCHEMA).slice(1, len(rows))
    got = with_places(table)
    assert got.schema == RECORD_SCHEMA
    for row, own, n in zip(got.to_pylist(), headers, range(len(rows)), strict=True):
        *theirs, (name, place) = row["headers"]
        assert theirs == (own or [])
        assert (name, parse_place(place)) == ("bv-place", Place(n, 0, 0))
