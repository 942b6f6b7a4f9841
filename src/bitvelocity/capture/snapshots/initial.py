"""The tables as they stand where the stream begins: one consistent read, joined to the stream without gap or
overlap.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from bitvelocity.changes import Batch, Mark
from bitvelocity.errors import BitVelocityError, CaptureError

from ..connection import Connection, Wire, our_errors
from ..failures import Place
from ..slot import NewSlot
from .printed import At, Printed, read_rows
from .ranges import Part, Range, all_ranges
from .tables import PublishedTable, published_tables, rewritten

_NOW = "select (extract(epoch from now()) * 1000000)::bigint"
_SPAN = 1 << 30
"""Ordinals are 32 bits wide: after so many rows the next LSN is taken, and a batch may reach beyond it."""
_PER_BLOCK = 291
"""No block of 8 kB holds more rows. Below a slot's beginning no commit is as near as the LSNs that a snapshot needs."""
_AHEAD = 2
"""Pieces that each reader may have ready."""


@dataclass(frozen=True, slots=True)
class Reader:
    """A connection, and its bare wire. All readers of a snapshot see the same."""

    connection: Connection
    wire: Wire


@dataclass(frozen=True, slots=True)
class _Task:
    """A range that somebody reads."""

    table: PublishedTable
    what: Range


@dataclass(slots=True)
class _Reached:
    """How far a table is read: its parts, and the ranges beyond their `next` that are done."""

    parts: tuple[Part, ...]
    done: set[Range] = field(default_factory=set)

    def note(self, what: Range) -> None:
        """Ranges end in any order; `next` moves over those that follow each other."""
        self.done.add(what)
        part = self.parts[what.part]
        while not part.done and (following := part.range(what.part, part.next)) in self.done:
            self.done.discard(following)
            part = part.past(following)
        self.parts = (*self.parts[: what.part], part, *self.parts[what.part + 1 :])


class SnapshotSet:
    """All rows of all published tables as one change set. Reads while it is iterated, with all its readers at once.

    The first reader holds the locks for all. `progress` tells what was read to its end, for a sink that keeps parts.
    """

    def __init__(self, readers: Sequence[Reader], *, slot: NewSlot, place: Place) -> None:
        self._readers, self._slot, self._place = tuple(readers), slot, place
        self._connection, self._wire = readers[0].connection, readers[0].wire
        self._rows = 0
        self._spans = 1  # LSNs, up to the one below the stream's first, that the rows may need
        self._reached: dict[str, _Reached] = {}
        self.done = False
        """Whether all rows were yielded."""
        for reader in readers:
            _enter(reader.connection, slot)
        found = self._connection.execute(_NOW).fetchone()
        self._at: int = found[0] if found else 0
        self._tables = published_tables(self._connection, place.publication)
        for table in self._tables:
            table.lock(self._connection, place)

    def rewritten(self) -> list[str]:
        """Tables rewritten or truncated between the snapshot and our locks: they would read as empty."""
        return rewritten(self._connection, self._tables)

    @property
    def mark(self) -> Mark:
        """One below the first LSN of the stream."""
        point = self._slot.consistent_point
        return Mark(lsn=point - 1, resume=point, committed_at=self._at, transactions=1, rows=self._rows)

    @property
    def progress(self) -> dict[str, tuple[Part, ...]]:
        """Per table how far it is read. What came since a range began is not in it: it may lag, and never leads."""
        return {name: reached.parts for name, reached in self._reached.items()}

    def __iter__(self) -> Iterator[Batch]:
        with our_errors(self._place):
            yield from self._batches()
        self.done = True

    def _batches(self) -> Iterator[Batch]:
        tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        for table in self._tables:
            parts = table.parts(self._connection)
            self._reached[table.qualified] = _Reached(parts)
            for what in all_ranges(parts):
                tasks.put(_Task(table, what))
        blocks = sum(part.blocks for reached in self._reached.values() for part in reached.parts)
        self._spans = 1 + blocks * _PER_BLOCK // _SPAN
        crew = _Crew(self._readers, self._place, {name: reached.parts for name, reached in self._reached.items()})
        for item in crew.read(tasks):
            if isinstance(item, _Task):
                self._reached[item.table.qualified].note(item.what)
            else:
                yield self._placed(item)

    def _whole(self, table: PublishedTable) -> Iterator[Batch]:
        """All rows of one table, by the first reader alone."""
        for rows in read_rows(self._wire, table.copy(self._connection), table, self._place):
            yield self._placed(rows)

    def _placed(self, rows: Printed) -> Batch:
        return rows.batch(self._take(rows.rows))

    def _take(self, rows: int) -> At:
        """The positions of the next rows."""
        span, ordinal = divmod(self._rows, _SPAN)
        if span >= self._spans:
            raise _too_many(self._rows)
        self._rows += rows
        return At(self._slot.consistent_point - self._spans + span, ordinal, self._at)


class _Crew:
    """Threads that read ranges, one connection each, until none is left."""

    def __init__(self, readers: Sequence[Reader], place: Place, parts: dict[str, tuple[Part, ...]]) -> None:
        self._readers, self._place, self._parts = readers, place, parts
        self._out: queue.Queue[Printed | _Task | BaseException | None] = queue.Queue(_AHEAD * len(readers))
        self._stop = threading.Event()

    def read(self, tasks: queue.SimpleQueue[_Task]) -> Iterator[Printed | _Task]:
        """Rows as they come, and each task after its last rows."""
        threads = [
            threading.Thread(target=self._work, args=(reader, tasks), name="snapshot", daemon=True) for reader in self._readers
        ]
        for thread in threads:
            thread.start()
        left = len(threads)
        try:
            while left:
                item = self._out.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    left -= 1
                else:
                    yield item
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _work(self, reader: Reader, tasks: queue.SimpleQueue[_Task]) -> None:
        try:
            with our_errors(self._place):
                while not self._stop.is_set():
                    try:
                        task = tasks.get_nowait()
                    except queue.Empty:
                        break
                    part = self._parts[task.table.qualified][task.what.part]
                    statement = task.table.copy_range(reader.connection, part, task.what)
                    for rows in read_rows(reader.wire, statement, task.table, self._place):
                        self._give(rows)
                    self._give(task)
            self._give(None)
        except _StoppedError:
            pass
        except (BitVelocityError, Exception) as error:  # raised again in the thread that iterates
            self._give_up(error)

    def _give(self, item: Printed | _Task | None) -> None:
        while True:
            if self._stop.is_set():
                raise _StoppedError
            try:
                self._out.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def _give_up(self, error: BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._out.put(error, timeout=0.1)
            except queue.Full:
                continue
            return


def _too_many(rows: int) -> CaptureError:
    return CaptureError(
        f"There are more than {rows:,} rows, and no positions for them.",
        safe="Nothing was confirmed; what was there before stays.",
        remedy="Leave the largest table out (its entity, or the publication) and start again; declared later, it joins the running "
        "capture and is read in chunks that have positions of their own.",
        code="TooManyRows",
    )


class _StoppedError(Exception):
    """Nobody wants the rows any more."""


def _enter(connection: Connection, slot: NewSlot) -> None:
    connection.execute("begin isolation level repeatable read read only")
    connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(slot.snapshot)))
    connection.execute("set local row_security = off")  # rather an error than rows missing
