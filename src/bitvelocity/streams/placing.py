"""Where a record goes: the partition of its key, and the place that it has in its source, by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import BusError
from .bus import PLACE_HEADER, RECORD_SCHEMA, Place

_SEED, _MIX, _SHIFT = np.uint32(0x9747B28C), np.uint32(0x5BD1E995), np.uint32(24)
_STEP_BIAS = 128
_PLACE_DIGITS = (16, 8, 2)

Words = npt.NDArray[np.uint32]


def partition_of(keys: pa.ChunkedArray[Any] | pa.Array[Any], partitions: int) -> npt.NDArray[np.int32]:
    """The partition of each key (binary), as Java's Kafka client chooses it: murmur2, its sign bit cut off.

    Records without a key go to partition 0, so that they keep their order too.
    Source: `org.apache.kafka.common.utils.Utils.murmur2`, `BuiltInPartitioner.partitionForKey`.
    """
    array = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys
    if partitions == 1 or not len(array):
        return np.zeros(len(array), np.int32)
    found = (_murmur2(array) & np.uint32(0x7FFFFFFF)) % np.uint32(partitions)
    found[np.asarray(pc.is_null(array))] = 0
    return found.astype(np.int32)


def place_text(
    lsn: npt.NDArray[np.int64], ordinal: npt.NDArray[np.int32], step: npt.NDArray[np.int8]
) -> pa.Array[Any]:
    """Places as 26 hexadecimal digits each; as text they stand in the order of the places."""
    raw = place_bytes(lsn, ordinal, step)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.stack([digits[raw >> 4], digits[raw & 15]], axis=2).reshape(len(lsn), sum(_PLACE_DIGITS))
    width = sum(_PLACE_DIGITS)
    fixed = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(width), len(lsn), [None, pa.py_buffer(text.tobytes())]
    )
    return fixed.cast(pa.binary()).cast(pa.string())


def place_bytes(
    lsn: npt.NDArray[np.int64], ordinal: npt.NDArray[np.int32], step: npt.NDArray[np.int8]
) -> npt.NDArray[np.uint8]:
    """Places as 13 bytes each, a row of them for each; as bytes they stand in the order of the places."""
    parts = (lsn.astype(">u8"), ordinal.astype(">u4"), (step.astype(np.int16) + _STEP_BIAS).astype(np.uint8))
    return np.concatenate([part.reshape(-1, 1).view(np.uint8) for part in parts], axis=1)


def with_places(table: pa.Table) -> pa.Table:
    """Rows of `PLACED_SCHEMA` as records, each with its place as its last header."""
    lsn, ordinal, step = (table[name].to_numpy() for name in ("lsn", "ordinal", "step"))
    places = place_text(lsn, ordinal, step).cast(pa.binary())
    headers = with_header(table["headers"].combine_chunks(), PLACE_HEADER, places)
    columns = [headers if name == "headers" else table[name] for name in RECORD_SCHEMA.names]
    return pa.Table.from_arrays(columns, schema=RECORD_SCHEMA)


def with_header(headers: Any, name: str, values: pa.Array[Any]) -> pa.Array[Any]:
    """Each row's headers with one more at their end."""
    rows = headers.cast(_HEADERS)
    kept = pc.list_flatten(rows)
    ends = np.cumsum(np.asarray(pc.fill_null(pc.list_value_length(rows), 0)) + 1)
    added = np.zeros(int(ends[-1]) if len(ends) else 0, bool)
    added[ends - 1] = True
    source = pa.array(np.where(added, len(kept) + np.cumsum(added), np.cumsum(~added)) - 1, pa.int64())
    keys = pa.concat_arrays([kept.field(0), pa.repeat(pa.scalar(name), len(rows))])
    items = pa.concat_arrays([kept.field(1), values])
    offsets: Any = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return pa.MapArray.from_arrays(offsets, keys.take(source), items.take(source))


_HEADERS: Any = pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())]))


def check_order(topic: str, table: pa.Table) -> None:
    """Places that fall would be dropped as repeats, in silence."""
    columns = [table[name].to_numpy() for name in ("lsn", "ordinal", "step")]
    falls = np.zeros(max(0, table.num_rows - 1), bool)
    level = ~falls
    for column in columns:
        falls |= level & (column[1:] < column[:-1])
        level &= column[1:] == column[:-1]
    if falls.any():
        row = int(np.flatnonzero(falls)[0]) + 1
        raise BusError(
            f"Row {row} has a lower place than the row before it.", entity=topic,
            safe="Nothing of this call was written.", remedy="Publish rows in the order of their places.",
        )  # fmt: skip


def parse_place(text: str | bytes) -> Place:
    """The inverse of `place_text`, for one. Raises ValueError for anything else."""
    word = text.decode("ascii") if isinstance(text, bytes) else text
    if len(word) != sum(_PLACE_DIGITS):
        raise ValueError(f"{word!r} is no place")
    return Place(int(word[:16], 16), int(word[16:24], 16), int(word[24:], 16) - _STEP_BIAS)


class Places(NamedTuple):
    """A place for each of some records, by column."""

    lsn: npt.NDArray[np.int64]
    ordinal: npt.NDArray[np.int32]
    step: npt.NDArray[np.int8]

    @classmethod
    def joined(cls, parts: Sequence[Places]) -> Places:
        return cls(*(np.concatenate([part[at] for part in parts]) for at in range(3)))

    def part(self, begin: int, end: int) -> Places:
        return Places(self.lsn[begin:end], self.ordinal[begin:end], self.step[begin:end])


