"""A database as its catalog tells it: tables with columns, constraints, indexes and partitions, in six queries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ..contracts.spec import Column, EntitySpec, Index, OnDelete, Reference
from ..contracts.types import Type
from .kinds import Types, read_types
from .statements import load

Row = dict[str, Any]

ON_DELETE: dict[str, OnDelete] = {"a": "no action", "r": "restrict", "c": "cascade", "n": "set null"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundColumn:
    """A column. `native` is its type as PostgreSQL prints it."""

    name: str
    type: Type
    native: str
    nullable: bool
    default: str | None
    identity: bool
    generated: str | None
    comment: str
    virtual: bool = False
    """Generated when it is read; never in a row that is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundConstraint:
    """A key, unique, foreign key or check constraint. `kind` is `p`, `u`, `f` or `c`."""

    name: str
    kind: str
    definition: str
    columns: tuple[str, ...]
    validated: bool = True
    deferrable: bool = False
    to: str | None = None
    to_columns: tuple[str, ...] = ()
    on_delete: OnDelete = "no action"


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundIndex:
    """An index that no constraint made."""

    name: str
    oid: int
    method: str
    terms: tuple[str, ...]
    unique: bool
    valid: bool
    predicate: str | None
    included: tuple[str, ...]
    parent: int | None
    """The partitioned index that it is part of."""

    @property
    def shape(self) -> tuple[object, ...]:
        """What makes it another index: everything but its name."""
        return self.method, self.terms, self.unique, self.predicate, self.included


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTable:
    """A table, view or foreign table. `kind` and `persistence` are pg_class's letters."""

    oid: int
    schema: str
    name: str
    kind: str
    persistence: str
    root: int | None
    parent: int | None
    replica_identity: str
    identity_columns: tuple[str, ...] = ()
    """Of the index that is its replica identity, while there is one."""
    row_security: bool
    comment: str
    partition_key: str | None = None
    is_default: bool = False
    inherited: bool = False
    """Other tables inherit from it (the old way, not partitions)."""
    columns: tuple[FoundColumn, ...] = ()
    constraints: tuple[FoundConstraint, ...] = ()
    indexes: tuple[FoundIndex, ...] = ()
    triggers: dict[str, str] = field(default_factory=dict)

    @property
    def qualified(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def key(self) -> tuple[str, ...]:
        """Columns of the primary key."""
        return next((found.columns for found in self.constraints if found.kind == "p"), ())

    @property
    def by_name(self) -> dict[str, FoundColumn]:
        return {column.name: column for column in self.columns}

    @property
    def identified(self) -> bool:
        """Updates and deletes can be published: there is a key, or the whole row, or an index to know them by."""
        match self.replica_identity:
            case "f":
                return True
            case "i":
                return bool(self.identity_columns)
            case "d":  # a deferrable key does not count
                return any(found.kind == "p" and not found.deferrable for found in self.constraints)
            case _:
                return False


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables of some schemas, leaves of partitioned tables among them."""

    tables: dict[str, FoundTable]

    def leaves(self, table: FoundTable) -> list[FoundTable]:
        """Partitions of any depth that hold rows."""
        return [leaf for leaf in self.tables.values() if leaf.root == table.oid and leaf.kind != "p"]


def user_schemas(connection: psycopg.Connection[Any]) -> list[str]:
    """Schemas that people made."""
    return [name for (name,) in connection.execute(load("catalog")["schemas"].sql)]


def read_catalog(connection: psycopg.Connection[Any], schemas: Sequence[str]) -> Catalog:
    """Everything in these schemas."""
    with connection.cursor(row_factory=dict_row) as cursor:
        tables = cursor.execute(load("catalog")["tables"].sql, {"schemas": list(schemas)}).fetchall()
        oids = [row["oid"] for row in tables]
        parts = {
            name: cursor.execute(load("catalog")[name].sql, {"tables": oids}).fetchall()
            for name in ("columns", "types", "constraints", "indexes", "triggers")
        }
    types = read_types(parts["types"])
    columns = _grouped(parts["columns"], "attrelid")
    constraints = _grouped(parts["constraints"], "conrelid")
    indexes = _grouped(parts["indexes"], "indrelid")
    triggers = _grouped(parts["triggers"], "tgrelid")
    found = (
        replace(
            _table(row),
            columns=tuple(_column(part, types) for part in columns[row["oid"]]),
            constraints=tuple(_constraint(part) for part in constraints[row["oid"]]),
            indexes=tuple(_index(part) for part in indexes[row["oid"]] if not part["constrained"]),
            triggers={part["tgname"]: part["definition"] for part in triggers[row["oid"]]},
        )
        for row in tables
    )
    return Catalog({table.qualified: table for table in found})


def to_spec(table: FoundTable, name: str) -> EntitySpec:
    """The table as an entity that we capture but do not own: every column, audit columns like any other.

    Where an index is the replica identity, its columns are the key: of a deleted row the stream says nothing else.
    """
    return EntitySpec(
        name=name,
        table=table.name,
        schema=table.schema,
        columns=tuple(_spec_column(column) for column in table.columns),
        key=table.identity_columns if table.replica_identity == "i" else table.key,
        references=tuple(
            Reference(columns=k.columns, to=k.to, to_columns=k.to_columns, on_delete=k.on_delete)
            for k in table.constraints
            if k.kind == "f" and k.to
        ),
        unique=tuple(found.columns for found in table.constraints if found.kind == "u"),
        indexes=tuple(_spec_index(index) for index in table.indexes if index.valid),
        partition=None,
        audit=False,
        replica_identity="full" if table.replica_identity == "f" else "default",
        managed=False,
        doc=table.comment,
    )


def _grouped(rows: list[Row], key: str) -> defaultdict[int, list[Row]]:
    groups: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row[key]].append(row)
    return groups


def _table(row: Row) -> FoundTable:
    return FoundTable(
        oid=row["oid"], schema=row["nspname"], name=row["relname"], kind=row["relkind"],
        persistence=row["relpersistence"], root=row["root"], parent=row["parent"],
        replica_identity=row["relreplident"], identity_columns=tuple(row["identity_columns"] or ()),
        row_security=row["relrowsecurity"], comment=row["comment"] or "",
        partition_key=row["partition_key"], is_default=bool(row["is_default"]),
        inherited=row["relkind"] == "r" and row["inherited"],
    )  # fmt: skip


def _column(row: Row, types: Types) -> FoundColumn:
    generated = row["attgenerated"] != ""
    return FoundColumn(
        name=row["attname"], type=types.of(row["atttypid"], row["atttypmod"]), native=row["native"],
        nullable=not row["attnotnull"], default=None if generated else row["expression"],
        identity=row["attidentity"] != "", generated=row["expression"] if generated else None,
        comment=row["comment"] or "", virtual=row["attgenerated"] == "v",
    )  # fmt: skip


def _constraint(row: Row) -> FoundConstraint:
    return FoundConstraint(
        name=row["conname"], kind=row["contype"], definition=row["definition"], validated=row["convalidated"],
        deferrable=row["condeferrable"],
        columns=tuple(row["columns"] or ()), to_columns=tuple(row["to_columns"] or ()),
        to=f"{row['to_schema']}.{row['to_table']}" if row["to_table"] else None,
        on_delete=ON_DELETE.get(row["confdeltype"], "no action"),
    )  # fmt: skip


def _index(row: Row) -> FoundIndex:
    return FoundIndex(
        name=row["relname"], oid=row["oid"], method=row["amname"], terms=tuple(row["terms"]),
        unique=row["indisunique"], valid=row["indisvalid"], predicate=row["predicate"],
        included=tuple(row["included"] or ()), parent=row["parent"],
    )  # fmt: skip


def _spec_column(column: FoundColumn) -> Column:
    return Column(
        name=column.name,
        type=column.type,
        nullable=column.nullable,
        default=column.default,
        identity=column.identity,
        generated=column.generated,
        doc=column.comment,
    )


def _spec_index(found: FoundIndex) -> Index:
    return Index(
        name=found.name,
        columns=found.terms,
        unique=found.unique,
        method=found.method,  # type: ignore[arg-type]  # adopted as it is; apply never makes it
        where=found.predicate,
        include=found.included,
    )
