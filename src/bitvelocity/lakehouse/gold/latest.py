"""The changes of one commit boiled down to what counts: the last one of each key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from .diff import to_arrow
from .silver import Changes

_PLACE = ("_lsn", "_ordinal")


@dataclass(frozen=True, slots=True)
class LastChanges:
    """What a commit leaves of one entity. `keys` are all changed keys, `alive` the rows of those not deleted."""

    keys: pa.Table
    alive: pa.Table
    emptied: bool
    """The table was truncated: every key that is not `alive` is gone."""


def last_changes(changes: Sequence[Changes], schema: pa.Schema, key: Sequence[str]) -> LastChanges:
    """The last change of each key, in the columns of `schema`."""
    rows = _read(changes, [*dict.fromkeys([*schema.names, "_op", *_PLACE])])
    cuts = (rows["_op"] == "t").arg_true()
    if cuts.len():
        rows = rows.slice(cuts[-1] + 1)
    last = rows.lazy().unique(subset=list(key), keep="last", maintain_order=True).collect()
    alive = last.lazy().filter(pl.col("_op") != "d").select(schema.names)
    keys = pa.schema([schema.field(name) for name in key])
    return LastChanges(to_arrow(last.lazy().select(key), keys), to_arrow(alive, schema), bool(cuts.len()))


def _read(changes: Sequence[Changes], names: list[str]) -> pl.DataFrame:
    """All rows, in order: commits come in order, and so do the rows of each."""
    parts = [part for change in changes for part in _parts(change, names)]
    return pl.concat(parts) if parts else pl.DataFrame()


def _parts(change: Changes, names: list[str]) -> list[pl.DataFrame]:
    if change.tables:
        return [pl.DataFrame(table.select(names)) for table in change.tables]
    files = [pl.scan_parquet(str(path)).select(names) for path in change.files]
    return [pl.concat(files).sort(_PLACE).collect()] if files else []
