"""Printed arrays of PostgreSQL to lists, all values of a column at once.

`{1,NULL,"a \\"b\\""}` is a list of three. What a list cannot hold is NULL here: arrays of more dimensions
(`{{1,2},{3,4}}`), and those whose first element is not number 1 (`[0:1]={1,2}`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .columns import Mask, Values

Places = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

_QUOTE, _BACKSLASH, _COMMA, _OPEN, _CLOSE = b'"\\,{}'
_NULL = b"NULL"
_LONGEST = (1 << 31) - 64


def is_list(values: Values) -> Mask:
    """Which of the values, none of them NULL, are arrays of one dimension that begin at 1 (or are empty).

    What is no array at all is none of them: one quote without its other would turn the values behind it inside out.
    """
    cells, offsets = _cells(values)
    padded = np.append(cells, np.zeros(2, np.uint8))
    starts, ends = offsets[:-1], offsets[1:]
    lists: Mask = (np.diff(offsets) > 1) & (padded[starts] == _OPEN) & (padded[starts + 1] != _OPEN) & (padded[ends - 1] == _CLOSE)
    quotes, _ = _quotes(padded)
    if quotes.any():
        before = np.append(0, np.cumsum(quotes))
        lists &= (before[ends] - before[starts]) % 2 == 0
    return lists


def elements(values: Values) -> tuple[Values, Places]:
    """The printed elements of all values, one after the other, and how many each value has.

    All values must be lists (`is_list`) and none NULL.
    """
    cells, offsets = _cells(values)
    starts, ends = offsets[:-1], offsets[1:]
    outside, kept = _outside(cells)
    commas = np.flatnonzero((cells == _COMMA) & outside)
    kept[commas] = kept[starts] = kept[ends - 1] = False
    full = ends - starts > len(b"{}")
    begin = np.sort(np.concatenate([starts[full] + 1, commas + 1]))
    end = np.sort(np.concatenate([ends[full] - 1, commas]))
    counts = np.diff(np.searchsorted(begin, offsets))
    return pa.chunked_array([_texts(cells, kept, begin, end)]), counts


def _cells(values: Values) -> tuple[Bytes, Places]:
    """The bytes of all values, and where each begins; the last offset is the end."""
    flat: pa.Array[Any] = pa.concat_arrays(values.cast(pa.large_string()).chunks)
    _, where, data = (memoryview(buffer) if buffer is not None else b"" for buffer in flat.buffers())
    offsets = np.frombuffer(where, np.int64)[flat.offset : flat.offset + len(flat) + 1]
    cells = np.frombuffer(data, np.uint8)
    first, last = (int(offsets[0]), int(offsets[-1])) if len(offsets) else (0, 0)
    return cells[first:last], offsets - first


def _outside(cells: Bytes) -> tuple[Mask, Mask]:
    """Which bytes stand outside of quotes, and which belong to a value (no quote, no escaping backslash)."""
    quotes, kept = _quotes(cells)
    if not quotes.any():
        return np.ones(len(cells), bool), np.ones(len(cells), bool)
    inside = (np.cumsum(quotes) & 1).astype(bool)
    return ~inside, kept & ~quotes


def _quotes(cells: Bytes) -> tuple[Mask, Mask]:
    """Which bytes are quotes that nothing escapes, and which are no escaping backslashes. The last byte is none."""
    quotes, kept = cells == _QUOTE, np.ones(len(cells), bool)
    if quotes.any() and len(backslashes := np.flatnonzero(cells == _BACKSLASH)):
        escapes = backslashes[_number_in_run(backslashes) % 2 == 0]
        kept[escapes] = False
        quotes[escapes + 1] = False
    return quotes, kept


def _number_in_run(at: Places) -> Places:
    """For each place, how many places stand right before it without a gap."""
    order = np.arange(len(at))
    begins = np.append(True, np.diff(at) != 1)
    return order - np.maximum.accumulate(np.where(begins, order, 0))


def _texts(cells: Bytes, kept: Mask, begin: Places, end: Places) -> pa.Array[Any]:
    """The kept bytes between each `begin` and `end`; NULL where just NULL stands there, without quotes."""
    before = np.concatenate([[0], np.cumsum(kept)])
    offsets = np.append(before[begin], before[-1]) if len(begin) else np.zeros(1, np.int64)
    four = np.flatnonzero(end - begin == len(_NULL))
    null = np.zeros(len(begin), bool)
    null[four] = (cells[begin[four, None] + np.arange(len(_NULL))] == np.frombuffer(_NULL, np.uint8)).all(axis=1)
    valid = pa.py_buffer(np.packbits(~null, bitorder="little").data)
    data = pa.py_buffer(np.ascontiguousarray(cells[kept]).data)
    kind, width = (pa.string(), np.int32) if len(data) < _LONGEST else (pa.large_string(), np.int64)
    return pa.Array.from_buffers(
        kind, len(begin), [valid, pa.py_buffer(offsets.astype(width).data), data], int(null.sum())
    )
