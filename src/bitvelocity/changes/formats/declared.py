"""Schemas of records from declared entities, before there is a table: what a catalog would say of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import pyarrow as pa

from ...contracts import Column, EntitySpec, Type
from ..batch import Batch
from .avro.schema import avro_schema
from .described import ColumnFacts, Described, TableFacts, TypeFacts
from .jsonschema import json_schema
from .layout import Schema, parsed, value_schema
from .notation import Kind, SchemaUse
from .options import Options
from .own import own_options, own_type
from .plan import Plan, compile_plan
from .protobuf.schema import proto_schema

_OIDS = {
    "boolean": 16, "int16": 21, "int32": 23, "int64": 20, "float32": 700, "float64": 701, "decimal": 1700, "char": 1042,
    "uuid": 2950, "json": 114, "jsonb": 3802, "bytes": 17, "date": 1082, "time": 1083, "timetz": 1266, "timestamp": 1114,
    "timestamptz": 1184, "interval": 1186,
}  # fmt: skip
_NATIVE = {
    "oid": 26, "xml": 142, "tsvector": 3614, "inet": 869, "cidr": 650, "macaddr": 829, "macaddr8": 774, "money": 790,
    "point": 600, "bit": 1560, "bit varying": 1562, "name": 19,
}  # fmt: skip
_TEXTS: Mapping[str, tuple[Kind, Callable[[Schema], str]]] = {
    "avro": ("AVRO", avro_schema), "json": ("JSON", json_schema), "protobuf": ("PROTOBUF", proto_schema),
}  # fmt: skip
_SPAN = re.compile(r"'(-?\d+) days (\d+)(\.\d+|) seconds'")
_FIRST_OWN = 16384
"""PostgreSQL numbers types that are not built in from here on; ours are invented."""


class _Types:
    """Numbers for types that have none before they are made."""

    def __init__(self) -> None:
        self.facts: dict[int, TypeFacts] = {}

    def of(self, kind: Type) -> tuple[int, int]:
        """Number and modifier."""
        if kind.kind in _OIDS or kind.kind == "text":
            return _built_in(kind)
        if kind.kind == "array" and kind.item is not None:
            target, modifier = self.of(kind.item)
            return self._made(TypeFacts("array", "array", target)), modifier
        name = str(kind.native)
        if kind.kind == "enum":
            return self._made(TypeFacts(name, "enum", labels=kind.choices)), -1
        return (_NATIVE[name], -1) if name in _NATIVE else (self._made(TypeFacts(name.rpartition(".")[2], "base")), -1)

    def _made(self, facts: TypeFacts) -> int:
        number = _FIRST_OWN + len(self.facts)
        self.facts[number] = facts
        return number


def _built_in(kind: Type) -> tuple[int, int]:
    if kind.kind == "text":
        return (25, -1) if kind.length is None else (1043, kind.length + 4)
    if kind.kind == "char":
        return 1042, (kind.length or 1) + 4
    if kind.kind == "decimal" and kind.precision is not None:
        return 1700, (kind.precision << 16 | (kind.scale or 0) & 0x7FF) + 4
    return _OIDS[kind.kind], -1


def described_of(specs: Iterable[EntitySpec], database: str) -> Described:
    """What the catalog will say of these entities once they are applied."""
    types = _Types()
    tables = {}
    for spec in specs:
        columns = {column.name: _facts(column, types) for column in spec.columns}
        tables[spec.qualified] = TableFacts(spec.qualified, columns, spec.key)
    return Described(database, tables, types.facts)


def _facts(column: Column, types: _Types) -> ColumnFacts:
    number, modifier = types.of(column.type)
    default = _printed_span(column.default) if column.type.kind == "interval" else column.default
    return ColumnFacts(number, modifier, not_null=not column.nullable, default=default)


def _printed_span(default: str | None) -> str | None:
    """A span of time as the catalog prints it: our own literal has days and seconds."""
    found = _SPAN.fullmatch(default or "")
    if found is None:
        return default
    minutes, seconds = divmod(int(found[2]), 60)
    return f"'{found[1]} days {minutes // 60:02}:{minutes % 60:02}:{seconds:02}{found[3]}'"


def declared_schemas(specs: Iterable[EntitySpec], form: str, notation: str, options: Options) -> Iterator[tuple[EntitySpec, SchemaUse]]:
    """The schemas of key and value that records of these entities have; `notation` is avro, json or protobuf."""
    specs = tuple(specs)
    described = described_of(specs, "")
    for spec in specs:
        batch = Batch(spec.qualified, tuple(column.name for column in spec.columns), pa.table({}))
        plan = _plan(batch, described, form, options)
        if plan.key:
            yield spec, _use(plan, parsed(plan.key_schema), notation, is_key=True)
        yield spec, _use(plan, value_schema(form, plan, options), notation, is_key=False)


def _plan(batch: Batch, described: Described, form: str, options: Options) -> Plan:
    if form == "bitvelocity":
        return compile_plan(batch, described, own_options(options), own_type, with_defaults=False)
    return compile_plan(batch, described, options)


def _use(plan: Plan, schema: Schema, notation: str, *, is_key: bool) -> SchemaUse:
    kind, text = _TEXTS[notation]
    return SchemaUse(plan.topic, is_key, str(schema.get("name", "")), kind, text(schema))


__all__ = ["declared_schemas", "described_of"]
