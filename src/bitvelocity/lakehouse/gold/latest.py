"""The changes of some commits boiled down to what counts: the last one of each key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .silver import Changes


@dataclass(frozen=True, slots=True)
class LastChanges:
    """What commits leave of one entity. `keys` are all changed keys, `alive` the rows of those not deleted."""

    keys: pa.Table
    alive: pa.Table
    emptied: bool
    """The table was truncated: every key that is not `alive` is gone."""


def in_parts(changes: Sequence[Changes]) -> Iterator[Sequence[Changes]]:
    """The same changes, in order, in parts that fit into memory: files one by one, all tables between them at once."""
    together: list[Changes] = []
    for change in changes:
        if change.tables or not change.files:
            together.append(change)
            continue
        if together:
            yield together
            together = []
        yield from ([OneFile(path)] for path in change.files)
    if together:
        yield together


@dataclass(frozen=True, slots=True)
class OneFile:
    """One file of a very large commit."""

    path: Path | str

    @property
    def tables(self) -> Sequence[pa.Table]:
        return ()

    @property
    def files(self) -> Sequence[Path | str]:
        return (self.path,)


def last_changes(changes: Sequence[Changes], schema: pa.Schema, key: Sequence[str]) -> LastChanges:
    """The last change of each key, in the columns of `schema`."""
    rows = _read(changes, [*schema.names, "_op"])
    cuts = pc.indices_nonzero(pc.equal(rows["_op"], pa.scalar("t")))
    if len(cuts):
        rows = rows.slice(cuts[-1].as_py() + 1)
    for name in key:
        if rows[name].null_count:
            rows = rows.filter(rows[name].is_valid())  # a key that no type can hold: not among silver's latest either
    rows = _last_of_each(rows, list(key))
    buried = pc.equal(rows["_op"], pa.scalar("d"))
    alive = rows.filter(pc.invert(buried)) if pc.any(buried).as_py() else rows
    return LastChanges(_as(rows, schema, key), _as(alive, schema, schema.names), bool(len(cuts)))


def _read(changes: Sequence[Changes], names: list[str]) -> pa.Table:
    """All rows, in order: commits come in order, and so do the rows of each."""
    return pa.concat_tables([part for change in changes for part in _parts(change, list(dict.fromkeys(names)))])


def _parts(change: Changes, names: list[str]) -> list[pa.Table]:
    if change.tables:
        return [_plain(table.select(names)) for table in change.tables]
    return [pq.read_table(path, columns=names, partitioning=None) for path in change.files]


def _plain(rows: pa.Table) -> pa.Table:
    """Text as strings: pyarrow compares and filters no string views."""
    fields = [field.with_type(pa.string()) if field.type == pa.string_view() else field for field in rows.schema]
    return rows.cast(pa.schema(fields))


def _last_of_each(rows: pa.Table, key: list[str]) -> pa.Table:
    """Most commits change a key once, which is quick to see."""
    if rows.select(key).group_by(key).aggregate([]).num_rows == rows.num_rows:
        return rows
    last = pl.LazyFrame(rows).unique(subset=key, keep="last", maintain_order=True).collect()
    return last.to_arrow(compat_level=pl.CompatLevel.oldest())


def _as(rows: pa.Table, schema: pa.Schema, names: Sequence[str]) -> pa.Table:
    """Some columns in exactly the types of `schema`; views are copied out of what they point into."""
    return rows.select(list(names)).cast(pa.schema([schema.field(name) for name in names]))
