"""The tables as PostgreSQL would have them: made in a schema of their own, read back, and rolled back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from ..contracts.spec import EntitySpec
from ..contracts.tables import to_metadata
from .catalog import FoundTable, read_catalog
from .ddl import operations, quote
from .failures import explained
from .house import State, prerequisites

SHADOW = "bv_shadow_"
SEARCH_PATH = "set local search_path = public, bv"
"""Where unqualified names of declarations are looked up: `uuidv7()` is PostgreSQL's own from 18 on, else ours."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A declared table: its spec, its SQLAlchemy form, and how the catalog would show it."""

    spec: EntitySpec
    table: sa.Table
    shape: FoundTable


def wanted_tables(connection: psycopg.Connection[Any], specs: Sequence[EntitySpec], state: State) -> list[Wanted]:
    """Make the tables in the open transaction, with `SEARCH_PATH`, which the caller rolls back, and read what became of them."""
    if not specs:
        return []
    for sql in prerequisites(state, specs):
        connection.execute(sql)
    shadows = {schema: f"{SHADOW}{n}" for n, schema in enumerate(sorted({spec.schema for spec in specs}))}
    for shadow in shadows.values():
        connection.execute(f"create schema {quote(shadow)}")
    for spec in specs:
        _make(connection, spec, shadows[spec.schema])
    catalog = read_catalog(connection, list(shadows.values()))
    tables = typed_metadata(specs).tables
    return [
        Wanted(spec, tables[spec.qualified], catalog.tables[f"{shadows[spec.schema]}.{spec.table}"]) for spec in specs
    ]


def typed_metadata(specs: Sequence[EntitySpec]) -> sa.MetaData:
    """The SQLAlchemy tables, without their habit of creating enum types on the way."""
    metadata = to_metadata(specs)
    for table in metadata.tables.values():
        for column in table.columns:
            of = column.type.item_type if isinstance(column.type, postgresql.ARRAY) else column.type
            if isinstance(of, postgresql.ENUM):
                of.create_type = False
    return metadata


def create_table_sql(table: sa.Table) -> str:
    """CREATE TABLE with its indexes and comments."""
    buffer = StringIO()
    operations(buffer).impl.create_table(table)
    return buffer.getvalue().strip()


def _make(connection: psycopg.Connection[Any], spec: EntitySpec, shadow: str) -> None:
    alone = replace(spec, schema=shadow, references=())
    (table,) = typed_metadata([alone]).tables.values()
    try:
        connection.execute(create_table_sql(table))
    except psycopg.Error as error:
        raise explained(error, doing="Making the table as it is declared", entity=spec.name) from error
