"""What we keep in a database beside the tables: the schema `bv` with its functions, enum types, roles and grants."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ..contracts.spec import EntitySpec
from ..contracts.terms import split_name
from ..contracts.trail import trails_of
from ..contracts.types import Type
from .catalog import Catalog
from .ddl import literal, qualified, quote
from .statements import Statement, load
from .steps import Refused, Step
from .trail import function_steps

SIGNATURES = {
    "stamp_new": "()",
    "stamp_change": "()",
    "stamp_guard": "()",
    "context_strict": "()",
    "context_fallback": "()",
    "uuid7_floor": "(timestamptz)",
    "uuidv7": "()",
    "mark_ddl": "()",
    "mark_rewrite": "()",
    "ensure_partitions": "(regclass, text, timestamptz, timestamptz)",
    "expire_partitions": "(regclass, timestamptz)",
}
ROLES = {
    "bv_app": "for applications: read and write rows, no DDL",
    "bv_capture": "for change capture: read rows; its login also needs the REPLICATION attribute",
    "bv_reader": "for people who look: read rows",
}
HAS_UUIDV7 = 18


@dataclass(frozen=True, slots=True)
class State:
    """The server, and what is there of ours."""

    major: int
    wal_level: str
    may_create_roles: bool
    may_replicate: bool
    may_create: bool
    database: str
    role: str
    functions: dict[str, str]
    tables: frozenset[str]
    """Our own, in the schema bv."""
    schemas: frozenset[str]
    roles: frozenset[str]
    enums: dict[str, tuple[str, ...]]


def read_state(connection: psycopg.Connection[Any]) -> State:
    """Three small queries."""
    statements = load("state")
    with connection.cursor(row_factory=dict_row) as cursor:
        server = cursor.execute(statements["server"].sql).fetchone()
        assert server is not None
        functions = cursor.execute(statements["functions"].sql).fetchall()
        names = cursor.execute(statements["names"].sql).fetchall()
    return State(
        major=server["major"],
        wal_level=server["wal_level"],
        may_create_roles=server["rolsuper"] or server["rolcreaterole"],
        may_replicate=server["may_replicate"],
        may_create=server["may_create"],
        database=server["database"],
        role=server["role"],
        functions={row["proname"]: row["fingerprint"] or "" for row in functions},
        tables=frozenset(row["name"] for row in names if row["kind"] == "table"),
        schemas=frozenset(row["name"] for row in names if row["kind"] == "schema"),
        roles=frozenset(row["name"] for row in names if row["kind"] == "role"),
        enums={row["name"]: tuple(row["labels"]) for row in names if row["kind"] == "enum"},
    )


def house_steps(state: State, specs: Sequence[EntitySpec]) -> Iterator[Step | Refused]:
    """The schemas, functions and enum types that the tables need."""
    if not specs:
        return
    yield from _schemas(state, specs)
    for statement in _functions(state):
        if state.functions.get(statement.name) != statement.fingerprint:
            yield Step(sql=function_sql(statement), reason=statement.sentence)
    yield from function_steps(state.functions, specs)
    yield from _enums(state, specs)


def prerequisites(state: State, specs: Sequence[EntitySpec]) -> list[str]:
    """The SQL of all that the definition of a table may name, for the trial in a transaction."""
    return [step.sql for step in house_steps(state, specs) if isinstance(step, Step) and not step.alone]


def function_sql(statement: Statement) -> str:
    """Create a function and note the fingerprint of its text on it."""
    comment = f"comment on function bv.{statement.name}{SIGNATURES[statement.name]} is {literal(statement.fingerprint)}"
    return f"{statement.sql};\n{comment}"


def role_steps(
    connection: psycopg.Connection[Any], catalog: Catalog, specs: Sequence[EntitySpec], state: State
) -> Iterator[Step | Refused]:
    """The three group roles and their grants on the tables of these specs."""
    if not specs:
        return
    absent = [role for role in ROLES if role not in state.roles]
    made = set(absent) if state.may_create_roles else set()
    for role in sorted(made):
        yield Step(sql=f"create role {role} nologin", reason=f"Group role {ROLES[role]}.")
    if absent and not made:
        yield Refused(
            reason=f"The roles {', '.join(absent)} are not there, and {state.role} may not create roles.",
            remedy="Have an administrator run: " + " ".join(f"create role {role} nologin;" for role in absent),
        )
    yield from _usages(connection, specs, made, state)
    yield from _grants(connection, catalog, specs, made=made, roles=made | state.roles)


def _schemas(state: State, specs: Sequence[EntitySpec]) -> Iterator[Step]:
    if "bv" not in state.schemas:
        yield Step(sql="create schema bv", reason="The functions of BitVelocity live in a schema of their own.")
    for schema in sorted({spec.schema for spec in specs} - state.schemas):
        yield Step(sql=f"create schema {quote(schema)}", reason="Entities are declared in this schema.")


def _functions(state: State) -> list[Statement]:
    return [s for s in (*load("schema").values(), *load("context").values()) if s.name != "uuidv7" or state.major < HAS_UUIDV7]


def _enums(state: State, specs: Sequence[EntitySpec]) -> Iterator[Step | Refused]:
    seen: set[str] = set()
    for spec in specs:
        for column in spec.columns:
            of = column.type.item if column.type.kind == "array" and column.type.item else column.type
            if of.kind == "enum" and of.native not in seen:
                seen.add(of.native or "")
                yield from _enum(of, spec, state)


def _enum(of: Type, spec: EntitySpec, state: State) -> Iterator[Step | Refused]:
    schema, name = split_name(of.native or "")
    schema = schema or "public"
    target = qualified(schema, name)
    existing = state.enums.get(f"{schema}.{name}")
    if existing is None:
        labels = ", ".join(literal(choice) for choice in of.choices)
        yield Step(sql=f"create type {target} as enum ({labels})", reason="An enum type of the entities.", entity=spec.name)
        return
    for before, choice in zip(("", *of.choices), of.choices, strict=False):
        if choice not in existing:
            place = f" after {literal(before)}" if before else f" before {literal(existing[0])}"
            yield Step(
                sql=f"alter type {target} add value if not exists {literal(choice)}{place}",
                reason=f"The entity allows a new value of {target}.",
                entity=spec.name,
                alone=True,
            )
    if surplus := [label for label in existing if label not in of.choices]:
        yield Refused(
            reason=f"The type {target} also allows {', '.join(surplus)}: PostgreSQL cannot take an enum value away.",
            remedy="Declare these values too, or make a new type and move the column to it.",
            entity=spec.name,
        )


def _usages(
    connection: psycopg.Connection[Any], specs: Sequence[EntitySpec], made: set[str], state: State
) -> Iterator[Step]:
    schemas = sorted({spec.schema for spec in specs} | {"bv"})
    rows = connection.execute(load("state")["usages"].sql, {"schemas": schemas}).fetchall()
    wanted = {(role, schema) for role, schema in rows if schema in state.schemas}
    wanted |= {(role, schema) for role in made for schema in schemas}
    wanted |= {(role, schema) for role in state.roles for schema in schemas if schema not in state.schemas}
    for role in sorted({role for role, _ in wanted}):
        names = ", ".join(quote(schema) for of, schema in sorted(wanted) if of == role)
        yield Step(sql=f"grant usage on schema {names} to {role}", reason=f"{role} looks into these schemas.")


def _grants(
    connection: psycopg.Connection[Any],
    catalog: Catalog,
    specs: Sequence[EntitySpec],
    *,
    made: Set[str],
    roles: Set[str],
) -> Iterator[Step]:
    there = [catalog.tables[spec.qualified].oid for spec in specs if spec.qualified in catalog.tables]
    rows = connection.execute(load("state")["grants"].sql, {"tables": there}).fetchall()
    trails = {trail.qualified for trail in trails_of(specs)}
    missing: defaultdict[tuple[str, bool], set[str]] = defaultdict(set)
    for role, privilege, schema, table in rows:
        trail = f"{schema}.{table}" in trails
        if not trail or privilege == "SELECT":
            missing[role, role == "bv_app" and not trail].add(qualified(schema, table))
    for spec in specs:
        for role in roles:
            if role in made or spec.qualified not in catalog.tables:
                writes = role == "bv_app" and spec.qualified not in trails
                missing[role, writes].add(qualified(spec.schema, spec.table))
    for role, writes in sorted(missing):
        what = "select, insert, update, delete" if writes else "select"
        tables = ", ".join(sorted(missing[role, writes]))
        yield Step(sql=f"grant {what} on {tables} to {role}", reason=f"{role} is {ROLES[role]}.")
