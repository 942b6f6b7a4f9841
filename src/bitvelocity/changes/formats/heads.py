"""Headers of records as columns, and what our own say of each record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

_PARTS = ("op", "lsn", "xid", "ordinal", "step", "at", "row_lsn", "old")
_NUMBERS = ("lsn", "xid", "ordinal", "step", "at", "row_lsn")


def header_columns(headers: Any, names: Iterable[str]) -> dict[str, pl.Series]:
    """These headers as bytes, one of each record; NULL where it has none, the last where it has several."""
    count = len(headers)
    offsets = headers.offsets.to_numpy()
    sizes = np.diff(offsets)
    if headers.null_count:
        sizes = np.where(headers.is_null().to_numpy(zero_copy_only=False), 0, sizes)
    first, total = int(offsets[0]) if count else 0, int(sizes.sum())
    named, items = headers.keys.slice(first, total).dictionary_encode(), headers.items.slice(first, total)
    codes = named.indices.to_numpy()
    known = {name: code for code, name in enumerate(named.dictionary.to_pylist())}
    width = _regular(codes, sizes)
    rows = np.repeat(np.arange(count), 0 if width else sizes)
    found = {}
    for name in names:
        code = known.get(name, -1)
        if code < 0:
            chosen = pa.nulls(count, pa.binary())
        elif width:
            last = int(np.flatnonzero(codes[:width] == code)[-1])
            chosen = items.take(pa.array(np.arange(last, total, width)))
        else:
            at = np.flatnonzero(codes == code)
            places = np.full(count, -1, np.int64)
            places[rows[at]] = at
            chosen = items.take(pa.array(places, mask=places < 0))
        found[name] = pl.Series(name, pl.from_arrow(chosen.cast(pa.large_binary())), dtype=pl.Binary)
    return found


def _regular(codes: np.ndarray, sizes: np.ndarray) -> int:
    """How many headers each record has, if all have the same in the same order: that is how one program writes them. Else 0."""
    width = int(sizes[0]) if len(sizes) else 0
    if not width or (sizes != width).any():
        return 0
    return width if (codes.reshape(-1, width) == codes[:width]).all() else 0


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
