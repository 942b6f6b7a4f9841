"""Records as AMQP 1.0 messages, by column: what Java, Go, .NET and Python clients of streams read.

| record | message |
|---|---|
| `key` | application property `bv-key`, binary |
| `headers` | application properties, in their order: strings where all values of a batch are UTF-8, else binary |
| `timestamp` | property `creation-time`, to the millisecond |
| `value` | one data section; a tombstone has the AMQP value null |

AMQP's maps cannot repeat a name. The second and later values of a name go under `bv-again:<n>:<name>`, and are put back
when BitVelocity reads. Layout: OASIS AMQP 1.0, part 1 (types) and part 3 (messaging format).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

KEY = "bv-key"
AGAIN = "bv-again:"
STAMPED = b"\x00\x53\x73\xc0\x13\x0a" + b"\x40" * 9 + b"\x83"
"""Properties up to the tenth field, `creation-time`; eight bytes of milliseconds follow."""
PLAIN = b"\x00\x53\x73\x45"
"""Properties without a field: what a record without a timestamp has."""
NAMED = b"\x00\x53\x74\xd1"
"""Application properties as a map of 32-bit lengths."""
DATA = b"\x00\x53\x75\xb0"
NULL = b"\x00\x53\x77\x40"

Binary: TypeAlias = Any
"""An Arrow array of bytes; the stubs of pyarrow know less of it than it can."""


def encode(records: pa.Table) -> Binary:
    """One message for each row of `RECORD_SCHEMA`; large binary, since a table may have more than 2 GB."""
    table = records.combine_chunks()
    if not table.num_rows:
        return pa.array([], pa.large_binary())
    key, value, headers, stamps = (_column(table, name) for name in ("key", "value", "headers", "timestamp"))
    sections = [_properties(stamps), _application(headers, key), _body(value)]
    return pc.binary_join_element_wise(*sections, pa.scalar(b"", pa.large_binary()))


def big_endian(numbers: npt.NDArray[Any], form: str) -> Binary:
    """Numbers as bytes of a fixed width, ready to be joined."""
    raw = np.ascontiguousarray(numbers.astype(form))
    width = raw.dtype.itemsize
    ends = np.arange(0, (len(raw) + 1) * width, width, dtype=np.int64)
    return pa.Array.from_buffers(
        pa.large_binary(), len(raw), [None, pa.py_buffer(ends.tobytes()), pa.py_buffer(raw.tobytes())]
    )


def lengths(values: Binary) -> npt.NDArray[np.int64]:
    """Bytes of each value; 0 for NULL."""
    found: Any = pc.binary_length(values)
    return np.asarray(pc.fill_null(found, 0)).astype(np.int64)


def _column(table: pa.Table, name: str) -> Binary:
    chunks = table[name].chunks
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _properties(stamps: Binary) -> Binary:
    micros: Any = stamps.cast(pa.int64())
    millis = np.asarray(pc.fill_null(micros, 0)) // 1000
    stamped = join(STAMPED, big_endian(millis, ">i8"))
    return pc.if_else(stamps.is_valid(), stamped, pa.scalar(PLAIN, pa.large_binary()))


def _application(headers: Binary, key: Binary) -> Binary:
    """The map of each record: its key, then its headers."""
    items, counts = _headers(headers)
    has_key = np.asarray(key.is_valid())
    key_item = join(_name(KEY.encode()), b"\xb0", big_endian(lengths(key), ">u4"), key.cast(pa.large_binary()))
    content = join(pc.if_else(pa.array(has_key), key_item, pa.scalar(b"", pa.large_binary())), items)
    size = big_endian(lengths(content) + 4, ">u4")
    return join(NAMED, size, big_endian((counts + has_key) * 2, ">u4"), content)


def _headers(headers: Binary) -> tuple[Binary, npt.NDArray[np.int64]]:
    """The items of each record's headers, joined, and how many there are."""
    listed: Any = _as_list(headers)
    lengths_of: Any = pc.list_value_length(listed)
    counts = np.asarray(pc.fill_null(lengths_of, 0)).astype(np.int64)
    if not counts.sum():
        return pa.array([b""] * len(headers), pa.large_binary()), counts
    flat: Any = pc.list_flatten(listed)
    names, values = flat.field(0), flat.field(1)
    names = _told_apart(names, counts)
    raw = names.cast(pa.binary()).cast(pa.large_binary())
    items = join(b"\xb1", big_endian(lengths(raw), ">u4"), raw, _header_values(names, values))
    ends = np.concatenate([[0], np.cumsum(counts)])
    lists = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), items)
    return pc.binary_join(lists, pa.scalar(b"", pa.large_binary())), counts


def _as_list(headers: Binary) -> Binary:
    return headers.cast(pa.list_(pa.struct([("key", pa.string()), ("value", pa.binary())])))


def _told_apart(names: Binary, counts: npt.NDArray[np.int64]) -> Binary:
    """Names with the later ones of a repeated name marked, which is rare: only then row by row."""
    record = np.repeat(np.arange(len(counts)), counts)
    codes = pc.dictionary_encode(names).indices.to_numpy(zero_copy_only=False).astype(np.int64)
    pair = record * (int(codes.max()) + 1) + codes
    _, first, where = np.unique(pair, return_index=True, return_inverse=True)
    if len(first) == len(pair):
        return names
    words, seen = names.to_pylist(), np.zeros(len(first), np.int64)
    for at, group in enumerate(where.tolist()):
        if seen[group]:
            words[at] = f"{AGAIN}{seen[group]}:{words[at]}"
        seen[group] += 1
    return pa.array(words, pa.string())


def _header_values(names: Binary, values: Binary) -> Binary:
    """Constructor, length and bytes of each value."""
    try:
        values.cast(pa.string()).validate(full=True)
        kind = pa.scalar(b"\xb1", pa.large_binary())
    except pa.ArrowInvalid:
        kind = _kinds(names, values)
    filled = join(kind, big_endian(lengths(values), ">u4"), values.cast(pa.large_binary()))
    return pc.if_else(values.is_valid(), filled, pa.scalar(b"\x40", pa.large_binary()))


def _kinds(names: Binary, values: Binary) -> Binary:
    """Text or binary, decided for each name: a few of them."""
    binary = []
    for name in pc.unique(names).to_pylist():
        try:
            values.filter(pc.equal(names, name)).cast(pa.string()).validate(full=True)
        except pa.ArrowInvalid:
            binary.append(name)
    found = pc.is_in(names, value_set=pa.array(binary, pa.string()))
    return pc.if_else(found, pa.scalar(b"\xb0", pa.large_binary()), pa.scalar(b"\xb1", pa.large_binary()))


def _body(value: Binary) -> Binary:
    filled = join(DATA, big_endian(lengths(value), ">u4"), value.cast(pa.large_binary()))
    return pc.if_else(value.is_valid(), filled, pa.scalar(NULL, pa.large_binary()))


def _name(name: bytes) -> bytes:
    return b"\xa1" + bytes([len(name)]) + name


def join(*parts: Any) -> Binary:
    """Parts put together row by row; NULL counts as nothing."""
    words = [pa.scalar(part, pa.large_binary()) if isinstance(part, bytes) else part for part in parts]
    options = pc.JoinOptions(null_handling="replace", null_replacement="")
    return pc.binary_join_element_wise(*words, pa.scalar(b"", pa.large_binary()), options=options)
