"""Record batches as brokers keep them, by column: the client's own way is a Python object for each record and each header.

Source: Kafka's `DefaultRecordBatch` and `DefaultRecord` (magic 2), and KIP-98 on what readers of committed records leave out.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ..bus import FETCHED_SCHEMA
from ..slices import Bytes, Headers, Ints, Slices, binary, inside, side_by_side, texts

_HEAD = struct.Struct("!qiibIhiqqqhii")
_FRAME = 12
_MAGIC = 2
_CODECS: Mapping[int, Any] = {0: None, 1: "gzip", 3: "lz4", 4: "zstd"}
_APPENDED, _TRANSACTIONAL, _CONTROL = 0x08, 0x10, 0x20
_PAD = bytes(32)
_LONGEST = 10


class Batch(NamedTuple):
    """One batch: its records lie in `data`."""

    base: int
    first: int
    appended: int | None
    rows: int
    data: bytes


class Aborted(NamedTuple):
    """A transaction that was given up: of whom, and its first offset."""

    producer: int
    first: int


class Taken(NamedTuple):
    """Records of `FETCHED_SCHEMA`, and the offset behind all that was looked at."""

    records: pa.Table
    end: int


def records_of(data: memoryview, partition: int, offset: int, aborted: Sequence[Aborted] = ()) -> Taken:
    """The committed records from an offset on. Raises ValueError for what it does not know (an old format, snappy)."""
    batches, end = _batches(data, offset, aborted)
    found = _columns([batch for batch in batches if batch.rows], partition)
    below = int(np.searchsorted(found["offset"].to_numpy(), offset))
    return Taken(found.slice(below), end)


def _batches(data: memoryview, offset: int, aborted: Sequence[Aborted]) -> tuple[list[Batch], int]:
    """Whole batches that a reader of committed records sees, and the offset behind the last of all."""
    found, end, at = list[Batch](), offset, 0
    waiting, given_up = sorted(aborted, key=lambda one: one.first, reverse=True), set[int]()
    while len(data) - at >= _HEAD.size:
        base, length, _, magic, _, attributes, last, first, newest, producer, _, _, count = _HEAD.unpack_from(data, at)
        if magic != _MAGIC:
            raise ValueError(f"a batch of the format {magic}")
        if len(data) - at < _FRAME + length:
            break
        body, at = data[at + _HEAD.size : at + _FRAME + length], at + _FRAME + length
        end = base + last + 1
        while waiting and waiting[-1].first < end:
            given_up.add(waiting.pop().producer)
        if attributes & _CONTROL:
            given_up.discard(producer)  # whatever it says: this transaction is over
        elif end > offset and not (attributes & _TRANSACTIONAL and producer in given_up):
            appended = newest if attributes & _APPENDED else None
            found.append(Batch(base, first, appended, count, _unpacked(body, attributes & 7)))
    return found, end


def _unpacked(body: memoryview, codec: int) -> bytes:
    if codec not in _CODECS:
        raise ValueError(f"a batch that is packed in the way {codec}")
    if not codec:
        return bytes(body)
    with pa.input_stream(pa.py_buffer(body), compression=_CODECS[codec]) as stream:
        return stream.read()


def _columns(batches: Sequence[Batch], partition: int) -> pa.Table:
    if not batches:
        return FETCHED_SCHEMA.empty_table()
    raw = np.frombuffer(b"".join([*(batch.data for batch in batches), _PAD]), np.uint8)
    start, end = _bodies(batches)
    counts = [batch.rows for batch in batches]
    stamps, at = _varint(raw, start + 1)  # behind its attributes, which say nothing
    offsets, at = _varint(raw, at)
    key, at = _sized(raw, at)
    value, at = _sized(raw, at)
    headers = _headers(raw, at, end)
    first, base = (np.repeat([getattr(batch, name) for batch in batches], counts) for name in ("first", "base"))
    appended = np.repeat([-1 if batch.appended is None else batch.appended for batch in batches], counts)
    millis = np.where(np.repeat([batch.appended is not None for batch in batches], counts), appended, first + stamps)
    columns: list[Any] = [
        pa.array(np.full(len(start), partition, np.int32)), pa.array(base + offsets), binary(raw, key), binary(raw, value),
        _map(raw, headers), pa.array(millis * 1000).cast(pa.timestamp("us", "UTC")),
    ]  # fmt: skip
    return pa.Table.from_arrays(columns, schema=FETCHED_SCHEMA)


def _bodies(batches: Sequence[Batch]) -> tuple[Ints, Ints]:
    """Where each record begins, behind its length, and ends. Each length tells where the next is: one is passed at a time."""
    starts, ends, base = list[Ints](), list[Ints](), 0
    for batch in batches:
        begin, sizes = _walk(batch)
        starts.append(begin + base)
        ends.append(begin + sizes + base)
        base += len(batch.data)
    return np.concatenate(starts), np.concatenate(ends)


def _walk(batch: Batch) -> tuple[Ints, Ints]:
    """Where each record of a batch begins, and its size. Nearly all sizes have one or two bytes."""
    data, at = batch.data, 0
    starts, sizes = list[int](), list[int]()
    for _ in range(batch.rows):
        size = data[at]
        at += 1
        if size >= 0x80:
            more = data[at]
            at += 1
            size += (more << 7) - 0x80
            if more >= 0x80:
                size, at = _longer(data, at, size)
        starts.append(at)
        sizes.append(size)
        at += size >> 1
    if at != len(data):
        raise ValueError("a batch has more or fewer bytes than its records")
    return np.array(starts, np.int64), np.array(sizes, np.int64) >> 1


def _longer(data: bytes, at: int, size: int) -> tuple[int, int]:
    """A number of three bytes or more, of which two are read, and the place behind it."""
    shift = 14
    while True:
        size -= 0x80 << (shift - 7)
        byte = data[at]
        at += 1
        size += byte << shift
        if byte < 0x80:
            return size, at
        shift += 7


def _varint(raw: Bytes, at: Ints) -> tuple[Ints, Ints]:
    """A number at each place, and the places behind them."""
    held = raw[inside(raw, at)]
    values, behind = (held & 0x7F).astype(np.uint64), at + 1
    rest = np.flatnonzero(held >= 0x80)
    for step in range(1, _LONGEST):
        if not len(rest):
            break
        held = raw[inside(raw, at[rest] + step)]
        values[rest] |= (held & 0x7F).astype(np.uint64) << np.uint64(7 * step)
        behind[rest] += 1
        rest = rest[held >= 0x80]
    return (values >> np.uint64(1)).astype(np.int64) ^ -(values & np.uint64(1)).astype(np.int64), behind


def _sized(raw: Bytes, at: Ints) -> tuple[Slices, Ints]:
    """Bytes behind their length, which is -1 where there are none."""
    sizes, start = _varint(raw, at)
    end = start + np.maximum(sizes, 0)
    return Slices(start, end, sizes >= 0), end


def _headers(raw: Bytes, at: Ints, end: Ints) -> Headers:
    """The headers of all records, side by side; all of them must end where their record does."""
    counts, at = _varint(raw, at)
    if ((counts < 0) | (counts > end - at)).any():
        raise ValueError("a record has more headers than bytes")
    steps: list[tuple[Ints, Slices, Slices]] = []
    for step in range(int(counts.max(initial=0))):
        rows = np.flatnonzero(counts > step)
        name, behind = _sized(raw, at[rows])
        value, at[rows] = _sized(raw, behind)
        steps.append((rows, name, value))
    if (at != end).any():
        raise ValueError("a record has more or fewer bytes than its fields")
    return side_by_side(steps, counts, np.ones(len(counts), np.bool_))


def _map(raw: Bytes, headers: Headers) -> Any:
    ends: Any = pa.array(np.append(0, np.cumsum(headers.counts)), pa.int32())
    return pa.MapArray.from_arrays(ends, texts(binary(raw, headers.names)), binary(raw, headers.values))


__all__ = ["Aborted", "Taken", "records_of"]
