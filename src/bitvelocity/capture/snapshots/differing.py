"""What has become of the tables while nobody followed the stream: only what differs from a copy is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pyarrow as pa
from psycopg import sql

from bitvelocity.changes import Batch, Sums, Twin

from ..failures import Place
from ..slot import NewSlot
from .initial import Reader, SnapshotSet
from .printed import At, read_rows
from .tables import PublishedTable

_NUMERIC = """
select attname::text from pg_attribute
where attrelid = %s::regclass and atttypid = 'numeric'::regtype and attnum > 0 and not attisdropped
"""


@dataclass(frozen=True, slots=True)
class Found:
    """What differs in a table."""

    relation: str
    buckets: int
    """Parts that were compared; 0: the table could not be compared, and was read whole."""
    differing: int
    changes: Counter[str]
    """How many rows came, changed and went: `c`, `u`, `d` (`r`: were read whole)."""


class DifferenceSet(SnapshotSet):
    """The differences of all published tables from a twin, as one change set just below the stream's beginning."""

    def __init__(self, readers: Sequence[Reader], *, slot: NewSlot, place: Place, twin: Twin) -> None:
        super().__init__(readers, slot=slot, place=place)
        self._twin = twin
        self.found: list[Found] = []

    def _batches(self) -> Iterator[Batch]:
        for table in self._tables:
            yield from self._compare(table)

    def _compare(self, table: PublishedTable) -> Iterator[Batch]:
        ours = self._twin.sums(table.qualified, table.columns)
        changes: Counter[str] = Counter()
        if ours is None:
            for batch in self._whole(table):
                changes["r"] += batch.data.num_rows
                yield batch
            self.found.append(Found(table.qualified, 0, 0, changes))
            return
        theirs = self._sums(table, ours)
        differing = sorted(bucket for bucket in {*ours.of, *theirs} if ours.of.get(bucket) != theirs.get(bucket))
        if differing:
            for batch in self._differences(table, ours, differing):
                changes.update(_counts(batch))
                yield self._at_its_place(batch)
        self.found.append(Found(table.qualified, ours.buckets, len(differing), changes))

    def _differences(self, table: PublishedTable, sums: Sums, buckets: Sequence[int]) -> Iterator[Batch]:
        self._twin.open(table.qualified, buckets)
        limits = []
        if len(buckets) < sums.buckets:
            limits.append(sql.SQL("{} = any ({}::int[])").format(self._bucket(table, sums), list(buckets)))
        statement = table.copy_where(self._connection, *limits)
        for rows in read_rows(self._wire, statement, table, self._place):
            changed = self._twin.changed(rows.batch(At(0, 0, self._at)))
            if changed.data.num_rows:
                yield changed
        yield from self._twin.gone()

    def _sums(self, table: PublishedTable, sums: Sums) -> dict[int, tuple[int, int]]:
        row = _text(sums.columns, self._numbers(table))
        digest = sql.SQL("('x' || substr(md5({}), 1, 15))::bit(60)::bigint").format(row)
        query = sql.SQL("SELECT {} AS bucket, count(*), sum({}) FROM {} GROUP BY 1").format(
            self._bucket(table, sums), digest, table.source
        )
        return {bucket: (count, int(total)) for bucket, count, total in self._connection.execute(query).fetchall()}

    def _bucket(self, table: PublishedTable, sums: Sums) -> sql.Composed:
        key = _text(sums.key, self._numbers(table))
        return sql.SQL("('x' || substr(md5({}), 1, 4))::bit(16)::int % {}").format(key, sql.Literal(sums.buckets))

    def _numbers(self, table: PublishedTable) -> frozenset[str]:
        name = table.identifier.as_string(self._connection)
        return frozenset(row[0] for row in self._connection.execute(_NUMERIC, [name]).fetchall())

    def _at_its_place(self, batch: Batch) -> Batch:
        """At its place: after all that were found before."""
        count = batch.data.num_rows
        at = self._take(count)
        columns = {
            "_lsn": pa.array(np.full(count, at.lsn)),
            "_ordinal": pa.array(np.arange(at.ordinal, at.ordinal + count, dtype=np.int32)),
            "_committed_at": pa.array(np.full(count, self._at)).view(pa.timestamp("us", "UTC")),
        }
        data = batch.data
        for name, values in columns.items():
            data = data.set_column(data.schema.get_field_index(name), name, values)
        return replace(batch, data=data)


def snapshot_set(readers: Sequence[Reader], *, slot: NewSlot, place: Place, twin: Twin | None) -> SnapshotSet:
    """The tables as they stand where the stream begins: whole, or what differs from a twin."""
    if twin is None:
        return SnapshotSet(readers, slot=slot, place=place)
    return DifferenceSet(readers, slot=slot, place=place, twin=twin)


def _text(columns: Sequence[str], numbers: frozenset[str]) -> sql.Composed:
    """The text that both sides take the hash of. `concat` prints a value as the stream does."""
    values = [
        sql.SQL("case when {0} is null then chr(30) else concat({1}) end").format(
            sql.Identifier(name),
            sql.SQL("trim_scale({})").format(sql.Identifier(name)) if name in numbers else sql.Identifier(name),
        )
        for name in columns
    ]
    return sql.SQL("concat_ws(chr(31), {})").format(sql.SQL(", ").join(values))


def _counts(batch: Batch) -> dict[str, int]:
    operations = pl.from_arrow(batch.data["_op"])
    assert isinstance(operations, pl.Series)
    return dict(operations.alias("op").value_counts().iter_rows())
