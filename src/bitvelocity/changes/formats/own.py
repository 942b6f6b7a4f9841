"""BitVelocity's own event: the row, what happened to it, and who did it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pyarrow as pa

from . import values
from .connect import ConnectType, Schema, connect_type, dumps
from .debezium import events, key_json
from .described import Described
from .options import Options
from .plan import Plan, struct_schema, with_schema
from .records import Stamp, records
from .values import glue, json_string, quoted

_WORDS: Mapping[str, str] = {"c": "INSERT", "u": "UPDATE", "d": "DELETE", "t": "TRUNCATE", "r": "READ"}


def own_options(options: Options) -> Options:
    """Exact values: decimals and moments as text, bytes as base64, no stand-ins."""
    return replace(
        options, decimal_handling_mode="string", time_precision_mode="isostring", interval_handling_mode="string",
        binary_handling_mode="bytes", hstore_handling_mode="map",
    )  # fmt: skip


def own_type(described: Described, oid: int, modifier: int, options: Options) -> ConnectType:
    """Every type has a form: what Connect does not know is text, as PostgreSQL prints it."""
    known = connect_type(described, oid, modifier, options)
    if known is None:
        return ConnectType({"type": "string"}, values.quoted, "null")
    return replace(known, nothing="null", placeholder=None)


_METADATA = (
    ("operation", "string"), ("source", "string"), ("timestamp", "string"), ("transaction_id", "int64"), ("lsn", "string"),
    ("position", "string"),
)  # fmt: skip


def own_schema(plan: Plan) -> str:
    """The schema of the whole event, for notations that have one for all of it."""
    return dumps(event_of(json.loads(struct_schema(plan.row_schema, name=f"{plan.name}.Value"))))


def event_of(row: Schema) -> Schema:
    """The schema of the event around a row's."""
    name = str(row["name"]).removesuffix(".Value")
    sides = [{**row, "optional": True, "field": side} for side in ("payload", "before")]
    told = [{"type": kind, "optional": False, "field": one} for one, kind in _METADATA]
    absent = {"type": "array", "items": {"type": "string", "optional": False}, "optional": False, "field": "absent"}
    who = [{"type": "string", "optional": True, "field": one} for one in ("user", "correlation_id", "source")]
    parts = (("metadata", "Metadata", [*told, absent]), ("audit", "Audit", who))
    rest = [
        {"type": "struct", "fields": fields, "optional": False, "name": f"bitvelocity.{title}", "field": field}
        for field, title, fields in parts
    ]  # fmt: skip
    return {"type": "struct", "fields": [*sides, *rest], "optional": False, "name": f"{name}.Event"}


def own_events(rows: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Rows to events, with `payload`, `was`, and what `metadata` says of each. A change of the key is one UPDATE."""
    found = events(
        rows.with_columns(old_key=pl.when(pl.col("op") == "u").then("new_key").otherwise("old_key")), options
    )
    hexed = {name: pl.Series([f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}" for lsn in found[column].to_list()], dtype=pl.String)
             for name, column in (("hex", "row_lsn"), ("commit", "lsn"))}  # fmt: skip
    return found.with_columns(
        payload=pl.when(pl.col("kind") == "d").then("before").otherwise("after"),
        was=pl.when(pl.col("kind") == "u").then("before"),
        word=pl.col("kind").replace_strict(_WORDS, default="DELETE"),
        clock=pl.col("at").cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"), **hexed,
    ).with_columns(position=pl.concat_str("commit", pl.lit(":"), "ordinal"))  # fmt: skip


def encode_own(rows: pl.DataFrame, plan: Plan, options: Options, stamp: Stamp | None = None) -> pa.Table:
    """The records of one batch. A change of the key is one UPDATE; `before` holds the old row where it was sent."""
    found = own_events(rows, options)
    head, tail = with_schema(struct_schema(plan.row_schema, name=f"{plan.name}.Value"), options)
    value = glue(
        _opening(head, tail), found["payload"].fill_null("null"), ',"before":', found["was"].fill_null("null"),
        ',"metadata":{"operation":"', found["word"], f'","source":{json_string(plan.relation)},"timestamp":"', found["clock"],
        '","transaction_id":', found["xid"].cast(pl.String), ',"lsn":"', found["hex"], '","position":"', found["position"],
        '","absent":', found["absent"].fill_null("[]"), '},"audit":{"user":', _text(found["user"]),
        ',"correlation_id":', _text(found["correlation"]), ',"source":', _text(found["said"]), "}}",
    )  # fmt: skip
    done = found.with_columns(
        key=key_json(found, plan, options),
        value=pl.when(pl.col("kind") != "tombstone").then(value),
    )
    return records(plan.topic, done, stamp)


def _opening(head: str, tail: str) -> str:
    """`{"schema":...,"payload":` or, without schemas, `{"payload":`."""
    return head if tail else '{"payload":'


def _text(column: pl.Series) -> pl.Series:
    return quoted(column.cast(pl.String)).fill_null("null")
