"""Specs become SQLAlchemy tables, from which DDL is made."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.types import TypeEngine, UserDefinedType

from .names import ConstraintKind, constraint_name
from .patterns import whole
from .spec import Column, EntitySpec, Index, Reference
from .terms import parse_term, split_name
from .types import Kind, Type
from .values import comparable

_TYPES: dict[Kind, TypeEngine[Any]] = {
    "boolean": sa.BOOLEAN(),
    "int16": sa.SMALLINT(),
    "int32": sa.INTEGER(),
    "int64": sa.BIGINT(),
    "float32": sa.REAL(),
    "float64": sa.DOUBLE_PRECISION(),
    "uuid": sa.UUID(),
    "json": pg.JSON(),
    "jsonb": pg.JSONB(),
    "bytes": pg.BYTEA(),
    "date": sa.DATE(),
    "time": pg.TIME(),
    "timetz": pg.TIME(timezone=True),
    "timestamp": pg.TIMESTAMP(),
    "timestamptz": pg.TIMESTAMP(timezone=True),
    "interval": pg.INTERVAL(),
}
_PREPARER = pg.dialect(paramstyle="named").identifier_preparer  # type: ignore[no-untyped-call]


def to_metadata(specs: Iterable[EntitySpec]) -> sa.MetaData:
    """All tables of a set of specs, with their foreign keys.

    A reference that closes a cycle is marked `use_alter`: it is added when both tables exist. References to tables
    outside the set are left out; `load_specs` allows them only for tables that are not ours to make.
    """
    metadata, known = sa.MetaData(), tuple(specs)
    for spec in known:
        _bare_table(spec, metadata)
    placed: set[str] = set()
    for spec in known:
        placed.add(spec.qualified)
        _add_references(spec, metadata, placed)
    return metadata


def to_table(spec: EntitySpec, metadata: sa.MetaData) -> sa.Table:
    """The table of one spec, added to `metadata`, with foreign keys to the tables that are there already."""
    table = _bare_table(spec, metadata)
    _add_references(spec, metadata, {f"{other.schema}.{other.name}" for other in metadata.tables.values()})
    return table


def to_type(of: Type) -> TypeEngine[Any]:
    """The column type of a logical type."""
    made: TypeEngine[Any]
    match of.kind:
        case "decimal":
            made = sa.NUMERIC(of.precision, of.scale)
        case "text":
            made = sa.VARCHAR(of.length) if of.length else sa.TEXT()
        case "char":
            made = sa.CHAR(of.length) if of.length else _Verbatim("bpchar")
        case "array":
            made = pg.ARRAY(to_type(_innermost(of)))
        case "enum":
            schema, name = split_name(of.native or "")
            made = pg.ENUM(*of.choices, name=name, schema=schema)
        case "other":
            made = _Verbatim(of.native or "text")
        case kind:
            made = _TYPES[kind]
    return made


def _innermost(of: Type) -> Type:
    """PostgreSQL has one array type for any number of dimensions."""
    return _innermost(of.item or Type("text")) if of.kind == "array" else of


def sql_expression(sql: str) -> sa.ColumnElement[Any]:
    """SQL from a declaration as it stands: colons and quotes in it mean nothing to SQLAlchemy."""
    return sa.literal_column(sql)


class _Verbatim(UserDefinedType[str]):
    """A type of PostgreSQL under its own name."""

    cache_ok = True

    def __init__(self, native: str) -> None:
        self.native = native

    def get_col_spec(self, **_: Any) -> str:
        return self.native


# Table ----------------------------------------------------------------------------------------------------


def _bare_table(spec: EntitySpec, metadata: sa.MetaData) -> sa.Table:
    options: dict[str, Any] = {}
    if spec.partition is not None:
        options["postgresql_partition_by"] = f"RANGE ({_PREPARER.quote(spec.partition.column)})"
    table = sa.Table(
        spec.table,
        metadata,
        *(_column(column) for column in spec.columns),
        schema=spec.schema,
        comment=spec.doc or None,
        **options,
    )
    _add_constraints(spec, table)
    for index in spec.indexes:
        _index(index, spec, table)
    return table


def _column(column: Column) -> sa.Column[Any]:
    given: list[sa.Identity | sa.Computed] = []
    if column.identity:
        given.append(sa.Identity(always=False))
    if column.generated is not None:
        given.append(sa.Computed(sql_expression(column.generated), persisted=True))
    return sa.Column(
        column.name,
        to_type(column.type),
        *given,
        nullable=column.nullable,
        autoincrement="auto" if column.identity else False,  # never SERIAL
        server_default=None if column.default is None else sql_expression(column.default),
        comment=column.doc or None,
    )


def _add_constraints(spec: EntitySpec, table: sa.Table) -> None:
    if spec.key:
        key = (table.c[name] for name in spec.key)
        table.append_constraint(sa.PrimaryKeyConstraint(*key, name=_free_name(table, "pk")))
    for columns in spec.unique:
        cells = (table.c[name] for name in columns)
        table.append_constraint(sa.UniqueConstraint(*cells, name=_free_name(table, "uq", *columns)))
    for column in spec.columns:
        for rule, condition in _conditions(column, table.c[column.name]):
            name = _free_name(table, "ck", column.name, rule)
            table.append_constraint(sa.CheckConstraint(condition, name=name))


def _free_name(table: sa.Table, kind: ConstraintKind, *parts: str) -> str:
    """The constraint's name; with a number where columns `a, b_c` and `a_b, c` would share it."""
    taken = {constraint.name for constraint in table.constraints}
    name, number = constraint_name(kind, table.name, *parts), 2
    while name in taken:
        name, number = constraint_name(kind, table.name, *parts, str(number)), number + 1
    return name


