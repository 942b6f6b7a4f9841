"""Headers of records as columns, and what our own say of each record."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

_PARTS = ("op", "lsn", "xid", "ordinal", "step", "at", "row_lsn", "old")
_NUMBERS = ("lsn", "xid", "ordinal", "step", "at", "row_lsn")


def header_columns(headers: Any, names: Sequence[str]) -> dict[str, pl.Series]:
    """These headers as bytes, one of each record; NULL where it has none, the last where it has several.

    `headers` is an array or a chunked one: its chunks are not copied together, for most of what they hold is not asked for.
    """
    chunks = headers.chunks if isinstance(headers, pa.ChunkedArray) else [headers]
    parts = [(len(chunk), _columns(chunk, names)) for chunk in chunks if len(chunk)]
    return {name: _as_series(name, [(count, found[name]) for count, found in parts]) for name in names}


def _columns(headers: Any, names: Iterable[str]) -> dict[str, Any]:
    """The headers of one array; None for a name that no record has."""
    count = len(headers)
    offsets = headers.offsets.to_numpy()
    sizes = np.diff(offsets)
    if headers.null_count:
        sizes = np.where(headers.is_null().to_numpy(zero_copy_only=False), 0, sizes)
    first, total = int(offsets[0]) if count else 0, int(sizes.sum())
    keys, items = headers.keys.slice(first, total), headers.items.slice(first, total)
    place = _same(keys, sizes) or _sought(keys, sizes)
    return {name: None if (at := place(name)) is None else items.take(pa.array(at, mask=at < 0)) for name in names}


Place = Callable[[str], "np.ndarray | None"]
"""Where the last header of a name stands for each record, -1 where it has none. None: no record has it."""


def _as_series(name: str, parts: Sequence[tuple[int, Any]]) -> pl.Series:
    """The parts, each with its number of records, behind each other."""
    kind = next((part.type for _, part in parts if part is not None), None)
    if kind is None:
        return pl.Series(name, [None], pl.Binary).new_from_index(0, sum(count for count, _ in parts))
    held: Any = [pa.nulls(count, kind) if part is None else part for count, part in parts]
    return pl.Series(name, pl.from_arrow(pa.chunked_array(held).cast(pa.large_binary())), dtype=pl.Binary)


def _same(keys: Any, sizes: np.ndarray) -> Place | None:
    """If all records have the same headers in the same order, which is how one program writes them."""
    width = int(sizes[0]) if len(sizes) else 0
    if not width or (sizes != width).any():
        return None
    _, ends, content = keys.buffers()
    offsets = np.frombuffer(ends, np.int32)[keys.offset : keys.offset + len(keys) + 1]
    lengths = np.diff(offsets).reshape(-1, width)
    if content is None or (lengths != lengths[0]).any():
        return None
    raw = np.frombuffer(content, np.uint8)[offsets[0] : offsets[-1]].reshape(len(sizes), -1)
    if (raw != raw[0]).any():
        return None
    known = {name: at for at, name in enumerate(keys[:width].to_pylist())}
    rows = np.arange(0, len(keys), width)
    return lambda name: rows + known[name] if name in known else None


def _sought(keys: Any, sizes: np.ndarray) -> Place:
    named = keys.dictionary_encode()
    codes = named.indices.to_numpy()
    known = {name: code for code, name in enumerate(named.dictionary.to_pylist())}
    rows = np.repeat(np.arange(len(sizes)), sizes)

    def place(name: str) -> np.ndarray | None:
        if name not in known:
            return None
        at = np.flatnonzero(codes == known[name])
        places = np.full(len(sizes), -1, np.int64)
        places[rows[at]] = at
        return places

    return place


def own_changes(told: pl.Series) -> pl.DataFrame | None:
    """What `bv-change` says, by column; None: no record has it."""
    if told.null_count() == len(told):
        return None
    parts = (
        told.cast(pl.String)
        .str.split_exact("/", len(_PARTS) - 1)
        .struct.rename_fields(list(_PARTS))
        .struct.unnest()
    )
    numbers = [pl.when(pl.col(name) != "").then(pl.col(name)).cast(pl.Int64).alias(name) for name in _NUMBERS]
    return parts.with_columns(*numbers, old=pl.when(pl.col("old") != "").then("old"))


__all__ = ["header_columns", "own_changes"]
