"""Records in Protobuf, written a column at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from ..avro.columns import Part
from ..framing import BinaryNotation
from ..layout import Layout, Node, Schema
from ..plan import PlannedColumn
from .columns import distinct, integers, lengthy, message, write_column
from .datum import body, datum
from .schema import proto_schema


class ProtobufNotation(BinaryNotation):
    """Protobuf by the first message of a schema. `register` gives what stands before each value."""

    content_type = "application/protobuf"
    kind = "PROTOBUF"

    def column(self, number: int, column: PlannedColumn, values: pl.Series, absent: pl.Series | None, /) -> list[Part]:
        return write_column(number, column, values, absent)

    def text(self, schema: Schema) -> str:
        return proto_schema(schema)

    def value(self, layout: Layout, count: int) -> list[Part]:
        return _value(layout, count)

    def datum(self, schema: Schema, value: Any) -> bytes:
        return body(schema, value)


def _value(layout: Layout, count: int) -> list[Part]:
    """The fields of the outermost message."""
    fields, nodes = layout.value_schema["fields"], layout.nodes
    if not layout.flat:
        return _fields(fields, nodes, count)
    row, first = nodes[0], len(fields) - len(nodes) + 1
    assert isinstance(row, pl.Series)
    return [row.to_arrow().cast(pa.large_binary()), *_fields(fields[first:], nodes[1:], count, first=first + 1)]


def _fields(fields: Sequence[Schema], nodes: Sequence[Node], count: int, *, first: int = 1) -> list[Part]:
    pairs = enumerate(zip(fields, nodes, strict=True), first)
    return [part for number, (one, node) in pairs for part in _field(number, one, node, count)]


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
        columns = enumerate(schema["fields"], 1)
        parts = [part for n, one in columns for part in _column(n, one, values.struct.field(one["field"]))]
        return message(number, parts, len(values), values.is_not_null().to_numpy())
    return [distinct(number, schema, values)] if kind == "array" else integers(number, values)


__all__ = ["ProtobufNotation"]
