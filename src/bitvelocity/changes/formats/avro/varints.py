"""Avro's numbers, a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Bytes: TypeAlias = "pa.Array[Any]"
"""A column of byte strings: `large_binary`."""
Valid: TypeAlias = "npt.NDArray[np.bool_] | None"
"""Which rows have a value; None: all."""

BINARY = pa.large_binary()
_KNOWN = 4096
_NUMBERS = np.dtype(np.uint64)


def varint(number: int) -> bytes:
    """One number: zigzag, then seven bits to the byte, the lowest first."""
    rest = (number << 1) ^ (number >> 63)
    found = bytearray()
    while rest > 0x7F:
        found.append(rest & 0x7F | 0x80)
        rest >>= 7
    found.append(rest)
    return bytes(found)


def varints(numbers: npt.NDArray[np.int64], valid: Valid = None) -> Bytes:
    """Every number as Avro writes an int or a long; nothing at all where there is no value."""
    return sevens(((numbers << 1) ^ (numbers >> 63)).view(np.uint64), valid)


def sevens(numbers: npt.NDArray[np.uint64], valid: Valid = None) -> Bytes:
    """Every number in groups of seven bits, the lowest first; all bytes but the last have their high bit set."""
    width = max(1, (int(numbers.max(initial=0)).bit_length() + 6) // 7)
    sizes = np.ones(len(numbers), np.int64)
    for step in range(1, width):
        sizes += numbers >= _NUMBERS.type(1 << (7 * step))
    raw = np.empty((len(numbers), width), np.uint8)
    for step in range(width):
        raw[:, step] = (numbers >> _NUMBERS.type(7 * step)).astype(np.uint8) & 0x7F
        raw[:, step] |= (sizes > step + 1).astype(np.uint8) << 7
    if valid is not None:
        sizes[~valid] = 0
    return ragged(raw, sizes)


def ragged(raw: npt.NDArray[np.uint8], sizes: npt.NDArray[np.int64]) -> Bytes:
    """The first `sizes` bytes of each row of `raw`."""
    width = raw.shape[1] if len(raw) else 0
    if not len(sizes) or bool((sizes == width).all()):
        return binary(np.ascontiguousarray(raw), np.arange(len(sizes) + 1, dtype=np.int64) * width)
    return binary(raw[np.arange(width) < sizes[:, None]], np.append(0, np.cumsum(sizes)))


def fixed(values: npt.NDArray[Any], valid: Valid = None) -> Bytes:
    """Values of one width, their bytes as they lie in memory."""
    raw = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), values.dtype.itemsize)
    sizes = np.full(len(values), values.dtype.itemsize, np.int64)
    if valid is not None:
        sizes[~valid] = 0
    return ragged(raw, sizes)


def binary(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Bytes:
    """A column of byte strings over these bytes."""
    buffers = [
        None,
        pa.py_buffer(offsets.astype(np.int64, copy=False).data),
        pa.py_buffer(data.data if data.size else b""),
    ]
    made: Bytes = pa.Array.from_buffers(BINARY, len(offsets) - 1, buffers)
    return made


@lru_cache(maxsize=64)
def _lengths(head: bytes, count: int, *, tagged: bool) -> Bytes:
    return pa.array([head + (varint(n) if tagged else unsigned(n)) for n in range(count)], BINARY)


def unsigned(number: int) -> bytes:
    """One number without zigzag, as Protobuf writes lengths."""
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def lengths(head: bytes, sizes: npt.NDArray[np.int64], *, zigzag: bool = True) -> Bytes:
    """`head` and a length for each row; a negative size gives nothing."""
    most = int(sizes.max(initial=0))
    if most < _KNOWN:
        known = _lengths(head, 128 if most < 128 else _KNOWN, tagged=zigzag)
        return pick(pa.concat_arrays([known, pa.array([b""], BINARY)]), np.where(sizes < 0, len(known), sizes))
    distinct, which = np.unique(sizes, return_inverse=True)
    coded = [b"" if n < 0 else head + (varint(int(n)) if zigzag else unsigned(int(n))) for n in distinct]
    return pick(coded, which)


def pick(known: Sequence[bytes] | Bytes, which: npt.NDArray[Any]) -> Bytes:
    """For each row one of a few."""
    held: Any = known if isinstance(known, pa.Array) else pa.array(known, BINARY)
    found: Bytes = held.take(pa.array(which, pa.int64()))
    return found


def glued(*columns: Any) -> Bytes:
    """The columns of each row behind each other; what is NULL adds nothing."""
    found: Bytes = pc.binary_join_element_wise(*columns, pa.scalar(b"", BINARY), null_handling="skip")
    return found


def only(which: npt.NDArray[np.bool_], values: Bytes) -> Bytes:
    """NULL where it is not one of these."""
    found: Bytes = pc.if_else(pa.array(which, pa.bool_()), values, pa.scalar(None, BINARY))
    return found


__all__ = [
    "BINARY", "Bytes", "Valid", "binary", "fixed", "glued", "lengths", "only", "pick", "ragged", "sevens", "unsigned",
    "varint", "varints",
]  # fmt: skip
