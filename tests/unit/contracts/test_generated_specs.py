"""Whatever spec there is: its text declares it again, its DDL compiles, its schema is one that Delta takes."""

from __future__ import annotations

import keyword
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql

from bitvelocity.contracts import (
    AUDIT_COLUMNS,
    PII_CLASSES,
    Column,
    EntitySpec,
    Index,
    Partition,
    Reference,
    Type,
    render_entities,
)
from bitvelocity.contracts.arrow import silver_schema
from bitvelocity.contracts.checks import spec_problems
from bitvelocity.contracts.load import load_entities
from bitvelocity.contracts.tables import to_metadata

ODD = ["Order Line", "class", "2nd", "spec", "date", "Key", "Any", 'a"b', "a.b", "é", "ﬁ", "None", "a b desc", "__x", "\n"]
CHARS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
NAMES = st.one_of(
    st.sampled_from([*ODD, *keyword.kwlist]), st.from_regex(r"[a-z][a-z_0-9]{0,9}", fullmatch=True), st.text(CHARS, min_size=1, max_size=8)
)
OUR_NAMES = NAMES.filter(lambda name: name[0] != "_" and name not in ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"))
SQL = st.text(CHARS, min_size=1, max_size=20).map(lambda text: f"f({text})")
DOCS = st.one_of(st.just(""), st.text(CHARS, max_size=40), st.sampled_from(['"quoted"', "two\n  lines\n", "back\\slash", '"""']))
LABELS = st.lists(st.text(CHARS, max_size=6), min_size=1, max_size=4, unique=True).map(tuple)
PLAIN = [
    "boolean", "int16", "int32", "int64", "float32", "float64", "text", "char", "uuid", "json", "jsonb", "bytes", "date",
    "time", "timetz", "timestamp", "timestamptz", "interval",
]  # fmt: skip
AUDIT_NAMES = {column.name for column in AUDIT_COLUMNS}


def scalars(*, managed: bool) -> st.SearchStrategy[Type]:
    most = 38 if managed else 1000
    bounded = st.integers(1, most).flatmap(
        lambda precision: st.integers(0 if managed else -5, precision).map(
            lambda scale: Type("decimal", precision=precision, scale=scale)
        )
    )
    return st.one_of(
        st.sampled_from(PLAIN).map(Type),  # type: ignore[arg-type]
        st.just(Type("decimal")),
        bounded,
        st.integers(1, 1000).map(lambda length: Type("text", length=length)),
        st.integers(1, 1000).map(lambda length: Type("char", length=length)),
        st.builds(lambda native, choices: Type("enum", native=native, choices=choices), NAMES, LABELS),
        NAMES.map(lambda native: Type("other", native=native)),
    )


@st.composite
def columns(draw: st.DrawFn, name: str, *, managed: bool) -> Column:
    one = scalars(managed=managed)
    arrays = one.map(lambda item: Type("array", item=item))
    of = draw(st.one_of(one, arrays) if managed else st.one_of(one, arrays, arrays.map(lambda item: Type("array", item=item))))
    given_by = draw(st.sampled_from(["", "", "default", "generated"]))
    is_text = of.kind in ("text", "char")
    low = draw(st.sampled_from([None, "0", "-3", "12"])) if of.kind in ("int64", "decimal", "float32") else None
    if of.kind == "decimal" and of.precision is not None:
        low = low and "0"
    return Column(
        name=name,
        type=of,
        nullable=draw(st.booleans()),
        default=draw(SQL) if given_by == "default" else None,
        generated=draw(SQL) if given_by == "generated" else None,
        minimum=low,
        pattern=draw(st.sampled_from([None, "[A-Z]{3}", r"\d+\.\d", 'a"b\'c'])) if is_text else None,
        choices=draw(st.one_of(st.just(()), LABELS)) if is_text else (),
        pii=draw(st.sampled_from([None, *PII_CLASSES])),
        doc=draw(DOCS),
    )


def references(groups: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[Reference]:
    return st.builds(
        lambda columns, to, target, on_delete: Reference(
            columns=columns, to=f"public.{to}", to_columns=(target,) * len(columns), on_delete=on_delete
        ),
        groups,
        NAMES,
        NAMES,
        st.sampled_from(["no action", "cascade", "set null"]),
    )


def indexes(groups: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[Index]:
    names = st.from_regex(r"[a-z]{1,9}", fullmatch=True)
    return st.builds(Index, name=names, columns=groups, where=st.one_of(st.none(), SQL))


@st.composite
def own_columns(draw: st.DrawFn, *, managed: bool, audit: bool) -> list[Column]:
    """At least one, and last a `moment` to partition by."""
    names = (OUR_NAMES if managed else NAMES).filter(lambda name: not (audit and name in AUDIT_NAMES) and name != "moment")
    found = [draw(columns(name, managed=managed)) for name in draw(st.lists(names, min_size=1, max_size=6, unique=True))]
    return [*found, Column(name="moment", type=Type("timestamptz"))]


@st.composite
def specs(draw: st.DrawFn) -> EntitySpec:
    managed, audit = draw(st.booleans()), draw(st.booleans())
    own = draw(own_columns(managed=managed, audit=audit))
    keyable = [column.name for column in own[:-1] if not column.nullable]
    key = tuple(draw(st.permutations(keyable))[: draw(st.integers(0, 3))])
    partitioned = draw(st.booleans())
    partition = Partition(column="moment", step="day", ahead=0) if key and partitioned else None
    groups = st.lists(st.sampled_from([column.name for column in own]), min_size=1, max_size=2, unique=True).map(tuple)
    return EntitySpec(
        name=draw(st.from_regex(r"[a-z0-9][a-z_0-9]{0,9}", fullmatch=True)),
        table=draw(NAMES),
        schema=draw(st.one_of(st.just("public"), NAMES.filter(lambda name: "." not in name))),
        columns=(*own, *(AUDIT_COLUMNS if audit else ())),
        key=(*key, "moment") if partition else key,
        references=tuple(draw(st.lists(references(groups), max_size=3, unique=True))),
        unique=tuple(draw(st.lists(groups, max_size=2, unique=True))) if partition is None else (),
        indexes=tuple(draw(st.lists(indexes(groups), max_size=2, unique_by=lambda made: made.name))),
        partition=partition,
        audit=audit,
        replica_identity="full" if not key else draw(st.sampled_from(["full", "default"])),
        managed=managed,
        retention=draw(st.sampled_from([None, "7 years", "1 year 6 months"])),
        owner=draw(st.one_of(st.none(), st.text(CHARS, max_size=6))),
        doc=draw(DOCS),
    )


RUNS: Callable[[Any], Any] = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def read_back(text: str) -> tuple[EntitySpec, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "entities.py"
        path.write_text(text, encoding="utf-8")
        return tuple(entity.spec for entity in load_entities(path))


@RUNS
@given(specs())
def test_the_text_declares_the_same_spec(spec: EntitySpec) -> None:
    assert not list(spec_problems(spec))
    (again,) = read_back(render_entities([spec]))
    assert again == spec
    assert again.fingerprint == spec.fingerprint


def test_a_table_without_columns() -> None:
    spec = EntitySpec(name="t", table="t", columns=(), key=(), audit=False, managed=False)
    assert read_back(render_entities([spec, replace(spec, doc="Odd.")])) == (spec, replace(spec, doc="Odd."))


@RUNS
@given(st.lists(specs(), min_size=1, max_size=3))
def test_a_set_keeps_its_order(found: list[EntitySpec]) -> None:
    assert read_back(render_entities(found)) == tuple(found)


@RUNS
@given(specs())
def test_the_ddl_compiles(spec: EntitySpec) -> None:
    (table,) = to_metadata([replace(spec, references=())]).tables.values()
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    assert str(sa.schema.CreateTable(table).compile(dialect=dialect)).strip().startswith("CREATE TABLE")
    assert len({str(sa.schema.CreateIndex(index).compile(dialect=dialect)) for index in table.indexes}) == len(spec.indexes)


@RUNS
@given(specs())
def test_the_silver_schema_has_every_column_once(spec: EntitySpec) -> None:
    schema = silver_schema(spec)
    assert len({name.lower() for name in schema.names}) == len(spec.columns)
    for field, column in zip(schema, spec.columns, strict=True):
        assert field.metadata == {b"pg": str(column.type).encode()}
        if pa.types.is_decimal(field.type):
            assert 0 <= field.type.scale <= field.type.precision <= 38
