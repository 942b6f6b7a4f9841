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
    of = draw(st.one_of(one, one.map(lambda item: Type("array", item=item))))
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


@st.composite
def specs(draw: st.DrawFn) -> EntitySpec:
    managed, audit = draw(st.booleans()), draw(st.booleans())
    names = OUR_NAMES if managed else NAMES
    if audit:
        names = names.filter(lambda name: name not in AUDIT_NAMES)
    own = [draw(columns(name, managed=managed)) for name in draw(st.lists(names, min_size=1, max_size=6, unique=True))]
    declared = [Column(name="moment", type=Type("timestamptz"))] if all(c.name != "moment" for c in own) else []
    keyable = [column.name for column in own if not column.nullable]
    key = tuple(draw(st.permutations(keyable))[: draw(st.integers(0, 3))])
    partition = draw(st.sampled_from([None, Partition(column="moment", step="day", ahead=0)])) if declared and key else None
    any_column = st.sampled_from([column.name for column in own])
    groups = st.lists(any_column, min_size=1, max_size=2, unique=True).map(tuple)
    reference = st.builds(
        Reference,
        columns=groups,
        to=NAMES.map(lambda table: f"public.{table}"),
        to_columns=NAMES.map(lambda name: (name,)),
        on_delete=st.sampled_from(["no action", "cascade", "set null"]),
    ).map(lambda made: Reference(columns=made.columns, to=made.to, to_columns=made.to_columns * len(made.columns)))
    index = st.builds(
        Index,
        name=st.from_regex(r"[a-z]{1,9}", fullmatch=True),
        columns=groups,
        where=st.one_of(st.none(), SQL),
    )
    return EntitySpec(
        name=draw(st.from_regex(r"[a-z0-9][a-z_0-9]{0,9}", fullmatch=True)),
        table=draw(NAMES),
        schema=draw(st.one_of(st.just("public"), NAMES.filter(lambda name: "." not in name))),
        columns=(*own, *declared, *(AUDIT_COLUMNS if audit else ())),
        key=(*key, "moment") if partition else key,
        references=tuple(draw(st.lists(reference, max_size=3, unique=True))),
        unique=tuple(draw(st.lists(groups, max_size=2, unique=True))) if partition is None else (),
        indexes=tuple(draw(st.lists(index, max_size=2, unique_by=lambda made: made.name))),
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
