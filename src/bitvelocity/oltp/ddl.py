"""DDL as text: Alembic's operations over the contracts' SQLAlchemy tables, printed instead of run."""

from __future__ import annotations

from io import StringIO
from typing import Any

import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.operations.ops import MigrateOperation
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.ddl import DDLElement
from sqlalchemy.types import TypeEngine

DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
"""Named parameters: the other styles double every % in a text."""


def operations(buffer: StringIO) -> Operations:
    """Alembic operations that write their SQL into `buffer`."""
    context = MigrationContext.configure(dialect=DIALECT, opts={"as_sql": True, "output_buffer": buffer})
    return Operations(context)


def rendered(*steps: MigrateOperation) -> str:
    """The SQL of Alembic operations."""
    buffer = StringIO()
    writer = operations(buffer)
    for step in steps:
        writer.invoke(step)
    return buffer.getvalue().strip()


def compiled(element: DDLElement | TypeEngine[Any]) -> str:
    """The SQL of one SQLAlchemy element."""
    return str(element.compile(dialect=DIALECT)).strip()


def quote(name: str) -> str:
    """One identifier, quoted where it must be."""
    return str(DIALECT.identifier_preparer.quote(name))


def qualified(schema: str, name: str) -> str:
    """A name with its schema."""
    return f"{quote(schema)}.{quote(name)}"


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return compiled_literal(sa.literal(text, sa.TEXT()))


def compiled_literal(value: sa.ColumnElement[Any]) -> str:
    """A value as SQL."""
    return str(value.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))


class CreateIndexOnOnly(CreateIndex):
    """CREATE INDEX ON ONLY: on a partitioned table itself, not valid until each leaf's index is attached."""

    inherit_cache = False


@compiles(CreateIndexOnOnly, "postgresql")
def _on_only(element: CreateIndexOnOnly, compiler: Any, **options: Any) -> str:
    text = compiler.visit_create_index(element, **options)
    place = f" ON {compiler.preparer.format_table(element.element.table)} USING "
    return str(text.replace(place, place.replace(" ON ", " ON ONLY ", 1), 1))
