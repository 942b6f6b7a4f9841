"""Read-only SQL over bronze, silver and gold, at one published watermark."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..errors import QueryError

EXPLAIN = re.compile(r"\s*explain\s*(?:analyze\b|\([^()]*\))?", re.IGNORECASE)
READ_ONLY = "Queries read; rows are changed in the source database, and models are files in models/."


class Reader(Protocol):
    """What serving needs of the lake: a connection whose views stand at the newest watermark after `refresh`."""

    @property
    def connection(self) -> duckdb.DuckDBPyConnection: ...

    def refresh(self) -> object: ...


def shut_in(reader: Reader, lake: Path) -> None:
    """From now on the reader's connection reads files of the lake and no others, and no setting can undo it.

    For queries that come from outside; there is no way back on the same connection.
    """
    run = reader.connection.execute
    folders = exp.array(exp.Literal.string(str(lake))).sql("duckdb")
    run(f"SET temp_directory = {exp.Literal.string(str(lake / '.scratch')).sql('duckdb')}")
    run(f"SET allowed_directories = {folders}")
    run("SET enable_external_access = false")
    run("SET lock_configuration = true")


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a query, as Arrow; `more` says that the limit cut it."""

    rows: pa.Table
    more: bool

    def as_dicts(self) -> list[dict[str, Any]]:
        """Rows as dictionaries, for people and JSON."""
        return self.rows.to_pylist()


def ask(reader: Reader, sql: str, *, limit: int | None = None) -> Answer:
    """Run one SELECT at the newest watermark; anything that writes, attaches or reads other files is refused."""
    _check(reader.connection, sql)
    reader.refresh()
    try:
        relation = reader.connection.sql(sql)
        rows = relation.limit(limit + 1).to_arrow_table() if limit is not None else relation.to_arrow_table()
    except duckdb.Error as error:
        raise QueryError(_first_line(error), remedy=_hint(error)) from error
    more = limit is not None and rows.num_rows > limit
    return Answer(rows.slice(0, limit) if more else rows, more)


def _check(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(_first_line(error), remedy="Correct the SQL; it is DuckDB's dialect.") from error
    if not statements:
        raise QueryError("There is nothing to run.", remedy="Write one SELECT.")
    if len(statements) > 1:
        raise QueryError(f"One statement at a time, please; this has {len(statements)}.", remedy="Split it.")
    kind = statements[0].type
    if kind == duckdb.StatementType.EXPLAIN:
        _check(connection, EXPLAIN.sub("", sql, count=1))  # EXPLAIN ANALYZE runs what it explains
    elif kind != duckdb.StatementType.SELECT:
        raise QueryError(f"This statement is not a query: {kind.name}.", safe="Nothing was changed.", remedy=READ_ONLY)


def _first_line(error: duckdb.Error) -> str:
    return str(error).split("\n\n", maxsplit=1)[0].strip()


def _hint(error: duckdb.Error) -> str:
    if isinstance(error, duckdb.CatalogException):
        return "See what there is: bitvelocity query \"select * from information_schema.tables\""
    if isinstance(error, duckdb.PermissionException):
        return "A query reads the lake's own tables (bronze, silver, gold) only."
    return "Correct the SQL; it is DuckDB's dialect."
