"""Chunks of a stream as records, by column: our own messages at once, those of other clients one by one."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..bus import RECORD_SCHEMA
from ..slices import (
    Bools,
    Bytes,
    Headers,
    Ints,
    Slices,
    binary,
    gathered,
    has,
    inside,
    side_by_side,
    texts,
    wide,
)
from .alike import alike
from .amqp10 import Foreign, read_message
from .encoding import AGAIN, DATA, KEY, NAMED, NULL, PLAIN, STAMPED, Binary
from .frames import Chunk

FENCE = "bv-fence"
"""Header of a record by which a publisher shuts its predecessor out; it is no record of the topic."""
CODECS: dict[int, Any] = {1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
PAD = bytes(32)
NOTHING = 0x40
_NAMES, _VALUES = (np.isin(np.arange(256), kinds) for kinds in ((0xA1, 0xB1), (NOTHING, 0xA0, 0xA1, 0xB0, 0xB1)))
"""Constructors of AMQP 1.0 by which we write them."""


def decode(chunks: Sequence[Chunk], floor: int = 0) -> pa.Table:
    """Records of chunks: `offset`, then the columns of `RECORD_SCHEMA`. Fences are left out, and what is below `floor`.

    Many chunks at once are much cheaper than one after the other.
    """
    data, start, end, offsets, times = _entries(chunks, floor)
    raw = np.frombuffer(data, np.uint8)
    table, ours = _ours(raw, start, end, times)
    if not ours.all():
        others = [data[s:e] for s, e in zip(start[~ours], end[~ours], strict=True)]
        table = _with_foreign(table, others, ours, times[~ours])
    return _without_fences(table.add_column(0, "offset", pa.array(offsets, pa.int64())))


def _entries(chunks: Sequence[Chunk], floor: int) -> tuple[bytes, Ints, Ints, Ints, Ints]:
    """All bytes, and some behind them; where each message lies in them, from its beginning to its end; its offset; when its chunk came."""
    parts: list[bytes | memoryview] = []
    found: list[tuple[Ints, Ints, Ints, Ints]] = []
    base = 0
    for chunk in chunks:
        data, start, end = _messages(chunk)
        offsets = np.arange(chunk.offset, chunk.offset + len(start))
        kept = slice(max(0, floor - chunk.offset), None)
        found.append((start[kept] + base, end[kept] + base, offsets[kept], np.full(len(start), chunk.time)[kept]))
        floor = max(floor, chunk.end)
        parts.append(data)
        base += len(data)
    if not found:
        nothing = np.zeros(0, np.int64)
        return PAD, nothing, nothing, nothing, nothing
    starts, ends, offsets, times = (np.concatenate(column) for column in zip(*found, strict=True))
    return b"".join([*parts, PAD]), starts, ends, offsets, times


def _messages(chunk: Chunk) -> tuple[bytes | memoryview, Ints, Ints]:
    """Where each message lies. What begins with a length of its highest bit set holds several."""
    try:
        start, end = _walked(chunk.data, chunk.entries)
    except struct.error:
        return _batched(chunk)
    if len(end) and end[-1] > len(chunk.data):
        return _batched(chunk)
    return chunk.data, start, end


def _walked(data: bytes | memoryview, entries: int) -> tuple[Ints, Ints]:
    """Where each entry begins behind its length, and ends. Each length tells where the next one is: one is passed at a time."""
    length, at = struct.Struct("!I").unpack_from, 0
    ends = np.array([0, *[at := at + 4 + length(data, at)[0] for _ in range(entries)]], np.int64)
    return ends[:-1] + 4, ends[1:]


def _batched(chunk: Chunk) -> tuple[bytes | memoryview, Ints, Ints]:
    """Entries that hold several messages, perhaps compressed, as other clients may write them."""
    data, at, found = bytes(chunk.data), 0, []
    for _ in range(chunk.entries):
        (length,) = struct.unpack_from("!I", data, at)
        if not length & 0x8000_0000:
            found.append(data[at : at + 4 + length])
            at += 4 + length
            continue
        codec, (whole, packed) = (data[at] & 0x70) >> 4, struct.unpack_from("!II", data, at + 3)
        part = data[at + 11 : at + 11 + packed]
        found.append(pa.Codec(CODECS[codec]).decompress(part, whole, asbytes=True) if codec else part)
        at += 11 + packed
    content = b"".join(found)
    return content, *_walked(content, chunk.records)


def _ours(raw: Bytes, start: Ints, end: Ints, times: Ints) -> tuple[pa.Table, Bools]:
    """The records that have our layout, and which those are."""
    stamped = has(raw, start, STAMPED)
    plain = np.zeros(len(start), np.bool_) if stamped.all() else has(raw, start, PLAIN)
    named = start + np.where(stamped, len(STAMPED) + 8, len(PLAIN))
    body = named + 8 + wide(raw, named + 4, ">u4")
    data, null = has(raw, body, DATA), has(raw, body, NULL)
    ours = (stamped | plain) & has(raw, named, NAMED)
    ours &= (data & (body + 8 + wide(raw, body + 4, ">u4") == end)) | (null & (body + 4 == end))
    keys, maps, good = _keyed(raw, named[ours], body[ours])
    ours[np.flatnonzero(ours)[~good]] = False
    rows = np.flatnonzero(ours)
    value = Slices(body[rows] + 8, end[rows], data[rows])
    millis = np.where(stamped[rows], wide(raw, start[rows] + len(STAMPED), ">i8"), times[rows])
    return pa.table([keys, binary(raw, value), maps, _stamps(millis)], schema=RECORD_SCHEMA), ours


def _keyed(raw: Bytes, named: Ints, body: Ints) -> tuple[Binary, Binary, Bools]:
    """Keys and headers of those whose maps can be read, and which those are."""
    if (same := alike(raw, named, body)) is not None:
        return binary(raw, same.key), same.maps(len(named), binary(raw, same.values)), np.ones(len(named), np.bool_)
    headers, good = _headers(raw, named, body)
    keys, headers = _key_apart(raw, headers)
    return binary(raw, keys), _maps(raw, headers), good


def _headers(raw: Bytes, named: Ints, body: Ints) -> tuple[Headers, Bools]:
    """Walk through the maps of all records side by side; which records could be read so."""
    counts = wide(raw, named + 8, ">u4") // 2
    good = counts <= 255
    at, steps = named + 12, []
    for step in range(int(counts[good].max(initial=0))):
        rows = np.flatnonzero(good & (counts > step))
        name, value, known = _item(raw, at[rows])
        known &= value.end <= body[rows]
        good[rows[~known]] = False
        at[rows] = value.end
        steps.append((rows, name, value))
    good &= at == body
    return side_by_side(steps, np.where(good, counts, 0), good), good


def _item(raw: Bytes, at: Ints) -> tuple[Slices, Slices, Bools]:
    """One name and its value in each of some maps, and whether they are of kinds that we write."""
    name, kind = _sized(raw, at)
    known = _NAMES[kind]
    value, kind = _sized(raw, name.end)
    known &= _VALUES[kind]
    null = kind == NOTHING
    if null.any():
        nothing = name.end + 1
        value = Slices(np.where(null, nothing, value.start), np.where(null, nothing, value.end), ~null)
    return name, value, known


def _sized(raw: Bytes, at: Ints) -> tuple[Slices, Bytes]:
    """Text or bytes with a length of one or of four bytes before them, and the constructor that tells which."""
    kind = raw[inside(raw, at)]
    small, length = kind < 0xB0, raw[inside(raw, at + 1)].astype(np.int64)
    start = at + 2
    if not small.all():
        start, length = at + np.where(small, 2, 5), np.where(small, length, wide(raw, at + 1, ">u4"))
    return Slices(start, start + length, np.ones(len(at), np.bool_)), kind


def _key_apart(raw: Bytes, headers: Headers) -> tuple[Slices, Headers]:
    """The key, which is a record's first header with that name, and the other headers."""
    names = headers.names
    first = np.cumsum(headers.counts) - headers.counts
    some = headers.counts > 0
    at = first[some]
    is_key = (names.end[at] - names.start[at] == len(KEY)) & has(raw, names.start[at], KEY.encode())
    found = np.zeros(len(headers.counts), np.bool_)
    found[some] = is_key
    start, end = (np.zeros(len(found), np.int64) for _ in range(2))
    start[found], end[found] = headers.values.start[first[found]], headers.values.end[first[found]]
    rest = np.ones(len(names.start), np.bool_)
    rest[first[found]] = False
    return Slices(start, end, found), Headers(
        headers.counts - found, *(gathered([part], np.flatnonzero(rest)) for part in (names, headers.values))
    )


