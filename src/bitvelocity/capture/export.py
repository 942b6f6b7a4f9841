"""The source's tables as they stood at one position, copied out as CSV: the other side of a reconciliation."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.errors import InvalidSchemaName, UndefinedColumn, UndefinedTable

from ..changes import parse_lsn
from ..contracts import EntitySpec
from ..errors import DatabaseError
from .connection import Connection, connect
from .failures import Place
from .prompt import prompting

_ALTERED = "The source was altered: change the entity to what the table is now (bitvelocity status says what), and start up again."
_PLACE = Place("of a reconciliation", "")
_MARKER = """
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn()
            else pg_logical_emit_message(true, 'bv.reconcile', '') end"""
"""A standby writes nothing: there, what it has replayed by now is as good."""


@dataclass(frozen=True, slots=True)
class Export:
    """Files by entity name, and the LSN they stand at: every transaction below it is in, none at or above it."""

    lsn: int
    marker: int
    """LSN of a message written after the copy: a stream that has passed it has passed `lsn`."""
    files: Mapping[str, Path]


def export_tables(dsn: str, specs: Sequence[EntitySpec], folder: Path, *, primary: str = "") -> Export:
    """Copy the tables of `specs` into `folder`, all at one position, without locks.

    CSV as PostgreSQL writes it (text values as the stream prints them; an empty field is NULL, `""` is an empty
    string). Needs the privilege to make a temporary replication slot, as capture itself does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _snapshot(dsn, primary) as (lsn, name), connect(dsn, _PLACE) as connection:
            _enter(connection, name)
            files = {spec.name: _copy(connection, spec, folder / f"{spec.name}.csv") for spec in specs}
        with connect(dsn, _PLACE) as connection:
            marker = connection.execute(_MARKER).fetchone()
    except psycopg.Error as error:
        altered = isinstance(error, (UndefinedColumn, UndefinedTable, InvalidSchemaName))
        raise DatabaseError(
            f"The source could not be copied: {str(error).strip()}",
            safe="Nothing was changed.",
            remedy=_ALTERED if altered else "Capture's role needs REPLICATION and SELECT: bitvelocity doctor",
        ) from error
    return Export(lsn, parse_lsn(str(marker[0])) if marker else lsn, files)


@contextmanager
def _snapshot(dsn: str, primary: str) -> Iterator[tuple[int, str]]:
    """A snapshot that stands exactly at an LSN: what a logical slot exports when it is made."""
    with connect(dsn, _PLACE, replication=True) as connection:
        statement = sql.SQL("CREATE_REPLICATION_SLOT {} TEMPORARY LOGICAL pgoutput (SNAPSHOT 'export')")
        with prompting(primary, connection, _PLACE):
            row = connection.execute(statement.format(sql.Identifier(f"bv_export_{os.getpid()}"))).fetchone()
        if row is None:
            raise DatabaseError("The server made no snapshot.")
        yield parse_lsn(row[1]), row[2]


def _enter(connection: Connection, snapshot: str) -> None:
    connection.execute("begin isolation level repeatable read read only")
    connection.execute(sql.SQL("set transaction snapshot {}").format(sql.Literal(snapshot)))


def _copy(connection: Connection, spec: EntitySpec, file: Path) -> Path:
    columns = sql.SQL(", ").join(sql.Identifier(column.name) for column in spec.columns)
    query = sql.SQL("copy (select {} from {}) to stdout (format csv)").format(
        columns, sql.Identifier(spec.schema, spec.table)
    )
    with connection.cursor() as cursor, file.open("wb") as out, cursor.copy(query) as copy:
        for block in copy:
            out.write(block)
    return file
