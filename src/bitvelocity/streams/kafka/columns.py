"""Arrow at the client's border: the client takes and gives one Python object per record, so that is where columns end.

Out, a record is one step of `map` over lists; in, each field is one comprehension over the messages.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from itertools import pairwise, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..bus import FETCHED_SCHEMA
from ..garbage import collection_paused

Message = Any
"""A message of the client. By its stubs every field may be absent; those of a record are there."""
Headers = Iterable[list[tuple[str, bytes]] | None]
_MILLIS, _MICROS = pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")
_NOW = 1
"""The client takes a timestamp of 0 for "now": what was before the second millisecond of 1970 becomes that one."""


def outgoing(table: pa.Table) -> tuple[Iterable[Any], Iterable[Any], Iterable[int], Headers]:
    """Keys, values, timestamps in ms, headers of the rows."""
    stamps = np.maximum(_filled(table["timestamp"]) // 1000, _NOW).tolist()
    return table["key"].to_pylist(), table["value"].to_pylist(), stamps, _headers(table["headers"])


def incoming(messages: Sequence[Message]) -> pa.Table:
    """A table of `FETCHED_SCHEMA`, in the order of the messages; all of them are records."""
    with collection_paused():
        return _incoming(messages)


def _incoming(messages: Sequence[Message]) -> pa.Table:
    columns: list[Any] = [
        pa.array([message.partition() for message in messages], pa.int32()),
        pa.array([message.offset() for message in messages], pa.int64()),
        pa.array([message.key() for message in messages], pa.binary()),
        pa.array([message.value() for message in messages], pa.binary()),
        _header_column([message.headers() for message in messages]),
        pa.array([message.timestamp()[1] for message in messages], _MILLIS).cast(_MICROS),
    ]
    return pa.Table.from_arrays(columns, schema=FETCHED_SCHEMA)


def _filled(stamps: pa.ChunkedArray[Any]) -> Any:
    """Microseconds; a record without a timestamp gets that of its writing."""
    fill: Any = pc.fill_null
    filled: Any = fill(stamps.cast(pa.int64()), time.time_ns() // 1000)
    return filled.to_numpy()


def _headers(column: pa.ChunkedArray[Any]) -> Headers:
    array: Any = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    offsets = array.offsets.to_numpy()
    first, end = (int(offsets[0]), int(offsets[-1])) if len(array) else (0, 0)
    if first == end:
        return repeat(None, len(array))
    count = end - first
    pairs = list(zip(array.keys.slice(first, count).to_pylist(), array.items.slice(first, count).to_pylist(), strict=True))
    return [pairs[begin:until] for begin, until in pairwise((offsets - first).tolist())]


def _header_column(headers: list[Any]) -> pa.Array[Any]:
    ends = np.zeros(len(headers) + 1, np.int32)
    pairs: list[tuple[str, bytes]] = []
    if any(headers):
        np.cumsum([len(row or ()) for row in headers], out=ends[1:])
        pairs = [pair for row in headers if row for pair in row]
    names = pa.array([name for name, _ in pairs], pa.string())
    values = pa.array([value for _, value in pairs], pa.binary())
    make: Any = pa.MapArray.from_arrays
    column: pa.Array[Any] = make(pa.array(ends, pa.int32()), names, values)
    return column
