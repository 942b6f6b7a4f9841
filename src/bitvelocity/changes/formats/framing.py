"""What notations by a schema have in common: the frame before values, and records that were JSON at first."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Protocol

import polars as pl
import pyarrow as pa

from ..batch import AFTER
from .avro.columns import Part, join
from .avro.varints import BINARY, glued, only
from .debezium import other_key
from .headers import HeaderColumn
from .layout import Layout, Schema, layout_of, parsed
from .notation import Kind, Register, Registered, Rows, SchemaUse, framing_headers, unregistered
from .options import Options
from .plan import Plan, PlannedColumn
from .records import RECORD_SCHEMA, records


class Convert(Protocol):
    """One record's key or value, from JSON with its schema."""

    def __call__(self, topic: str, raw: bytes, *, is_key: bool) -> bytes: ...


class BinaryNotation(ABC):
    """A notation whose values are bytes by a schema of its own. `register` gives what stands before each value."""

    kind: ClassVar[Kind]

    def __init__(self, register: Register = unregistered) -> None:
        self._register = register
        self._texts: dict[int, tuple[Schema, str]] = {}

    @abstractmethod
    def column(self, number: int, column: PlannedColumn, values: pl.Series, absent: pl.Series | None, /) -> list[Part]:
        """One column of an image; `absent` marks the rows that the source sent no value of."""

    @abstractmethod
    def text(self, schema: Schema) -> str:
        """The schema in the notation's own language."""

    @abstractmethod
    def value(self, layout: Layout, count: int) -> list[Part]:
        """The values of all rows, without what stands before them."""

    @abstractmethod
    def datum(self, schema: Schema, value: Any) -> bytes:
        """One value."""

    def settle(self, options: Options) -> Options:
        """Names that such a language takes, and schemas, since that is what its own are made of."""
        schema, field = (
            "avro" if mode == "none" else mode for mode in (options.schema_name_adjustment_mode, options.field_name_adjustment_mode)
        )
        return replace(options, schemas_enable=True, schema_name_adjustment_mode=schema, field_name_adjustment_mode=field)

    def planned(self, form: str, plan: Plan, options: Options) -> Plan:  # noqa: ARG002
        return plan

    def image(self, columns: Sequence[PlannedColumn], frame: pl.DataFrame, prefix: str) -> pl.Series:
        """One image of every row, without what stands before it where it is part of another."""
        absent = frame["_absent"] if prefix == AFTER and frame["_absent"].null_count() < len(frame) else None
        parts: list[Part] = []
        for number, column in enumerate(columns, 1):
            gone = None
            if absent is not None and column.type.placeholder is not None:
                name = json.dumps(column.name, ensure_ascii=False)
                gone = absent.str.contains(name, literal=True).fill_null(value=False)
            parts += self.column(column.number or number, column, frame[prefix + column.name], gone)
        return pl.Series(pl.from_arrow(join(parts, len(frame))), dtype=pl.Binary)

    def records(self, rows: Rows) -> pa.Table:
        layout = layout_of(rows)
        found, plan = layout.found, rows.plan
        key = self._registered(plan.topic, parsed(plan.key_schema), is_key=True) if plan.key else Registered()
        value = self._registered(plan.topic, layout.value_schema, is_key=False)
        written = join([value.frame, *self.value(self._as_registered(layout, value), len(found))], len(found))
        is_tombstone = (found["kind"] == "tombstone").to_numpy()
        done = found.with_columns(
            key=framed(key.frame, found["key"]),
            value=pl.Series(pl.from_arrow(only(~is_tombstone, written))),
            headers=other_key(framed(key.frame, found["other"])),
        )
        return records(plan.topic, done, lambda ordered: stamped(rows, ordered, key, value))

    def converted(self, table: pa.Table) -> pa.Table:
        """Record by record: these are few."""
        return converted(table, self._one)

    def _as_registered(self, layout: Layout, value: Registered) -> Layout:
        return replace(layout, value_schema=self.numbered(layout.value_schema, value)) if value.numbers else layout

    def numbered(self, schema: Schema, registered: Registered) -> Schema:  # noqa: ARG002
        """The schema as its values are written."""
        return schema

    def _registered(self, topic: str, schema: Schema, *, is_key: bool) -> Registered:
        held = self._texts.get(id(schema))
        if held is None:
            held = self._texts[id(schema)] = (schema, self.text(schema))
        return self._register(SchemaUse(topic, is_key, str(schema.get("name", "")), self.kind, held[1]))

    def _one(self, topic: str, raw: bytes, *, is_key: bool) -> bytes:
        told = json.loads(raw)
        schema = parsed(json.dumps(told["schema"], ensure_ascii=False))
        registered = self._registered(topic, schema, is_key=is_key)
        return registered.frame + self.datum(self.numbered(schema, registered), told["payload"])


def framed(frame: bytes, keys: pl.Series) -> pl.Series:
    """NULL stays NULL."""
    if keys.null_count() == len(keys):
        return keys
    raw = keys.to_arrow().cast(BINARY)
    return pl.Series(pl.from_arrow(only(keys.is_not_null().to_numpy(), glued(pa.scalar(frame, BINARY), raw))))


def stamped(rows: Rows, ordered: pl.DataFrame, key: Registered, value: Registered) -> list[HeaderColumn]:
    """Headers of the records, in their order."""
    return [*(rows.stamp(ordered) if rows.stamp else ()), *framing_headers(ordered, key, value, rows.options)]


def converted(table: pa.Table, one: Convert) -> pa.Table:
    """Records that were written as JSON with schemas, each by itself."""
    topics: list[Any] = table["topic"].to_pylist()
    for name in ("key", "value"):
        held = zip(topics, table[name].to_pylist(), strict=True)
        done = [None if raw is None else one(topic, raw, is_key=name == "key") for topic, raw in held]
        number = table.schema.get_field_index(name)
        table = table.set_column(number, RECORD_SCHEMA.field(name), pa.array(done, pa.binary()))
    return table


__all__ = ["BinaryNotation", "converted", "framed", "stamped"]
