"""Databases that know nothing of us: their tables as entities, what cannot be captured, and the publication."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import psycopg

from ..contracts.spec import EntitySpec
from ..contracts.trail import SUFFIX, TAKEN
from ..errors import DatabaseError
from .catalog import Catalog, FoundTable, read_catalog, to_spec, user_schemas
from .connect import connect
from .ddl import qualified, quote
from .failures import explained
from .house import State, read_state
from .publish import GENERATED_SINCE, PUBLICATION, publication_steps, read_publication
from .steps import Refused, Step


@dataclass(frozen=True, slots=True)
class Problem:
    """A table, or a column of one, that cannot be captured; `remedy` is the statement that would change that."""

    table: str
    reason: str
    remedy: str
    column: str | None = None


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a database has: entities that can be captured as they are, and what cannot."""

    specs: tuple[EntitySpec, ...]
    problems: tuple[Problem, ...]


def adopt(dsn: str, *, schemas: Sequence[str] | None = None) -> Adoption:
    """Read an existing database. Nothing in it changes.

    A table with no key but REPLICA IDENTITY FULL becomes an entity with an empty key (bronze only). One whose updates
    could not be published is left out: in a publication they would fail for the application.
    """
    with connect(dsn) as connection:
        state = read_state(connection)
        there = user_schemas(connection)
        if missing := sorted(set(schemas or ()) - set(there)):
            raise DatabaseError(
                f"There is no schema {missing[0]!r} in the database {state.database}.",
                remedy=f"Its schemas are: {', '.join(there)}.",
            )
        catalog = read_catalog(connection, list(schemas or there))
        readable = {oid for (oid,) in connection.execute(READABLE, [[t.oid for t in catalog.tables.values()]])}
    problems: list[Problem] = []
    taken: list[FoundTable] = []
    for table in catalog.tables.values():
        if table.root is not None:
            continue  # a partition comes with its root
        if _is_trail(table, catalog):
            problems.append(Problem(table.qualified, "It is an audit trail that we keep: its rows tell of another table's.", "None."))
            continue
        found = list(_table_problems(table, catalog, readable))
        problems += found
        if not found:
            taken.append(table)
    names = lake_names([(table.schema, table.name) for table in taken])
    specs = []
    for table in taken:
        hidden = list(_hidden_columns(table, state))
        problems += hidden
        specs.append(_without(to_spec(table, names[table.schema, table.name]), {p.column for p in hidden}))
    return Adoption(tuple(specs), tuple(problems))


def prepare_capture(
    dsn: str, specs: Sequence[EntitySpec], *, publication: str = PUBLICATION
) -> tuple[Problem, ...]:
    """Make the publication, and nothing else; the tables stay as they are. Again is harmless.

    Refuses with a remedy when the server or the role cannot do change capture. Gives the tables that had to be left
    out.
    """
    with connect(dsn) as connection:
        state = read_state(connection)
        _require_capture(state)
        catalog = read_catalog(connection, sorted({spec.schema for spec in specs}))
        _require_columns(catalog, specs)
        found = read_publication(connection, catalog, specs, publication)
        steps = list(publication_steps(found, catalog, specs, major=state.major))
        for step in steps:
            if isinstance(step, Refused):
                raise DatabaseError(step.reason, safe="Nothing was changed.", remedy=step.remedy)
            _publish(connection, step, state)
        connection.commit()
    return tuple(
        problem
        for spec in specs
        if not spec.managed
        for problem in _identity(catalog.tables[spec.qualified], catalog)
    )