def _maps(raw: Bytes, headers: Headers) -> Binary:
    names = texts(binary(raw, headers.names))
    if len(names) and pc.any(pc.starts_with(names, AGAIN)).as_py():
        names = pc.replace_substring_regex(names, f"^{AGAIN}[0-9]+:", "")
    ends: Any = pa.array(np.concatenate([[0], np.cumsum(headers.counts)]), pa.int32())
    return pa.MapArray.from_arrays(ends, names, binary(raw, headers.values))


def _stamps(millis: Ints) -> Binary:
    return pa.array(millis * 1000, pa.int64()).cast(pa.timestamp("us", "UTC"))


def _with_foreign(ours: pa.Table, messages: Sequence[bytes], mask: Bools, times: Ints) -> pa.Table:
    """Our records and those of others, in the order in which they were."""
    found: list[Foreign] = [
        read_message(message, int(time)) for message, time in zip(messages, times, strict=True)
    ]
    others = pa.table(
        [[getattr(record, name) for record in found] for name in ("key", "value", "headers")]
        + [_stamps(np.array([record.millis for record in found], np.int64))],
        schema=RECORD_SCHEMA,
    )
    place = np.concatenate([np.flatnonzero(mask), np.flatnonzero(~mask)])
    return pa.concat_tables([ours, others]).take(np.argsort(place))


def _without_fences(table: pa.Table) -> pa.Table:
    headers: Any = table["headers"].combine_chunks()
    fence = pc.equal(headers.keys, pa.scalar(FENCE))
    if not len(fence) or not pc.any(fence).as_py():
        return table
    record = np.repeat(np.arange(len(headers)), np.diff(np.asarray(headers.offsets)))
    kept = np.ones(table.num_rows, np.bool_)
    kept[record[np.asarray(fence)]] = False
    return table.filter(pa.array(kept))
