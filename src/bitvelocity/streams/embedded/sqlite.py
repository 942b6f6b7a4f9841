"""SQLite files that several processes share: made whole or not at all, and every failure told in the bus's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Lock
from uuid import uuid4

from bitvelocity.errors import BusError, BusLostError
from bitvelocity.files import sync_path
from bitvelocity.streams.refusals import closed

PATIENCE_S = 30.0
"""How long a writer waits for others: much longer than any of them takes."""

_PAGE_BYTES = 16 << 10
_WAL_PAGES = 1000
_WAL_BYTES = 64 << 20


class Database:
    """One file. Readers see one moment each and wait for nobody; writers are alone, and durable when they are done."""

    def __init__(self, file: Path, entity: str) -> None:
        self._file, self._entity = file, entity
        self._idle: list[sqlite3.Connection] = []
        self._lock = Lock()
        self._closed = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lent("begin", "rollback") as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        with self._lent("begin immediate", "commit") as connection:
            yield connection

    @contextmanager
    def bare(self) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction: each statement is one."""
        with told(self._entity):
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)

    @contextmanager
    def _lent(self, begin: str, end: str) -> Iterator[sqlite3.Connection]:
        with self.bare() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute(end)  # a damaged file that was only read may refuse to commit
            finally:
                if connection.in_transaction:
                    with suppress(sqlite3.Error):  # what led here is already under way as an error
                        connection.execute("rollback")

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise closed()
            if self._idle:
                return self._idle.pop()
        return connect(self._file)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._lock:
            if not self._closed and not connection.in_transaction:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def connect(file: Path) -> sqlite3.Connection:
    """A connection to a file that is there; its commits are on the disk when they return."""
    connection = sqlite3.connect(
        f"{file.resolve().as_uri()}?mode=rw", uri=True, timeout=PATIENCE_S, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
    try:
        connection.execute("pragma synchronous = full")
        connection.execute(f"pragma wal_autocheckpoint = {_WAL_PAGES}")
        connection.execute(f"pragma journal_size_limit = {_WAL_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def make(file: Path, script: str, rows: dict[str, list[tuple[object, ...]]]) -> None:
    """Make a file with these tables and first rows, unless it is there: others see it whole or not at all."""
    new = file.with_name(f".{uuid4().hex}.new")
    try:
        with closing(sqlite3.connect(new, isolation_level=None)) as connection:
            connection.execute(f"pragma page_size = {_PAGE_BYTES}")
            connection.execute("pragma auto_vacuum = incremental")
            connection.execute("pragma journal_mode = wal")
            connection.executescript(script)
            for statement, values in rows.items():
                connection.executemany(statement, values)
        sync_path(new)
        with suppress(FileExistsError):
            os.link(new, file)
    finally:
        for left in (new, *(new.with_name(new.name + end) for end in ("-wal", "-shm", "-journal"))):
            left.unlink(missing_ok=True)
    sync_path(file.parent)


@contextmanager
def told(entity: str) -> Iterator[None]:
    """SQLite's and the disk's failures, as errors of the bus."""
    try:
        yield
    except sqlite3.Error as error:
        raise _as_bus_error(error, entity) from error
    except OSError as error:
        raise BusError(f"{error.strerror or error}", entity=entity, safe=_SAFE) from error


_SAFE = "What was acknowledged is kept; of this call nothing is."


def _as_bus_error(error: sqlite3.Error, entity: str) -> BusError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        what = f"Another process has held the topic's file for {PATIENCE_S:.0f} seconds."
        return BusLostError(what, entity=entity, safe=_SAFE)
    if code == sqlite3.SQLITE_FULL:
        return BusError(
            "The disk is full.", entity=entity, safe=_SAFE, remedy="Make room, or let the topic keep less (retention)."
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return BusError(
            f"The file is damaged: {error}.", entity=entity, safe="Other topics are files of their own.",
            remedy="Read on from a later offset; what cannot be read may be in bronze, or in the source.",
        )  # fmt: skip
    return BusError(f"SQLite: {error}.", entity=entity, safe=_SAFE)
