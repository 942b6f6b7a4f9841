"""The store in PostgreSQL: a schema of its own, `bitvelocity_registry`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from .refusals import store_failed
from .rows import Run, make_tables
from .store import Connections

_LOCK = 0x62765F7265670001  # "bv_reg", and the version of the tables


class PostgresStore:
    """Tables in a database that several processes may write; one advisory lock puts the writers in a row."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._connections = Connections(self._connect)
        with self.writing() as run:
            run("create schema if not exists bitvelocity_registry", ())
            make_tables(run)

    @contextmanager
    def reading(self) -> Iterator[Run]:
        with _named(), self._connections.borrow(_begin_reading) as connection:
            yield _runner(connection)

    @contextmanager
    def writing(self) -> Iterator[Run]:
        with _named(), self._connections.borrow(_begin_writing) as connection:
            yield _runner(connection)

    def close(self) -> None:
        self._connections.close()

    def _connect(self) -> psycopg.Connection[Any]:
        connection = psycopg.connect(self._dsn, autocommit=True, application_name="bitvelocity registry")
        connection.execute("set search_path to bitvelocity_registry")
        connection.execute("set client_min_messages to warning")
        return connection


def _begin_reading(connection: psycopg.Connection[Any]) -> None:
    connection.execute("begin isolation level repeatable read read only")


def _begin_writing(connection: psycopg.Connection[Any]) -> None:
    """READ COMMITTED: what follows the lock sees all that earlier holders committed."""
    connection.execute("begin isolation level read committed read write")
    connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])


def _runner(connection: psycopg.Connection[Any]) -> Run:
    def run(statement: str, values: Any) -> list[Any]:
        done = connection.execute(statement.replace("?", "%s").encode(), tuple(values))
        return done.fetchall() if done.description else []

    return run


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        first = str(error).strip().splitlines()
        raise store_failed(first[0] if first else type(error).__name__) from error
