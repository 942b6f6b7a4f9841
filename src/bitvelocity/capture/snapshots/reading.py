"""One chunk of a table, read beside the stream and marked in it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from psycopg import sql

from bitvelocity.changes import Passing, parse_lsn, pass_by
from bitvelocity.errors import CaptureError

from ..connection import Connection, connect, open_wire, our_errors
from ..failures import Place, read_on_standby
from ..slot import in_recovery
from .printed import Printed, read_rows
from .ranges import Part, Range
from .tables import PublishedTable, condition, file_of, published_tables
from .visible import Visible

WATERMARK = "bv.watermark"
"""Prefix of the logical messages that say where in the stream a chunk belongs."""
LIMIT = 96 << 20
"""Bytes of text that a chunk may hold; a wider range is cut in two."""
Keys = tuple[tuple[str, ...], ...]


class TooWide(Exception):  # noqa: N818
    """A range holds more than fits into memory: cut it smaller."""


class Moved(Exception):  # noqa: N818
    """The table has another file than when its reading was planned, so its rows lie elsewhere: begin it again."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows as one snapshot of the source shows them. They stand in the stream at the message called `name`."""

    name: str
    what: Range | Keys
    visible: Visible
    message: int
    """LSN of the message; the commit that carries it is a little above."""
    pieces: tuple[Printed, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of which table."""

    relation: str
    where: str | None = None
    columns: tuple[str, ...] = ()
    """Only rows in which one of these is not NULL."""
    sure: bool = True

    def limits(self, table: PublishedTable) -> list[sql.Composable]:
        """What must hold for a row that is read. Columns may be gone by now."""
        found = [condition(self.where)] if self.where else []
        return [*found, table.filled(self.columns)] if self.columns else found


@dataclass(frozen=True, slots=True)
class Planned:
    """Where the rows lie, and the columns as they are now."""

    parts: tuple[Part, ...]
    look: dict[str, tuple[int, int]] = field(default_factory=dict)


class ChunkReader:
    """Reads chunks on a connection of its own. Needs SELECT, and nothing else: the mark is a logical message.

    Each chunk is one read-only transaction:
    1. the table is locked against DDL (readers and writers are not disturbed);
    2. the snapshot is taken, and says which transactions it sees;
    3. the rows are printed;
    4. the mark is written, and its commit ends the lock. So no ALTER TABLE stands between the rows and their mark.
    """

    def __init__(self, dsn: str, place: Place, at: Passing = pass_by, *, aside: bool = False) -> None:
        self._dsn, self._place, self._at = dsn, place, at
        self.aside = aside
        """Not on the stream's server: when this connection is lost, the stream is not."""
        self._open: Connection | None = None
        self.marking = threading.Event()
        """Set from just before a mark is written: from then on the stream may have it."""

    def now(self) -> Visible:
        """Which transactions a snapshot sees at this moment."""
        with self._connection() as connection:
            return _visible(connection)

    def begin(self) -> int:
        """A transaction of our own, at its end: whatever has begun before it has a lower id."""
        with self._connection() as connection:
            if in_recovery(connection):
                raise read_on_standby()
            row = connection.execute("select pg_current_xact_id()::text::bigint").fetchone()
            assert row is not None
            return int(row[0])

    def plan(self, wanted: Wanted) -> Planned:
        """Where the table's rows lie now; nowhere if the columns were not filled. A condition that the server does not understand is an error."""
        with self._connection() as connection:
            table = self._table(connection, wanted.relation)
            if wanted.where:
                query = sql.SQL("SELECT 1 FROM {} WHERE {} LIMIT 0").format(table.identifier, condition(wanted.where))
                connection.execute(query, prepare=True)  # prepared, so that it is one statement and no more
            filled = not wanted.columns or wanted.sure or table.may_be_filled(connection, wanted.columns)
            return Planned(table.parts(connection) if filled else (), table.look)

    def read(self, wanted: Wanted, parts: Sequence[Part], what: Range, name: str) -> Chunk:
        """The rows of a range."""
        with self._transaction(wanted.relation) as (connection, table):
            visible = _visible(connection)
            part = parts[what.part]
            if file_of(connection, part) != part.file:
                raise Moved
            statement = table.copy_range(connection, part, what, *wanted.limits(table))
            pieces = self._print(connection, statement, table, limited=what.end is None or what.end > what.first + 1)
            return Chunk(name, what, visible, self._mark(connection, name), pieces)

    def read_keys(self, wanted: Wanted, key: Sequence[str], keys: Keys, name: str) -> Chunk:
        """The rows with some keys."""
        with self._transaction(wanted.relation) as (connection, table):
            visible = _visible(connection)
            statement = table.copy_keys(connection, key, keys)
            pieces = self._print(connection, statement, table, limited=False)
            return Chunk(name, keys, visible, self._mark(connection, name), pieces)

    def close(self) -> None:
        """Let the connection go."""
        if self._open is not None:
            self._open.close()
            self._open = None

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """The connection; after a failure the next call makes a new one."""
        try:
            with our_errors(self._place):
                if self._open is None:
                    self._open = connect(self._dsn, self._place)
                yield self._open
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _transaction(self, relation: str) -> Iterator[tuple[Connection, PublishedTable]]:
        """A transaction whose first snapshot comes after the lock, so that no rewrite can empty the table for it."""
        with self._connection() as connection:
            table = self._table(connection, relation)
            connection.execute("begin isolation level repeatable read read only")
            connection.execute("set local row_security = off; set local lock_timeout = '3s'")
            table.lock(connection, self._place)
            yield connection, table
            self._at("chunk read")
            connection.execute("commit")
            self._at("chunk marked")

    def _table(self, connection: Connection, relation: str) -> PublishedTable:
        for table in published_tables(connection, self._place.publication):
            if table.qualified == relation:
                return table
        raise CaptureError(
            f'The publication "{self._place.publication}" does not hold the table.',
            entity=relation,
            safe="Nothing was read.",
            remedy="bitvelocity apply adds it.",
            code="NotPublished",
        )

    def _print(
        self, connection: Connection, statement: bytes, table: PublishedTable, *, limited: bool
    ) -> tuple[Printed, ...]:
        pieces, size = [], 0
        with closing(open_wire(connection)) as wire:
            for piece in read_rows(wire, statement, table, self._place):
                pieces.append(piece)
                size += piece.bytes
                if limited and size > LIMIT:
                    raise TooWide
        return tuple(pieces)

    def _mark(self, connection: Connection, name: str) -> int:
        self.marking.set()
        row = connection.execute(
            "select pg_logical_emit_message(true, %s, %s)", [WATERMARK, json.dumps({"chunk": name})]
        ).fetchone()
        return parse_lsn(str(row[0])) if row else 0


def _visible(connection: Connection) -> Visible:
    row = connection.execute("select pg_current_snapshot()::text").fetchone()
    assert row is not None
    return Visible.parse(row[0])
