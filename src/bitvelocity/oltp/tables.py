"""Tables that are missing, and tables that are not what their entity says: the steps in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from alembic.operations.ops import (
    AddColumnOp,
    AlterColumnOp,
    CreateForeignKeyOp,
    CreateTableCommentOp,
    DropColumnOp,
)
from psycopg import sql

from ..contracts.spec import EntitySpec
from .catalog import Catalog, FoundColumn, FoundTable
from .ddl import literal, qualified, quote, rendered
from .enforce import context_trigger
from .partitions import default_partition_sql, ensure_sql, missing_partitions
from .shadow import Wanted, create_table_sql
from .steps import Refused, Step
from .trail import trail_triggers
from .widening import widens

UNKNOWN = "unknown"
"""Who made and changed the rows that were there before the audit columns."""
STAMPS = {
    "stamp_new": ("insert", "Stamps who made a row."),
    "stamp_change": ("update", "Stamps who changed a row, when, and how often."),
    "stamp_guard": (
        "update of created_at, created_by, deleted_at, deleted_by",
        "Keeps who made a row, and stamps who deleted it.",
    ),
}
"""Function, and trigger with `bv_` before it -> when it fires. Three, so that an update runs only what it needs."""
CONDITIONS = {
    "stamp_change": """new.version is distinct from old.version + 1 or new.updated_at is distinct from now()
  or new.updated_by is distinct from coalesce(nullif(current_setting('bv.operation_user', true), ''), session_user)"""
}
"""Function -> when it has something to do. A statement that sets exactly what it would stamp need not call it: that is a
quarter of the cost (docs/decisions/0012-stamps-by-a-row-trigger.md). Nothing else passes."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A declared table beside the one that is there."""

    want: Wanted
    found: FoundTable
    leaves: list[FoundTable]
    connection: psycopg.Connection[Any]
    allow_destructive: bool

    @property
    def spec(self) -> EntitySpec:
        return self.want.spec

    @property
    def name(self) -> str:
        return qualified(self.spec.schema, self.spec.table)

    def step(self, text: str, reason: str, *, destructive: bool = False) -> Step:
        return Step(sql=text, reason=reason, entity=self.spec.name, destructive=destructive)

    def refuse(self, reason: str, remedy: str, *, blocks: bool = True) -> Refused:
        return Refused(reason=reason, remedy=remedy, entity=self.spec.name, blocks=blocks)

    def has_rows(self) -> bool:
        query = sql.SQL("select exists (select from {})").format(sql.Identifier(self.spec.schema, self.spec.table))
        row = self.connection.execute(query).fetchone()
        return bool(row and row[0])


def new_tables(wanted: Sequence[Wanted]) -> Iterator[Step]:
    """Create tables that are not there, referenced ones first; a reference that closes a cycle comes last."""
    for want in wanted:
        spec = want.spec
        target = qualified(spec.schema, spec.table)
        yield Step(sql=create_table_sql(want.table), reason=f"Table of {spec.name}.", entity=spec.name)
        if spec.replica_identity == "full":
            yield _full_identity(target, spec)
        if spec.audit:
            yield from _stamp_triggers(spec, {})
        yield from _statement_triggers(spec, target, {})
        if spec.partition:
            yield from _default_partition(spec)
            yield Step(sql=ensure_sql(spec), reason="Partitions around now.", entity=spec.name)
    for want in wanted:
        for key in want.table.foreign_key_constraints:
            if key.use_alter:
                yield Step(
                    sql=rendered(CreateForeignKeyOp.from_constraint(key)),
                    reason="A reference that closes a cycle.",
                    entity=want.spec.name,
                )


def _default_partition(spec: EntitySpec) -> Iterator[Step]:
    name = qualified(spec.schema, f"{spec.table}_default")
    yield Step(sql=default_partition_sql(spec), reason="Rows outside all ranges go here.", entity=spec.name)
    if spec.replica_identity == "full":
        yield _full_identity(name, spec)
    yield from _statement_triggers(spec, name, {}, root=False)


def _statement_triggers(spec: EntitySpec, target: str, found: dict[str, str], *, root: bool = True) -> Iterator[Step]:
    """Of the table or of one partition; partitions made later copy the table's."""
    yield from context_trigger(spec, target, found)
    yield from trail_triggers(spec, target, found, root=root)


