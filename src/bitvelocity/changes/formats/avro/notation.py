"""Records in Avro, written a column at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from ..framing import BinaryNotation
from ..layout import Layout, Node, Schema
from ..plan import PlannedColumn
from .columns import Part, join, places, write_column
from .datum import body, branches, datum
from .schema import avro_schema
from .varints import BINARY, Bytes, lengths, only, pick, varints


class AvroNotation(BinaryNotation):
    """Avro as Kafka Connect's AvroConverter writes it. `register` gives what stands before each value."""

    content_type = "application/avro"
    kind = "AVRO"

    def column(self, _number: int, column: PlannedColumn, values: pl.Series, absent: pl.Series | None, /) -> list[Part]:
        return write_column(column, values, absent)  # by the order of the fields alone

    def text(self, schema: Schema) -> str:
        return avro_schema(schema)

    def value(self, layout: Layout, count: int) -> list[Part]:
        return _value(layout, count)

    def datum(self, schema: Schema, value: Any) -> bytes:
        return datum(schema, value)


def _value(layout: Layout, count: int) -> list[Part]:
    """The fields of the outermost record."""
    fields, nodes = layout.value_schema["fields"], layout.nodes
    if not layout.flat:
        return _fields(fields, nodes, count)
    row = nodes[0]
    assert isinstance(row, pl.Series)
    return [row.to_arrow().cast(BINARY), *_fields(fields[len(fields) - len(nodes) + 1 :], nodes[1:], count)]


def _fields(fields: Sequence[Schema], nodes: Sequence[Node], count: int) -> list[Part]:
    return [part for one, node in zip(fields, nodes, strict=True) for part in _field(one, node, count)]


def _field(schema: Schema, node: Node, count: int) -> list[Part]:
    if isinstance(node, pl.Series):
        return _column(schema, node)
    if node is None or isinstance(node, (int, str)):
        return [datum(schema, node)]
    return [_some(schema), *_fields(schema["fields"], node, count)]


def _some(schema: Schema) -> bytes:
    return branches(schema)[1] if schema.get("optional") else b""


def _column(schema: Schema, values: pl.Series) -> list[Part]:
    """One value for each row."""
    kind, some = schema["type"], _some(schema)
    none = branches(schema)[0] if schema.get("optional") else b""
    if values.dtype == pl.Binary:
        held: list[Part] = [values.to_arrow().cast(BINARY)]
    elif kind == "struct":
        held = [_structs(schema, values)]
    elif kind == "array":
        held = [_distinct(schema, values)]
    elif kind == "string":
        sizes = values.str.len_bytes().cast(pl.Int64).fill_null(-1).to_numpy()
        held = [lengths(b"", sizes), values.to_arrow().cast(BINARY)]
    else:
        valid = values.is_not_null().to_numpy() if values.null_count() else None
        held = [varints(values.fill_null(0).to_numpy(), valid)]
    if not values.null_count():
        return [some, *held]
    which = values.is_null().to_numpy().astype(np.int64)
    return [pick([some, none], which), *held]


def _structs(schema: Schema, values: pl.Series) -> Bytes:
    parts = [part for one in schema["fields"] for part in _column(one, values.struct.field(one["field"]))]
    return only(values.is_not_null().to_numpy(), join(parts, len(values)))


def _distinct(schema: Schema, values: pl.Series) -> Bytes:
    held = values.to_arrow().dictionary_encode()
    known = [body(schema, json.loads(str(text))) for text in held.dictionary.to_pylist()]
    return pick([*known, b""], places(held, len(known)))


__all__ = ["AvroNotation"]
