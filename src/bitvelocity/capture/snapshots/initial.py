"""The tables as they stand where the stream begins: one consistent read, joined to the stream without gap or
overlap.
"""

from __future__ import annotations

from collections.abc import Iterator

from psycopg import sql

from bitvelocity.changes import Batch, Mark

from ..connection import Connection, Wire, our_errors
from ..failures import Place
from ..slot import NewSlot
from .printed import At, read_rows
from .tables import PublishedTable, published_tables, rewritten

_NOW = "select (extract(epoch from now()) * 1000000)::bigint"


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
        return rewritten(self._connection, self._tables)

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
        for rows in read_rows(self._wire, table.copy(self._connection), table, self._place):
            at = At(self._slot.consistent_point - 1, self._rows, self._at)
            self._rows += rows.rows
            yield rows.batch(at)
