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
from ..avro.varints import only
from ..debezium import other_key
from ..framing import converted, framed, stamped
from ..layout import Layout, Node, Schema, layout_of, parsed
from ..notation import Register, Registered, Rows, SchemaUse, unregistered
from ..options import Options
from ..plan import PlannedColumn
from ..records import records
from .columns import distinct, integers, lengthy, message, write_column
from .datum import body, datum
from .schema import proto_schema


class ProtobufNotation:
    """Protobuf by the first message of a schema. `register` gives what stands before each value."""

    content_type = "application/protobuf"

    def __init__(self, register: Register = unregistered) -> None:
        self._register = register
        self._texts: dict[int, tuple[Schema, str]] = {}

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

    def records(self, rows: Rows) -> pa.Table:
        layout = layout_of(rows)
        found, plan = layout.found, rows.plan
        key = self._registered(plan.topic, parsed(plan.key_schema), is_key=True) if plan.key else Registered()
        value = self._registered(plan.topic, layout.value_schema, is_key=False)
        written = join([value.frame, *_value(layout, len(found))], len(found))
        is_tombstone = (found["kind"] == "tombstone").to_numpy()
        done = found.with_columns(
            key=framed(key.frame, found["key"]),
            value=pl.Series(pl.from_arrow(only(~is_tombstone, written))),
            headers=other_key(framed(key.frame, found["other"])),
        )
        return records(plan.topic, done, lambda ordered: stamped(rows, ordered, key, value))

    def _registered(self, topic: str, schema: Schema, *, is_key: bool) -> Registered:
        held = self._texts.get(id(schema))
        if held is None:
            held = self._texts[id(schema)] = (schema, proto_schema(schema))
        return self._register(SchemaUse(topic, is_key, str(schema.get("name", "")), "PROTOBUF", held[1]))

    def converted(self, table: pa.Table) -> pa.Table:
        """Record by record: these are few."""
        return converted(table, self._one)

    def _one(self, topic: str, raw: bytes, *, is_key: bool) -> bytes:
        told = json.loads(raw)
        schema: Any = parsed(json.dumps(told["schema"], ensure_ascii=False))
        return self._registered(topic, schema, is_key=is_key).frame + body(schema, told["payload"])


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