def table_steps(
    connection: psycopg.Connection[Any], want: Wanted, catalog: Catalog, *, allow_destructive: bool
) -> Iterator[Step | Refused]:
    """Bring an existing table to what its entity says, where that is quick; the slow parts are `after_steps`."""
    found = catalog.tables[want.spec.qualified]
    table = _Table(want, found, catalog.leaves(found), connection, allow_destructive)
    disagreements = list(_shape(table))
    if disagreements:
        yield from disagreements
        return
    for part in _PARTS:
        yield from part(table)


def _shape(table: _Table) -> Iterator[Refused]:
    """What no ALTER TABLE can change."""
    found, shape = table.found, table.want.shape
    if found.kind not in "rp":
        kinds = {"v": "a view", "m": "a materialized view", "f": "a foreign table"}
        yield table.refuse(
            f"{found.qualified} is {kinds[found.kind]} in the database, not a table.",
            f"Drop or rename it, or adopt it: managed=False for {table.spec.name}.",
        )
    elif found.persistence != "p":
        yield table.refuse(
            f"{found.qualified} is unlogged: its changes cannot be captured.", f"alter table {table.name} set logged;"
        )
    elif found.partition_key != shape.partition_key:
        have, want = (f"partitioned by {t.partition_key}" if t.partition_key else "not partitioned" for t in (found, shape))
        yield table.refuse(
            f"{found.qualified} is {have} in the database, the entity says {want}.",
            "A table cannot change that in place: declare it as it is, or copy its rows into a new table.",
        )
    elif found.key != shape.key:
        yield table.refuse(
            f"The key of {found.qualified} is ({', '.join(found.key)}), the entity says ({', '.join(shape.key)}).",
            "Declare the key as it is, or change it by hand: references and capture depend on it.",
        )


def _new_columns(table: _Table) -> Iterator[Step | Refused]:
    for column in table.want.shape.columns:
        if column.name in table.found.by_name:
            continue
        declared = table.spec.by_name[column.name]
        cell = _copy(table, column.name)
        given = declared.default is not None or declared.identity or declared.generated is not None
        backfill = not (column.nullable or given) and table.has_rows()
        if backfill and not declared.audit:
            yield table.refuse(
                f"The new column {column.name} may not be NULL and has no default, and the table has rows.",
                "Give it a default, or declare it `| None`, fill it, and take the `| None` away.",
            )
            continue
        if backfill:
            cell.server_default = sa.DefaultClause(sa.literal_column(literal(UNKNOWN)))
        text = rendered(AddColumnOp(table.spec.table, cell, schema=table.spec.schema))
        if backfill:
            text += f"\nalter table {table.name} alter column {quote(column.name)} drop default;"
        yield table.step(text, f"New column {column.name}.")


def _old_columns(table: _Table) -> Iterator[Step | Refused]:
    for column in table.found.columns:
        if column.name in table.spec.by_name:
            continue
        if table.allow_destructive:
            text = rendered(DropColumnOp(table.spec.table, column.name, schema=table.spec.schema))
            yield table.step(text, f"The entity has no column {column.name}.", destructive=True)
        else:
            yield table.refuse(
                f"{table.found.qualified} has a column {column.name} that the entity does not declare.",
                "bitvelocity apply --allow-destructive drops it with its values; if it was renamed, say so first:"
                f" alter table {table.name} rename column {quote(column.name)} to ...;",
                blocks=False,
            )


def _columns(table: _Table) -> Iterator[Step | Refused]:
    for want in table.want.shape.columns:
        have = table.found.by_name.get(want.name)
        if have is None:
            continue
        yield from _type(table, have, want)
        yield from _making(table, have, want)
        yield from _default(table, have, want)
        if want.nullable and not have.nullable and want.name not in table.found.key:
            yield table.step(_alter(table, want.name, nullable=True), f"{want.name} may be NULL.")
        if _comment(have.comment) != _comment(want.comment):
            text = _alter(table, want.name, comment=want.comment or None, existing_comment=have.comment or None)
            yield table.step(text, f"What {want.name} means has changed.")


def _type(table: _Table, have: FoundColumn, want: FoundColumn) -> Iterator[Step | Refused]:
    if have.native == want.native:
        return
    reason = f"{want.name} is {have.native} in the database, the entity says {want.native}."
    wider = widens(have.type, want.type)
    if not wider and not table.allow_destructive:
        yield table.refuse(
            reason + " Values might not fit.",
            f"Declare it as {have.native}, or convert: bitvelocity apply --allow-destructive.",
        )
        return
    using = f"{quote(want.name)}::{want.native}"
    text = _alter(table, want.name, type_=table.want.table.c[want.name].type, postgresql_using=using)
    yield table.step(text, reason, destructive=not wider)