def lake_names(tables: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """A name for each table in the lake: plain, unique, without the schema where that is clear."""
    ordered = list(tables)
    plain = {key: _plain(key[1]) for key in ordered}
    clashing = {name for name in plain.values() if len({key[0] for key in ordered if plain[key] == name}) > 1}
    names: dict[tuple[str, str], str] = {}
    for key in ordered:
        wanted = f"{_plain(key[0])}_{plain[key]}" if plain[key] in clashing else plain[key]
        name, n = wanted, 2
        while name in names.values():
            name, n = f"{wanted}_{n}", n + 1
        names[key] = name
    return names


def _is_trail(table: FoundTable, catalog: Catalog) -> bool:
    """Made by `audit_trail`: it has our columns, and the table that it tells of is there."""
    told = table.qualified.removesuffix(SUFFIX)
    return told != table.qualified and told in catalog.tables and {column.name for column in table.columns} >= TAKEN


READABLE = "select oid from unnest(%s::oid[]) as t (oid) where has_table_privilege(oid, 'select')"
KINDS = {
    "v": "a view: it has no changes of its own",
    "m": "a materialized view: it has no changes of its own",
    "f": "a foreign table: its changes happen in another database",
}


def _table_problems(table: FoundTable, catalog: Catalog, readable: set[int]) -> Iterator[Problem]:
    name = qualified(table.schema, table.name)
    if table.kind in KINDS:
        remedy = "adopt that database" if table.kind == "f" else "capture the tables under it, and write it as a model"
        yield Problem(table.qualified, f"It is {KINDS[table.kind]}.", f"None here: {remedy}.")
        return
    if table.persistence == "u":
        yield Problem(table.qualified, "It is unlogged: its changes are not in the WAL.", f"alter table {name} set logged;")
    if table.persistence == "t":
        yield Problem(table.qualified, "It is temporary.", "None: it goes with its session.")
    if table.inherited:
        yield Problem(
            table.qualified,
            "Other tables inherit from it, so that their rows are also its own.",
            f"alter table <child> no inherit {name}; or make them partitions.",
        )
    if not table.columns:
        yield Problem(table.qualified, "It has no columns.", f"alter table {name} add column ...;")
        return
    if table.oid not in readable:
        yield Problem(table.qualified, "We may not read it.", f"grant select on {name} to current_user;")
    yield from _identity(table, catalog)


def _identity(table: FoundTable, catalog: Catalog) -> Iterator[Problem]:
    parts = catalog.leaves(table) if table.kind == "p" else [table]
    for part in parts:
        if not part.identified:
            name = qualified(part.schema, part.name)
            yield Problem(table.qualified, *_REASONS[_why(part)](name))


def _why(table: FoundTable) -> str:
    if table.replica_identity == "n":
        return "nothing"
    if table.replica_identity == "i":
        return "index"
    return "deferrable" if table.key else "keyless"


_REASONS: dict[str, Callable[[str], tuple[str, str]]] = {
    "keyless": lambda name: (
        "It has no primary key: published, its updates and deletes would fail for the application.",
        f"alter table {name} add primary key (...); or: alter table {name} replica identity full;",
    ),
    "deferrable": lambda name: (
        "Its primary key is deferrable, which does not identify rows: published, its updates would fail.",
        f"alter table {name} replica identity full;",
    ),
    "nothing": lambda name: (
        "Its replica identity is NOTHING: published, its updates and deletes would fail for the application.",
        f"alter table {name} replica identity default; (without a primary key: full)",
    ),
    "index": lambda name: (
        "The index of its replica identity is gone: published, its updates and deletes would fail.",
        f"alter table {name} replica identity full;",
    ),
}


def _hidden_columns(table: FoundTable, state: State) -> Iterator[Problem]:
    """Generated columns that PostgreSQL does not send."""
    for column in table.columns:
        if column.generated is None or (state.major >= GENERATED_SINCE and not column.virtual):
            continue
        name = f"alter table {qualified(table.schema, table.name)} alter column {quote(column.name)}"
        reason = "virtual ones never are" if column.virtual else f"before {GENERATED_SINCE} PostgreSQL does not send them"
        yield Problem(
            table.qualified,
            f"The generated column {column.name} is not captured: {reason}.",
            f"{name} drop expression;" if not column.virtual else "Make it a stored one, or compute it in a model.",
            column=column.name,
        )


def _without(spec: EntitySpec, hidden: set[str | None]) -> EntitySpec:
    """The entity without the columns that are never sent, and without what needs them."""
    if not hidden:
        return spec
    return replace(
        spec,
        columns=tuple(column for column in spec.columns if column.name not in hidden),
        key=() if hidden & set(spec.key) else spec.key,
        unique=tuple(columns for columns in spec.unique if not hidden & set(columns)),
        references=tuple(reference for reference in spec.references if not hidden & set(reference.columns)),
        indexes=(),
    )


def _require_capture(state: State) -> None:
    if state.wal_level != "logical":
        raise DatabaseError(
            f"The server has wal_level = {state.wal_level}; change capture needs logical.",
            safe="Nothing was changed.",
            remedy="alter system set wal_level = logical; then restart the server (in a cloud: rds.logical_replication"
            " or cloudsql.logical_decoding = on).",
            code="WalLevel",
        )
    if not state.may_replicate:
        raise DatabaseError(
            f"The role {state.role} may not read the change stream.",
            safe="Nothing was changed.",
            remedy=f"alter role {quote(state.role)} replication; (on RDS: grant rds_replication to {quote(state.role)};)",
            code="MissingPrivilege",
        )


def _require_columns(catalog: Catalog, specs: Sequence[EntitySpec]) -> None:
    for spec in specs:
        table = catalog.tables.get(spec.qualified)
        lacking = [column.name for column in spec.columns if table and column.name not in table.by_name]
        if table is None or lacking:
            what = f"column {lacking[0]} of {spec.qualified}" if lacking else f"table {spec.qualified}"
            remedy = "bitvelocity apply makes it." if spec.managed else "Correct the entity, or adopt the database again."
            raise DatabaseError(
                f"Entity and database disagree: there is no {what}.",
                entity=spec.name,
                safe="Nothing was changed.",
                remedy=remedy,
                code="Disagreement",
            )


def _publish(connection: psycopg.Connection, step: Step, state: State) -> None:
    try:
        connection.execute(step.sql)
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"The role {state.role} may not make the publication: {error.diag.message_primary}",
            safe="Nothing was changed.",
            remedy=f"Have the owner of the tables run: {step.sql};",
            code="MissingPrivilege",
        ) from error
    except psycopg.Error as error:
        raise explained(error, doing="Making the publication") from error


def _plain(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", ascii_name).strip("_")[:60] or "table"
