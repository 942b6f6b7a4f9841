"""The tables as they stand where the stream begins: one consistent read, joined to the stream without gap or
overlap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import psycopg
import pyarrow as pa
from psycopg import sql

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_FIELDS, Batch, Mark
from bitvelocity.errors import CaptureError

from .connection import Connection, Wire, our_errors
from .copytext import CopyRows, parse_copy
from .failures import Place, failure
from .pgoutput.buffer import Strings, letters
from .slot import NewSlot

_PIECE = 8 << 20
_GENERATED_SINCE = 180_000

_TABLES = """
select t.schemaname, t.tablename, c.relkind = 'p' as partitioned, t.rowfilter,
       array(select a.attname::text from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
               and a.attname = any (t.attnames) and (a.attgenerated = '' or %s)
             order by a.attnum)
from pg_publication_tables t
join pg_namespace n on n.nspname = t.schemaname
join pg_class c on c.relnamespace = n.oid and c.relname = t.tablename
where t.pubname = %s
order by 1, 2
"""
_REWRITTEN = """
select n.nspname || '.' || c.relname
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where c.relkind = 'r' and c.relfilenode <> pg_relation_filenode(c.oid)
  and c.oid in (select relid from unnest(%s::text[]) as given (name), pg_partition_tree(given.name::regclass))
order by 1
"""
"""Tables whose storage is another one now than the snapshot knows: it would see them empty."""
_NOW = "select (extract(epoch from now()) * 1000000)::bigint"


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """A table as the publication shows it: its columns in the stream's order, its row filter."""

    schema: str
    name: str
    partitioned: bool
    row_filter: str | None
    columns: tuple[str, ...]

    @property
    def qualified(self) -> str:
        """As batches name it."""
        return f"{self.schema}.{self.name}"

    @property
    def identifier(self) -> sql.Identifier:
        """As SQL names it."""
        return sql.Identifier(self.schema, self.name)

    def lock(self, connection: Connection, place: Place) -> None:
        """Keep DDL away until the end of the transaction; readers and writers are not disturbed."""
        try:
            connection.execute(sql.SQL("lock table {} in access share mode").format(self.identifier))
        except psycopg.Error as error:
            raise self.refused(error.sqlstate, error.diag.message_primary or str(error), place) from error

    def refused(self, sqlstate: str | None, message: str, place: Place) -> CaptureError:
        """What the server answered, said of this table."""
        error = failure(sqlstate, message, place)
        error.entity = self.qualified
        return error

    def copy(self, connection: Connection) -> bytes:
        """The statement that prints its rows: those of partitions too, not those of inheriting tables."""
        columns = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        only = sql.SQL("" if self.partitioned else "ONLY ")
        where = sql.SQL(
            f" WHERE {self.row_filter}" if self.row_filter else ""
        )  # as the server itself prints it
        query = sql.SQL("COPY (SELECT {} FROM {}{}{}) TO STDOUT").format(
            columns, only, self.identifier, where
        )
        return query.as_bytes(connection)


def published_tables(connection: Connection, publication: str) -> list[PublishedTable]:
    """What the publication holds, each table once: a partitioned table by its root if published so."""
    with_generated = connection.info.server_version >= _GENERATED_SINCE  # listed before, but never sent
    rows = connection.execute(_TABLES, [with_generated, publication]).fetchall()
    return [
        PublishedTable(schema, name, root, where, tuple(columns))
        for schema, name, root, where, columns in rows
    ]


class SnapshotSet:
    """All rows of all published tables as one change set. Reads while it is iterated."""

    def __init__(self, connection: Connection, wire: Wire, *, slot: NewSlot, place: Place) -> None:
        self._connection, self._wire = connection, wire
        self._slot, self._place = slot, place
        self._rows = 0
        self.done = False
        """Whether all rows were yielded."""
        connection.execute("begin isolation level repeatable read read only")
        connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(slot.snapshot)))
        connection.execute("set local row_security = off")  # rather an error than rows missing
        found = connection.execute(_NOW).fetchone()
        self._at: int = found[0] if found else 0
        self._tables = published_tables(connection, place.publication)
        for table in self._tables:
            table.lock(connection, place)

    def rewritten(self) -> list[str]:
        """Tables rewritten or truncated between the snapshot and our locks: they would read as empty."""
        names = [table.identifier.as_string(self._connection) for table in self._tables]
        return [row[0] for row in self._connection.execute(_REWRITTEN, [names])]

    @property
    def mark(self) -> Mark:
        """One below the first LSN of the stream."""
        point = self._slot.consistent_point
        return Mark(lsn=point - 1, resume=point, committed_at=self._at, transactions=1, rows=self._rows)

    def __iter__(self) -> Iterator[Batch]:
        with our_errors(self._place):
            for table in self._tables:
                yield from self._read(table)
        self.done = True

    def _read(self, table: PublishedTable) -> Iterator[Batch]:
        self._wire.query(table.copy(self._connection))
        rows = CopyRows()
        while not rows.done:
            rows.feed(self._wire.receive())
            if (len(rows) >= _PIECE or rows.done) and (cut := rows.cut()) is not None:
                count = len(cut[1])
                yield self._batch(table, parse_copy(*cut, len(table.columns)), count)
        if rows.refusal is not None:
            raise table.refused(rows.refusal.sqlstate, rows.refusal.message, self._place)

    def _batch(self, table: PublishedTable, columns: list[Strings], count: int) -> Batch:
        first, self._rows = self._rows, self._rows + count
        void = pa.nulls(count, pa.string_view())
        after = {AFTER + name: column for name, column in zip(table.columns, columns, strict=True)}
        before = {BEFORE + name: void for name in table.columns}
        known = {
            "_op": letters(np.full(count, ord("r"), np.uint8)),
            "_lsn": pa.array(np.full(count, self.mark.lsn)),
            "_ordinal": pa.array(np.arange(first, first + count, dtype=np.int32)),
            "_xid": pa.array(np.zeros(count, np.int64)),
            "_committed_at": pa.array(np.full(count, self._at)).view(pa.timestamp("us", "UTC")),
        }
        system = {name: known.get(name, void) for name, _ in SYSTEM_FIELDS}
        return Batch(table.qualified, table.columns, pa.table({**system, **after, **before}))
