"""Records in Protobuf, written a column at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from ..avro.columns import Part
from ..framing import BinaryNotation
from ..layout import Layout, Node, Schema, parsed, value_schema
from ..notation import Registered
from ..options import Options
from ..plan import Plan, PlannedColumn
from .columns import distinct, integers, lengthy, message, write_column
from .datum import body, datum
from .schema import numbered, numbers_of, proto_schema

_ROW = {"debezium": "after.", "debezium-unwrapped": "", "bitvelocity": "payload."}
"""Where a row's fields are in the value of each format."""


class ProtobufNotation(BinaryNotation):
    """Protobuf by the first message of a schema. `register` gives what stands before each value."""

    content_type = "application/protobuf"
    kind = "PROTOBUF"

    def column(self, number: int, column: PlannedColumn, values: pl.Series, absent: pl.Series | None, /) -> list[Part]:
        return write_column(number, column, values, absent)

    def text(self, schema: Schema) -> str:
        return proto_schema(schema)

    def planned(self, form: str, plan: Plan, options: Options) -> Plan:
        key = self._registered(plan.topic, parsed(plan.key_schema), is_key=True).numbers if plan.key else {}
        value = self._registered(plan.topic, value_schema(form, plan, options), is_key=False).numbers
        return replace(plan, columns=_with(plan.columns, value, _ROW[form]), key=_with(plan.key, key, ""))

    def numbered(self, schema: Schema, registered: Registered) -> Schema:
        return numbered(schema, registered.numbers) if registered.numbers else schema

    def value(self, layout: Layout, count: int) -> list[Part]:
        return _value(layout, count)

    def datum(self, schema: Schema, value: Any) -> bytes:
        return body(schema, value)


def _with(columns: Sequence[PlannedColumn], numbers: Mapping[str, int], path: str) -> tuple[PlannedColumn, ...]:
    return tuple(replace(one, number=numbers.get(path + one.field, 0)) for one in columns)


def _value(layout: Layout, count: int) -> list[Part]:
    """The fields of the outermost message."""
    fields, nodes = layout.value_schema["fields"], layout.nodes
    if not layout.flat:
        return _fields(fields, nodes, count)
    row, first = nodes[0], len(fields) - len(nodes) + 1
    assert isinstance(row, pl.Series)
    return [row.to_arrow().cast(pa.large_binary()), *_fields(fields[first:], nodes[1:], count, first=first + 1)]


def _fields(fields: Sequence[Schema], nodes: Sequence[Node], count: int, *, first: int = 1) -> list[Part]:
    pairs = zip(numbers_of(fields, first), nodes, strict=True)
    return [part for (number, one), node in pairs for part in _field(number, one, node, count)]


def _field(number: int, schema: Schema, node: Node, count: int) -> list[Part]:
    if isinstance(node, pl.Series):
        return _column(number, schema, node)
    if node is None or isinstance(node, (int, str)):
        return [datum(number, schema, node)]
    return message(number, _fields(schema["fields"], node, count), count)


def _column(number: int, schema: Schema, values: pl.Series) -> list[Part]:
    """One value for each row."""
    kind = schema["type"]
    if values.dtype == pl.Binary or kind == "string":
        return lengthy(number, values)
    if kind == "struct":
        parts = [part for n, one in numbers_of(schema["fields"]) for part in _column(n, one, values.struct.field(one["field"]))]
        return message(number, parts, len(values), values.is_not_null().to_numpy())
    return [distinct(number, schema, values)] if kind == "array" else integers(number, values)


__all__ = ["ProtobufNotation"]
