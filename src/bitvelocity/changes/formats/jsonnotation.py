"""JSON whose schema a registry keeps: the same text as without one, behind a frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import polars as pl
import pyarrow as pa

from .avro.varints import BINARY, glued
from .debezium import encode_debezium
from .framing import converted, stamped
from .headers import HeaderColumn
from .jsonschema import json_schema
from .layout import Schema, parsed, value_schema
from .notation import Register, Registered, Rows, SchemaUse, unregistered
from .options import Options
from .own import encode_own
from .plan import Plan, PlannedColumn
from .records import RECORD_SCHEMA
from .rows import sources, struct
from .unwrapped import encode_unwrapped


class JsonNotation:
    """JSON by a schema. `register` gives what stands before each value."""

    content_type = "application/json"

    def __init__(self, register: Register = unregistered) -> None:
        self._register = register

    def settle(self, options: Options) -> Options:
        return replace(options, schemas_enable=True)

    def planned(self, form: str, plan: Plan, options: Options) -> Plan:  # noqa: ARG002
        return plan

    def image(self, columns: Sequence[PlannedColumn], frame: pl.DataFrame, prefix: str) -> pl.Series:
        return struct(columns, frame, prefix)

    def records(self, rows: Rows) -> pa.Table:
        plan, bare = rows.plan, replace(rows.options, schemas_enable=False)
        key = self._registered(plan.topic, parsed(plan.key_schema), is_key=True) if plan.key else Registered()
        value = self._registered(plan.topic, value_schema(rows.form, plan, rows.options), is_key=False)

        def stamp(ordered: pl.DataFrame) -> list[HeaderColumn]:
            return stamped(rows, ordered, key, value)

        schema, _, table = plan.relation.partition(".")
        frame = rows.frame.with_columns(source=sources(rows.frame, (schema, table), options=bare, database=rows.database))
        if rows.form == "debezium":
            made = encode_debezium(frame, plan, bare, rows.moment, stamp=stamp)
        elif rows.form == "debezium-unwrapped":
            made = encode_unwrapped(frame, plan, bare, rows.moment, stamp=stamp)
        else:
            made = encode_own(frame, plan, bare, stamp)
        return _framed(made, key.frame, value.frame)

    def _registered(self, topic: str, schema: Schema, *, is_key: bool) -> Registered:
        return self._register(SchemaUse(topic, is_key, str(schema.get("name", "")), "JSON", json_schema(schema)))

    def converted(self, table: pa.Table) -> pa.Table:
        """Record by record: these are few."""
        return converted(table, self._one)

    def _one(self, topic: str, raw: bytes, *, is_key: bool) -> bytes:
        told = json.loads(raw)
        text = json.dumps(told["payload"], ensure_ascii=False, separators=(",", ":"))
        return self._registered(topic, told["schema"], is_key=is_key).frame + text.encode()


def _framed(table: pa.Table, key: bytes, value: bytes) -> pa.Table:
    for name, frame in (("key", key), ("value", value)):
        if frame and table[name].null_count < len(table):
            held = table[name].combine_chunks().cast(BINARY)
            made = pa.compute.if_else(held.is_valid(), glued(pa.scalar(frame, BINARY), held), pa.scalar(None, BINARY))
            number = table.schema.get_field_index(name)
            table = table.set_column(number, RECORD_SCHEMA.field(name), made.cast(pa.binary()))
    return table


__all__ = ["JsonNotation"]
