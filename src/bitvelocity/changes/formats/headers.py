"""Headers of records, a column at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

HEADERS = pa.map_(pa.string(), pa.binary())
_KEYS, _ITEMS = pa.large_string(), pa.large_binary()


@dataclass(frozen=True, slots=True)
class HeaderColumn:
    """One header of every record. `value` is the same for all, or one each; NULL: this record has none."""

    name: str | pl.Series
    value: bytes | pl.Series

    def present(self, count: int) -> np.ndarray:
        if isinstance(self.value, bytes):
            return np.ones(count, np.bool_)
        return self.value.is_not_null().to_numpy()


def from_lists(headers: pl.Series) -> Iterator[HeaderColumn]:
    """Of a column of lists of `key` and `value`."""
    for place in range(int(str(headers.list.len().max() or 0))):
        one = headers.list.get(place, null_on_oob=True)
        value = one.struct.field("value")
        value = value if value.dtype == pl.Binary else value.cast(pl.Binary)
        yield HeaderColumn(one.struct.field("key"), value)


def header_map(columns: Sequence[HeaderColumn], count: int) -> pa.Array[Any]:
    """Headers of all records, in the order of the columns; NULL where a record has none."""
    if not columns or not count:
        void: pa.Array[Any] = pa.nulls(count, HEADERS)
        return void
    present = np.stack([column.present(count) for column in columns], axis=1)
    names, name_at = _side([column.name for column in columns], _KEYS, count)
    items, item_at = _side([column.value for column in columns], _ITEMS, count)
    keys = names.take(pa.array(name_at[present], pa.int64())).cast(pa.string())
    values = items.take(pa.array(item_at[present], pa.int64())).cast(pa.binary())
    sizes = present.sum(axis=1)
    offsets: Any = pa.array(np.append(0, np.cumsum(sizes)).astype(np.int32))
    made: pa.Array[Any] = pa.MapArray.from_arrays(offsets, keys, values, mask=pa.array(sizes == 0))
    return made


def _side(
    columns: Sequence[str | bytes | pl.Series], kind: pa.DataType, count: int
) -> tuple[pa.Array[Any], np.ndarray]:
    """All that stands in these columns, and where in it each record's is."""
    held: list[pa.Array[Any]] = []
    places = np.empty((count, len(columns)), np.int64)
    begin = 0
    for number, column in enumerate(columns):
        if isinstance(column, pl.Series):
            found = column.to_arrow().cast(kind)
            places[:, number] = np.arange(begin, begin + count)
        else:
            found = pa.array([column], kind)
            places[:, number] = begin
        held.append(found)
        begin += len(found)
    return pa.concat_arrays(held), places


__all__ = ["HEADERS", "HeaderColumn", "from_lists", "header_map"]
