"""The feed for a backlog: COPY out of a temporary copy of the slot, call by call, until we are nearly level.

A walsender makes one send() per row; COPY sends eight kilobytes at a time, and a third of the CPU is saved. A call
gives whole transactions and no others, so each call begins where the last one ended. The slot itself stays where it is
and is moved when we confirm; the copy dies with its connection, and so a crash needs no clean-up.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from struct import pack

import psycopg
from psycopg import sql

from bitvelocity.changes import format_lsn, parse_lsn
from bitvelocity.errors import ConnectionLostError

from .connection import Connection, SocketWire, Wire, is_encrypted
from .failures import Place, failure
from .feed import Terms, Traffic
from .frames import COPIED, COPIED_WITH_LSN, Doubt, Ended, Event, Refusal
from .receive import Receiver
from .slot import copy_name
from .spill import SpillFolder

_FIRST_ROWS, _FEW_ROWS, _MANY_ROWS = 50_000, 10_000, 400_000
_GROWTH = 1.5
"""How much larger the next call may be: while the server decodes it we work on this one, and should not be done before."""
_CALL = 64 << 20
"""Bytes that a call should give. The server keeps them all (on disk, above work_mem) before it sends the first, and
each call decodes again from where the slot's oldest transaction began: neither too many nor too few."""
_SPAN = 1 << 30
"""Bytes of WAL after which a call ends even if nothing in them is for us, so that what is behind us can be confirmed."""
_BACK, _TIMES = 512 << 20, 4
"""When a call must go back so many bytes, and so many times what it brings, a long transaction makes COPY dear."""
_SHARE, _PROMPT = 20, 0.1
"""Moving the slot may take one part of so many of our time, and happens no more often than this, in seconds."""
_POLL = 0.05
_HEADER = 19
_DATA, _ERROR = b"dE"

_BACKLOG = """
select case when pg_is_in_recovery() then -1
            else pg_current_wal_flush_lsn() - greatest(confirmed_flush_lsn, %s::pg_lsn) end,
       confirmed_flush_lsn - restart_lsn, restart_lsn
from pg_replication_slots where slot_name = %s and restart_lsn is not null
"""
_REACHED = """
select confirmed_flush_lsn, restart_lsn, pg_current_wal_flush_lsn() from pg_replication_slots where slot_name = %s
"""
_GIVE = """
COPY (select {columns} from pg_logical_slot_get_binary_changes({slot}, {until}, {rows}, 'proto_version', '1',
      'publication_names', {publications}, 'messages', 'true')) TO STDOUT (FORMAT binary)
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Bytes of WAL that wait for us, and how many bytes before them decoding must begin: at `restart`."""

    waiting: int = -1
    """-1 on a standby, where a slot cannot be copied and moved for us."""
    back: int = 0
    restart: int = 0

    @property
    def is_dear(self) -> bool:
        """An old transaction is open: each call would decode far more than it brings."""
        return is_dear(self.back, self.waiting)


def is_dear(back: int, brings: int) -> bool:
    """Whether going back so many bytes is too much for what it brings."""
    return back > _BACK and back > _TIMES * brings


@dataclass(frozen=True, slots=True)
class Reached:
    """How far the copy of the slot is: all commits below `confirmed` were given; decoding goes back to `restart`."""

    confirmed: int
    restart: int
    end: int

    @property
    def behind(self) -> int:
        return self.end - self.confirmed


@dataclass(frozen=True, slots=True)
class SlotCopy:
    """A copy of the slot, ready to be read on `reader`, which holds it. `control` looks after both."""

    place: Place
    reader: Connection
    control: Connection
    wire: Wire

    def reached(self) -> Reached:
        row = self.control.execute(_REACHED, [copy_name(self.place.slot)]).fetchone()
        if row is None:
            raise ConnectionResetError("the copy of the slot is gone")
        return Reached(parse_lsn(row[0]), parse_lsn(row[1]), parse_lsn(row[2]))

    def call(self, rows: int, until: int, *, with_lsn: bool) -> None:
        """Ask for about so many rows: whole transactions, until that many are out or the WAL was read up to there."""
        statement = sql.SQL(_GIVE).format(
            columns=sql.SQL("lsn, data" if with_lsn else "data"),
            slot=sql.Literal(copy_name(self.place.slot)),
            until=sql.Literal(format_lsn(until)),
            rows=sql.Literal(rows),
            publications=sql.Literal(sql.Identifier(self.place.publication).as_string()),
        )
        self.wire.query(statement.as_bytes(self.control))

    def advance(self, lsn: int) -> None:
        """Let the source forget what is below `lsn`. It is no error that the slot is there already."""
        self.control.execute(
            "select pg_replication_slot_advance(slot_name, %s) from pg_replication_slots "
            "where slot_name = %s and confirmed_flush_lsn < %s::pg_lsn",
            [format_lsn(lsn), self.place.slot, format_lsn(lsn)],
        )


def backlog(connection: Connection, place: Place, start: int) -> Backlog:
    """What waits for us above `start`."""
    row = connection.execute(_BACKLOG, [format_lsn(start), place.slot]).fetchone()
    return Backlog(int(row[0]), int(row[1]), parse_lsn(row[2])) if row else Backlog()