def located(records: pa.Table) -> tuple[npt.NDArray[np.bool_], Places]:
    """Which records have exactly one header with a place (those that a publisher wrote), and the places of these."""
    texts, of = header_values(records, PLACE_HEADER)
    good = np.asarray(pc.binary_length(texts)) == sum(_PLACE_DIGITS)
    all_of_it, whole = (np.bincount(which, minlength=records.num_rows) for which in (of, of[good]))
    ours: npt.NDArray[np.bool_] = (all_of_it == 1) & (whole == 1)
    return ours, _parsed(texts if ours.all() else texts.filter(pa.array(ours[of])))


def places_of(records: pa.Table) -> Places:
    """The place of each record; all must have one."""
    return _parsed(header_values(records, PLACE_HEADER)[0])


def _parsed(texts: Any) -> Places:
    width = sum(_PLACE_DIGITS)
    fixed = texts.cast(pa.binary(width))
    content = np.frombuffer(fixed.buffers()[1] or b"", np.uint8)
    digits = content[fixed.offset * width : (fixed.offset + len(fixed)) * width].reshape(-1, width)
    nibbles = np.where(digits >= ord("a"), digits - ord("a") + 10, digits - ord("0")).astype(np.uint8)
    return parsed_bytes((nibbles[:, ::2] << 4 | nibbles[:, 1::2]).astype(np.uint8))


def parsed_bytes(whole: npt.NDArray[np.uint8]) -> Places:
    """The inverse of `place_bytes`."""
    lsn = whole[:, :8].copy().view(">u8").ravel().astype(np.int64)
    ordinal = whole[:, 8:12].copy().view(">u4").ravel().astype(np.int32)
    return Places(lsn, ordinal, (whole[:, 12].astype(np.int16) - _STEP_BIAS).astype(np.int8))


def header_values(records: pa.Table, name: str) -> tuple[Any, npt.NDArray[np.int64]]:
    """The values of all headers of a name, and the row of each."""
    headers: Any = records["headers"].combine_chunks()
    offsets = headers.offsets.to_numpy().astype(np.int64)
    first, end = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    at = np.flatnonzero(pc.equal(headers.keys.slice(first, end - first), pa.scalar(name)))
    offsets -= first
    one_each = len(at) == len(headers) and bool(((at >= offsets[:-1]) & (at < offsets[1:])).all())
    of = np.arange(len(at)) if one_each else np.searchsorted(offsets, at, side="right") - 1
    return headers.items.slice(first, end - first).take(pa.array(at)), of


def above(table: pa.Table, place: Place | None) -> pa.Table:
    """The rows of a table with `lsn`, `ordinal` and `step`, in their order, that stand above `place`."""
    if place is None or not table.num_rows:
        return table
    columns = [table[name].to_numpy() for name in ("lsn", "ordinal", "step")]
    first = 0
    low, high = 0, table.num_rows
    for column, value in zip(columns, place, strict=True):  # narrow down to the rows that are equal so far
        part = column[low:high]
        first = low + int(np.searchsorted(part, value, side="right"))
        low, high = low + int(np.searchsorted(part, value, side="left")), first
        if low == high:
            first = low
            break
    return table.slice(first)


def _murmur2(keys: pa.Array[Any]) -> Words:
    """Four bytes of all keys at a time: as many steps as the longest key has words."""
    _, ends, content = keys.buffers()
    offsets = np.frombuffer(ends.to_pybytes() if ends else bytes(4), np.int32)[
        keys.offset : keys.offset + len(keys) + 1
    ]
    at, length = offsets[:-1].astype(np.int64), np.diff(offsets)
    data = np.frombuffer((content.to_pybytes() if content else b"") + bytes(4), np.uint8)
    hashes: Words = _SEED ^ length.astype(np.uint32)
    with np.errstate(over="ignore"):
        for word in range(int(length.max(initial=0)) // 4):
            rows = np.flatnonzero(length >= 4 * (word + 1))
            mixed = _word(data, at[rows] + 4 * word) * _MIX
            mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX
            hashes[rows] = (hashes[rows] * _MIX) ^ mixed
        return _finish(hashes, data, at + length // 4 * 4, length % 4)


def _finish(
    hashes: Words, data: npt.NDArray[np.uint8], at: npt.NDArray[np.int64], left: npt.NDArray[np.int32]
) -> Words:
    """The one to three bytes after the last whole word."""
    for byte in (2, 1, 0):
        rows = np.flatnonzero(left > byte)
        hashes[rows] ^= data[at[rows] + byte].astype(np.uint32) << np.uint32(8 * byte)
    rows = np.flatnonzero(left > 0)
    hashes[rows] *= _MIX
    hashes = (hashes ^ (hashes >> np.uint32(13))) * _MIX
    return hashes ^ (hashes >> np.uint32(15))


def _word(data: npt.NDArray[np.uint8], at: npt.NDArray[np.int64]) -> Words:
    """Little-endian words at some offsets."""
    word = np.zeros(len(at), np.uint32)
    for byte in range(4):
        word |= data[at + byte].astype(np.uint32) << np.uint32(8 * byte)
    return word
