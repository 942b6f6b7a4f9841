"""Entities brought into a database, and asked of it: what the tests of plan and apply share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.oltp import Plan, apply, connect, plan

TEXT, INT = Type("text"), Type("int32")
BARE = EntitySpec(
    name="bare",
    table="bare",
    columns=(Column(name="id", type=INT), Column(name="note", type=TEXT, nullable=True)),
    key=("id",),
    audit=False,
    replica_identity="default",
)


def settle(dsn: str, *specs: EntitySpec, allow_destructive: bool = False) -> Plan:
    """Plan, apply, and see that nothing is left to do."""
    made = plan(dsn, specs, allow_destructive=allow_destructive)
    apply(dsn, made)
    again = plan(dsn, specs, allow_destructive=allow_destructive)
    assert again.text() == ""
    return made


def run(dsn: str, *statements: str) -> list[Any]:
    with connect(dsn, autocommit=True) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
        cursor = connection.execute(statements[-1])
        return cursor.fetchall() if cursor.description else []


def with_column(spec: EntitySpec, *columns: Column) -> EntitySpec:
    named = {column.name: column for column in columns}
    kept = [named.pop(column.name, column) for column in spec.columns]
    return replace(spec, columns=(*kept, *named.values()))