def _conditions(column: Column, cell: sa.Column[Any]) -> Iterator[tuple[str, sa.ColumnElement[bool]]]:
    bounds: list[sa.ColumnElement[bool]] = []
    if column.minimum is not None:
        bounds.append(cell >= _bound(column.minimum, column.type))
    if column.maximum is not None:
        bounds.append(cell <= _bound(column.maximum, column.type))
    if bounds:
        yield "range", sa.and_(*bounds)
    if column.pattern is not None:
        yield "pattern", cell.regexp_match(sa.literal(whole(column.pattern), sa.TEXT()))
    if column.choices:
        yield "choices", cell.in_([sa.literal(choice, sa.TEXT()) for choice in column.choices])


def _bound(text: str, of: Type) -> sa.ColumnElement[Any]:
    value = comparable(text, of)
    if isinstance(value, (dt.date, dt.time)):
        return sa.cast(sa.literal(text, sa.TEXT()), to_type(of))
    return sa.literal(value, sa.NUMERIC() if isinstance(value, Decimal) else None)


def _add_references(spec: EntitySpec, metadata: sa.MetaData, placed: set[str]) -> None:
    table = metadata.tables[spec.qualified]
    for reference in spec.references:
        target = metadata.tables.get(reference.to)
        if target is not None:
            table.append_constraint(_foreign_key(reference, table, target, closes_cycle=reference.to not in placed))


def _foreign_key(
    reference: Reference, table: sa.Table, target: sa.Table, *, closes_cycle: bool
) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        list(reference.columns),
        [target.c[name] for name in reference.to_columns],
        name=_free_name(table, "fk", *reference.columns),
        ondelete=None if reference.on_delete == "no action" else reference.on_delete.upper(),
        use_alter=closes_cycle,
    )


# Index ----------------------------------------------------------------------------------------------------


def _index(index: Index, spec: EntitySpec, table: sa.Table) -> None:
    options: dict[str, Any] = {"postgresql_using": index.method}
    if index.where is not None:
        options["postgresql_where"] = sql_expression(index.where)
    if index.include:
        options["postgresql_include"] = list(index.include)
    terms = [_term(text, spec, table) for text in index.columns]
    sa.Index(index.name, *terms, unique=index.unique, _table=table, **options)


def _term(text: str, spec: EntitySpec, table: sa.Table) -> sa.ColumnElement[Any]:
    term = parse_term(text, spec.by_name)
    if term.column is None:
        element: sa.ColumnElement[Any] = sql_expression(f"({term.expression})")
    elif term.operator_class is not None:
        element = sql_expression(f"{_PREPARER.quote(term.column)} {term.operator_class}")
    else:
        element = table.c[term.column]
    if term.descending:
        element = element.desc()
    if term.nulls is not None:
        element = element.nulls_first() if term.nulls == "first" else element.nulls_last()
    return element
