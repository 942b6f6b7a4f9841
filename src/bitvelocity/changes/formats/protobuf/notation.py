"""Records in Protobuf, written a column at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from ...batch import AFTER
from ..avro.columns import Part, join
from ..framing import BinaryNotation
from ..layout import Layout, Node, Schema
from ..options import Options
from ..plan import PlannedColumn
from .columns import distinct, integers, lengthy, message, write_column
from .datum import body, datum
from .schema import proto_schema


class ProtobufNotation(BinaryNotation):
    """Protobuf by the first message of a schema. `register` gives what stands before each value."""

    content_type = "application/protobuf"
    kind = "PROTOBUF"

    def settle(self, options: Options) -> Options:
        """Names that Protobuf takes, and schemas."""
        schema, field = (
            "avro" if mode == "none" else mode for mode in (options.schema_name_adjustment_mode, options.field_name_adjustment_mode)
        )
        return replace(options, schemas_enable=True, schema_name_adjustment_mode=schema, field_name_adjustment_mode=field)

    def image(self, columns: Sequence[PlannedColumn], frame: pl.DataFrame, prefix: str) -> pl.Series:
        """One message of every row, without its length."""
        absent = frame["_absent"] if prefix == AFTER and frame["_absent"].null_count() < len(frame) else None
        parts: list[Part] = []
        for number, column in enumerate(columns, 1):
            gone = None
            if absent is not None and column.type.placeholder is not None:
                name = json.dumps(column.name, ensure_ascii=False)
                gone = absent.str.contains(name, literal=True).fill_null(value=False)
            parts += write_column(number, column, frame[prefix + column.name], gone)
        return pl.Series(pl.from_arrow(join(parts, len(frame))), dtype=pl.Binary)

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