def copy_slot(reader: Connection, control: Connection, place: Place, start: int) -> SlotCopy | None:
    """Copy the slot and move the copy to `start`; None where the walsender has to do.

    That is: an encrypted connection (whose bytes only libpq can read, row by row), no free slot, no privilege.
    """
    name = copy_name(place.slot)
    if is_encrypted(reader):
        return None
    try:
        reader.execute("select pg_copy_logical_replication_slot(%s, %s, true)", [place.slot, name])
        reader.execute(
            "select pg_replication_slot_advance(slot_name, %s) from pg_replication_slots "
            "where slot_name = %s and confirmed_flush_lsn < %s::pg_lsn",
            [format_lsn(start), name, format_lsn(start)],
        )
    except psycopg.Error:
        return None
    with contextlib.suppress(psycopg.Error):  # a server whose system cannot do that
        reader.execute(
            "set client_connection_check_interval = '1s'"
        )  # when we are killed, the copy goes soon
    return SlotCopy(place, reader, control, SocketWire(reader.pgconn.socket))


class CatchUp(Receiver):
    """Reads a copy of the slot. With `level` it is finished when no more than so many bytes of WAL are left.

    It is finished, too, before a transaction in which only the rows' own LSNs tell where an audit context belongs (it
    is `doubtful` then, and whoever goes on must ask `with_lsn`), and when it costs too much (`dear`, or `refused`).
    """

    def __init__(
        self,
        copy: SlotCopy,
        spill: SpillFolder,
        *,
        terms: Terms,
        traffic: Traffic,
        level: int | None,
        with_lsn: bool,
    ) -> None:
        layout = COPIED_WITH_LSN if with_lsn else COPIED
        super().__init__(copy.wire, spill, copy.place, terms=terms, traffic=traffic, layout=layout)
        self._copy, self._level, self._with_lsn = copy, level, with_lsn
        self.doubtful = self.dear = self.refused = False
        self._reached = copy.reached()
        self._rows = _FIRST_ROWS
        self._head: bytearray | None = None  # what came of a call before its first row; None: that has come
        self._ended = False
        self._before = (0, 0)  # traffic when the call began
        self._not_before = 0.0

    @property
    def restart(self) -> int:
        """Where the last call began to decode."""
        return self._reached.restart

    def start(self, received: bytes | bytearray = b"") -> None:
        """Begin to read."""
        self._call()
        super().start(received)

    def close(self) -> None:
        """Move the slot to what is confirmed, and give up the call that runs."""
        super().close()
        with contextlib.suppress(Exception):  # courtesies: what is not confirmed comes again
            self._report()
            if not self._done:
                self._copy.reader.cancel_safe(timeout=1.0)

    def _call(self) -> None:
        self._head, self._ended = bytearray(), False
        self._before = (self._traffic.frames, self._traffic.bytes)
        self._copy.call(self._rows, self._reached.confirmed + _SPAN, with_lsn=self._with_lsn)
        self._at("copy called")

    def _step(self) -> None:
        chunk = self._wire.receive()
        if chunk and (chunk := self._without_header(chunk)):
            self._take_in(chunk)
            self._at("copy received")
        self._hold_back()
        self._report_if_due()
        if self._ended:
            self._next()

    def _take_in(self, chunk: memoryview | bytes | bytearray) -> None:
        with self._changed:  # counted before anybody can take them: a call may end long after its last row was taken
            before = self._traffic.frames
            super()._take_in(chunk)
            self._traffic.copied += self._traffic.frames - before

    def _without_header(self, chunk: memoryview | bytearray) -> memoryview | bytearray:
        """The bytes without the 19 that a binary COPY puts before its first row, into the same message."""
        if self._head is None:
            return chunk
        head, at = self._head, 0
        head += chunk
        while len(head) - at >= 5:
            size = int.from_bytes(head[at + 1 : at + 5], "big")
            if head[at] in (_DATA, _ERROR):
                if head[at] == _DATA:
                    if len(head) - at < 5 + _HEADER:
                        break
                    head[at + 1 : at + 5 + _HEADER] = pack(">I", size - _HEADER)
                self._head = None
                return head
            if at + 1 + size > len(head):
                break
            at += 1 + size
        return head[:0]

    def _act(self, event: Event) -> None:
        match event:
            case Ended():
                self._ended = True
            case Refusal() if self._level is not None:
                error = failure(event.sqlstate, event.message, self._place)
                if isinstance(error, ConnectionLostError):
                    raise error
                self._done = self.refused = True  # no room for the rows of a call, say: the walsender needs none
            case Doubt():
                self._cut()
                self._done = self.doubtful = True
            case _:
                super()._act(event)

    def _next(self) -> None:
        """A call has ended: note how far that is, and go on."""
        self._at("copy ended")
        last, self._reached = self._reached, self._copy.reached()
        with self._changed:
            self._cut()
            self._sent = self._reached.confirmed
            self._done = self._is_level(last)
            self._changed.notify_all()
        frames, size = self._traffic.frames - self._before[0], self._traffic.bytes - self._before[1]
        if self._done:
            return
        if frames:
            self._rows = min(_MANY_ROWS, int(self._rows * _GROWTH), max(_FEW_ROWS, _CALL * frames // size))
        else:
            self._wait()
        if not self._stopping:
            self._call()

    def _is_level(self, last: Reached) -> bool:
        if self._level is None:
            return False
        self.dear = is_dear(last.confirmed - last.restart, self._reached.confirmed - last.confirmed)
        return self.dear or self._reached.behind <= self._level

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping, _POLL)

    def _report_if_due(self) -> None:
        if self._confirmed > self._reported and time.monotonic() >= self._not_before:
            self._report()

    def _report(self) -> None:
        """Move the slot to what is confirmed. The server reads all WAL between for that, so not too often."""
        lsn, began = self._confirmed, time.monotonic()
        if lsn > self._reported:
            self._copy.advance(lsn)
            self._reported = lsn
            self._at("slot moved")
        took = time.monotonic() - began
        self._not_before = time.monotonic() + max(_PROMPT, _SHARE * took)
