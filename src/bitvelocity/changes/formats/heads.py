"""Headers of records as columns, and what our own say of each record."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

_PARTS = ("op", "lsn", "xid", "ordinal", "step", "at", "row_lsn", "old")
_NUMBERS = ("lsn", "xid", "ordinal", "step", "at", "row_lsn")


def header_columns(headers: Any, names: Iterable[str]) -> dict[str, pl.Series]:
    """These headers as bytes, one of each record; NULL where it has none, the last where it has several."""
    count, found = len(headers), {}
    offsets = headers.offsets.to_numpy()
    sizes = np.diff(offsets)
    if headers.null_count:
        sizes = np.where(headers.is_null().to_numpy(zero_copy_only=False), 0, sizes)
    rows = np.repeat(np.arange(count), sizes)
    first = int(offsets[0]) if count else 0
    keys, items = headers.keys.slice(first, len(rows)), headers.items.slice(first, len(rows))
    for name in names:
        at = np.nonzero(pc.equal(keys, pa.scalar(name)).to_numpy(zero_copy_only=False))[0]
        places = np.full(count, -1, np.int64)
        places[rows[at]] = at
        chosen = items.take(pa.array(places, mask=places < 0)) if len(at) else pa.nulls(count, pa.binary())
        found[name] = pl.Series(name, pl.from_arrow(chosen.cast(pa.large_binary())), dtype=pl.Binary)
    return found


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