def _making(table: _Table, have: FoundColumn, want: FoundColumn) -> Iterator[Refused]:
    """Identity and generated columns are made with the table."""
    for what, one, other in (("identity", have.identity, want.identity), ("generated", have.generated, want.generated)):
        if one != other:
            yield table.refuse(
                f"{want.name}: {what} is {one or 'no'} in the database, the entity says {other or 'no'}.",
                f"Declare it as it is, or change it by hand: alter table {table.name} alter column {quote(want.name)} ...",
            )


def _default(table: _Table, have: FoundColumn, want: FoundColumn) -> Iterator[Step]:
    if have.default == want.default or want.generated or want.identity:
        return
    default = sa.text(want.default.replace(":", "\\:")) if want.default is not None else None
    text = _alter(table, want.name, server_default=default)
    yield table.step(text, f"The default of {want.name} is {want.default or 'none'}.")


def _comment_of_table(table: _Table) -> Iterator[Step]:
    if _comment(table.found.comment) != _comment(table.want.shape.comment):
        text = rendered(
            CreateTableCommentOp(table.spec.table, table.want.shape.comment or None, schema=table.spec.schema)
        )
        yield table.step(text, "What the table means has changed.")


def _identity(table: _Table) -> Iterator[Step]:
    wanted = "f" if table.spec.replica_identity == "full" else "d"
    for part in (table.found, *table.leaves):
        if part.replica_identity != wanted:
            target = qualified(part.schema, part.name)
            if wanted == "f":
                yield _full_identity(target, table.spec)
            else:
                yield table.step(
                    f"alter table {target} replica identity default", "Old images of updates are the key only."
                )


def _triggers(table: _Table) -> Iterator[Step]:
    if table.spec.audit:
        yield from _stamp_triggers(table.spec, table.found.triggers)
    else:
        for name in table.found.triggers:
            if name.startswith("bv_stamp"):
                yield table.step(f"drop trigger {quote(name)} on {table.name}", "The entity has no audit columns.")
    for part in (table.found, *table.leaves):
        target = qualified(part.schema, part.name)
        yield from _statement_triggers(table.spec, target, part.triggers, root=part is table.found)


def _partitions(table: _Table) -> Iterator[Step]:
    if table.spec.partition is None:
        return
    if not any(leaf.is_default for leaf in table.leaves):
        yield from _default_partition(table.spec)
    if missing_partitions(table.connection, table.spec):
        yield table.step(ensure_sql(table.spec), "Partitions around now.")


_PARTS: tuple[Callable[[_Table], Iterator[Step | Refused]], ...] = (
    _new_columns, _old_columns, _columns, _comment_of_table, _identity, _triggers, _partitions,
)  # fmt: skip


def _stamp_triggers(spec: EntitySpec, found: dict[str, str]) -> Iterator[Step]:
    target = qualified(spec.schema, spec.table)
    for function, (when, reason) in STAMPS.items():
        have = found.get(f"bv_{function}", "disabled")
        condition = f" when ({CONDITIONS[function]})" if function in CONDITIONS else ""
        if have == "disabled" or (" WHEN (" in have) != bool(condition):
            yield Step(
                sql=f"create or replace trigger bv_{function} before {when} on {target}"
                f" for each row{condition} execute function bv.{function}()",
                reason=reason,
                entity=spec.name,
            )


def _full_identity(target: str, spec: EntitySpec) -> Step:
    return Step(
        sql=f"alter table {target} replica identity full",
        reason="Changes carry the whole old row.",
        entity=spec.name,
    )


def _alter(table: _Table, column: str, **change: Any) -> str:
    return rendered(AlterColumnOp(table.spec.table, column, schema=table.spec.schema, **_renamed(change)))


def _renamed(change: dict[str, Any]) -> dict[str, Any]:
    """Alembic's operation objects name these arguments otherwise than its functions."""
    names = {"nullable": "modify_nullable", "server_default": "modify_server_default", "type_": "modify_type",
             "comment": "modify_comment"}  # fmt: skip
    return {names.get(name, name): value for name, value in change.items()}


def _copy(table: _Table, column: str) -> sa.Column[Any]:
    return table.want.table.c[column]._copy()


def _comment(text: str) -> str:
    return text.replace("\t", "    ")  # Alembic prints tabs so
