"""BitVelocity's own event: the row, what happened to it, and who did it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl
import pyarrow as pa

from . import values
from .connect import ConnectType, connect_type
from .debezium import events, key_json
from .described import Described
from .options import Options
from .plan import Plan, struct_schema, with_schema
from .records import records
from .values import glue, json_string, quoted

_WORDS: Mapping[str, str] = {"c": "INSERT", "u": "UPDATE", "d": "DELETE", "t": "TRUNCATE", "r": "READ"}


def own_options(options: Options) -> Options:
    """Exact values: decimals and moments as text, bytes as base64, no stand-ins."""
    return replace(
        options, decimal_handling_mode="string", time_precision_mode="isostring", interval_handling_mode="string",
        binary_handling_mode="base64", hstore_handling_mode="map",
    )  # fmt: skip


def own_type(described: Described, oid: int, modifier: int, options: Options) -> ConnectType:
    """Every type has a form: what Connect does not know is text, as PostgreSQL prints it."""
    known = connect_type(described, oid, modifier, options)
    if known is None:
        return ConnectType({"type": "string"}, values.quoted, "null")
    return replace(known, nothing="null", placeholder=None)


def encode_own(rows: pl.DataFrame, plan: Plan, options: Options) -> pa.Table:
    """The records of one batch. A change of the key is one UPDATE; `before` holds the old row where it was sent."""
    found = events(rows.with_columns(old_key=pl.when(pl.col("op") == "u").then("new_key").otherwise("old_key")), options)
    clock = _clock(found["at"])
    hexed = [pl.Series("v", [f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}" for lsn in found[name].to_list()], pl.String)
             for name in ("row_lsn", "lsn")]  # fmt: skip
    head, tail = with_schema(struct_schema(plan.row_schema, name=f"{plan.name}.Value"), options)
    payload = pl.select(pl.when(found["kind"] == "d").then(found["before"]).otherwise(found["after"]).alias("v"))["v"]
    value = glue(
        _opening(head, tail), payload.fill_null("null"), ',"before":',
        pl.select(pl.when(found["kind"] == "u").then(found["before"]).alias("v"))["v"].fill_null("null"),
        ',"metadata":{"operation":"', found["kind"].replace_strict(_WORDS, default="DELETE"),
        f'","source":{json_string(plan.relation)},"timestamp":"', clock, '","transaction_id":', found["xid"].cast(pl.String),
        ',"lsn":"', hexed[0], '","position":"', hexed[1], ":", found["ordinal"].cast(pl.String),
        '","absent":', found["absent"].fill_null("[]"), '},"audit":{"user":', _text(found["user"]),
        ',"correlation_id":', _text(found["correlation"]), ',"source":', _text(found["said"]), "}}",
    )  # fmt: skip
    done = found.with_columns(
        key=key_json(found, plan, options),
        value=pl.when(pl.col("kind") != "tombstone").then(value),
    )
    return records(plan.topic, done)


def _opening(head: str, tail: str) -> str:
    """`{"schema":...,"payload":` or, without schemas, `{"payload":`."""
    return head if tail else '{"payload":'


def _text(column: pl.Series) -> pl.Series:
    return quoted(column.cast(pl.String)).fill_null("null")


def _clock(micros: pl.Series) -> pl.Series:
    return micros.cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
