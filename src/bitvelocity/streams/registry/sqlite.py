"""The store in one SQLite file: the embedded default."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .refusals import store_failed
from .rows import Run, make_tables
from .store import Connections

PATIENCE_S = 30.0


class SqliteStore:
    """A file that several processes may write; a commit is on the disk before it returns."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connections = Connections(self._connect)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise store_failed(f"{file.parent}: {error.strerror}") from error
        try:
            with self.writing() as run:
                make_tables(run)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Run]:
        with _named(self._file), self._connections.borrow(_begin("begin")) as connection:
            yield _runner(connection)

    @contextmanager
    def writing(self) -> Iterator[Run]:
        with _named(self._file), self._connections.borrow(_begin("begin immediate")) as connection:
            yield _runner(connection)

    def close(self) -> None:
        self._connections.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._file, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        try:
            _write_ahead(connection)
            connection.execute("pragma synchronous = full")
        except BaseException:
            connection.close()
            raise
        return connection


def _write_ahead(connection: sqlite3.Connection) -> None:
    """A new file's journal. SQLite waits for nobody who changes it at the same moment, whatever its timeout is."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            if connection.execute("pragma journal_mode").fetchone() != ("wal",):
                connection.execute("pragma journal_mode = wal")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin(statement: str) -> Callable[[Any], None]:
    def begin(connection: Any) -> None:
        connection.execute(statement)

    return begin


def _runner(connection: sqlite3.Connection) -> Run:
    return lambda statement, values: connection.execute(statement, tuple(values)).fetchall()


@contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise store_failed(f"{file.name}: {error}") from error
