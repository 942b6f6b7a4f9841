"""Parts of one buffer as columns: records that were found in it become Arrow arrays without a copy for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Column: TypeAlias = "pa.Array[Any]"


@dataclass(frozen=True, slots=True)
class Slices:
    """Parts of one buffer: where each begins and ends, and whether it is there at all."""

    start: Ints
    end: Ints
    valid: Bools


@dataclass(frozen=True, slots=True)
class Headers:
    """All headers of all records: `counts` of each record, and the names and values one after another."""

    counts: Ints
    names: Slices
    values: Slices


def side_by_side(steps: Sequence[tuple[Ints, Slices, Slices]], counts: Ints, good: Bools) -> Headers:
    """Headers in order of their records, from those in order of their places: the first of all records that have one, ..."""
    if not steps:
        nothing = Slices(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.bool_))
        return Headers(counts[good], nothing, nothing)
    order = _by_record([rows for rows, _, _ in steps])
    if not good.all():
        order = order[good[np.concatenate([rows for rows, _, _ in steps])[order]]]
    names, values = (gathered([step[at] for step in steps], order) for at in (1, 2))
    return Headers(counts[good], names, values)


def _by_record(steps: Sequence[Ints]) -> Ints:
    """Where each record's headers are among all steps. Mostly every record has as many."""
    if all(len(rows) == len(steps[0]) for rows in steps):  # a step's rows are some of those of the step before
        return np.arange(len(steps) * len(steps[0])).reshape(len(steps), -1).T.ravel()
    return np.argsort(np.concatenate(steps), kind="stable")


def gathered(parts: Sequence[Any], order: Ints) -> Slices:
    """Parts of several sequences, in this order."""
    start, end, valid = (
        np.concatenate([getattr(part, field) for part in parts])[order] for field in ("start", "end", "valid")
    )
    return Slices(start, end, valid)


def texts(raw: Column) -> Column:
    """As text; bytes that are none are marked in it."""
    try:
        names = raw.cast(pa.string())
        names.validate(full=True)
    except pa.ArrowInvalid:  # a foreign client's; it must not stop us
        return pa.array([(name or b"").decode("utf-8", "replace") for name in raw.to_pylist()], pa.string())
    return names


def same_names(names: Sequence[str], rows: int, values: Column) -> Column:
    """Headers of records that all have these names, as a column; `values` are those of all records."""
    each = len(names)
    ends: Any = pa.array(np.arange(0, rows * each + 1, each) if each else np.zeros(rows + 1), pa.int32())
    return pa.MapArray.from_arrays(ends, _repeated([name.encode() for name in names], rows), values)


def _repeated(words: Sequence[bytes], times: int) -> Column:
    """The words, so many times, as text."""
    stops = np.cumsum([len(word) for word in words], dtype=np.int32)
    total = int(stops[-1]) if len(stops) else 0
    ends = np.zeros(len(words) * times + 1, np.int32)
    ends[1:] = (np.arange(times, dtype=np.int32)[:, None] * total + stops).ravel()
    buffers: list[Any] = [None, pa.py_buffer(ends.data), pa.py_buffer(b"".join(words) * times)]
    return pa.Array.from_buffers(pa.string(), len(ends) - 1, buffers)


def binary(raw: Bytes, parts: Slices) -> Column:
    """The bytes of each part. As values and the gaps between them they are one array; the gaps are then left out."""
    small = len(raw) < 1 << 31
    ends = np.empty(2 * len(parts.start) + 1, np.int32 if small else np.int64)
    ends[0:-1:2], ends[1::2], ends[-1] = parts.start, parts.end, len(raw)
    buffers: list[Any] = [None, pa.py_buffer(ends.data), pa.py_buffer(raw.data)]
    whole = pa.Array.from_buffers(pa.binary() if small else pa.large_binary(), 2 * len(parts.start), buffers)
    mask = None if parts.valid.all() else ~parts.valid
    found = whole.take(pa.array(np.arange(0, 2 * len(parts.start), 2), pa.int64(), mask=mask))
    return found if small else found.cast(pa.binary())


def inside(raw: Bytes, at: Ints) -> Ints:
    """Places in the buffer: what lies behind its end is its last byte, and found wrong later."""
    return np.minimum(at, len(raw) - 1)


def has(raw: Bytes, at: Ints, word: bytes) -> Bools:
    """The word stands there. What is behind the end is compared with what is before it, and found wrong later."""
    same: Bools = _everywhere(raw, at, f"V{len(word)}") == np.frombuffer(word, f"V{len(word)}")
    return same


def wide(raw: Bytes, at: Ints, kind: str) -> Ints:
    """Numbers of several bytes, which may begin anywhere. What is far behind the end is anything."""
    return _everywhere(raw, at, kind).astype(np.int64)


def _everywhere(raw: Bytes, at: Ints, kind: str) -> npt.NDArray[Any]:
    """What stands at these places, which need no alignment. The buffer is at least that long."""
    width = np.dtype(kind).itemsize
    places: npt.NDArray[Any] = np.ndarray(len(raw) - width + 1, kind, raw.data, strides=(1,))
    return places[np.minimum(at, len(places) - 1)]
