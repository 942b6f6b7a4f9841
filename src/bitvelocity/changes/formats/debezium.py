"""Change events as Debezium's envelope has them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from .options import Options
from .plan import SOURCE_SCHEMA, TRANSACTION_SCHEMA, Plan, struct_schema, with_schema
from .records import Stamp, records
from .values import glue

_TAIL_FIELDS = (
    '{"type":"string","optional":false,"field":"op"},{"type":"int64","optional":true,"field":"ts_ms"},'
    '{"type":"int64","optional":true,"field":"ts_us"},{"type":"int64","optional":true,"field":"ts_ns"}'
)
_NEW_KEY, _OLD_KEY = "__debezium.newkey", "__debezium.oldkey"


@dataclass(frozen=True, slots=True)
class Moment:
    """When an event is made: the top-level `ts_ms`, `ts_us`, `ts_ns`, which no other process can repeat."""

    ns: int

    def text(self) -> str:
        return f'"ts_ms":{self.ns // 1_000_000},"ts_us":{self.ns // 1000},"ts_ns":{self.ns}'


def envelope_schema(plan: Plan) -> str:
    """The schema of the value."""
    before, after = (
        struct_schema(plan.row_schema, name=f"{plan.name}.Value", optional=True, field=side)
        for side in ("before", "after")
    )
    fields = f"[{before},{after},{SOURCE_SCHEMA},{TRANSACTION_SCHEMA},{_TAIL_FIELDS}]"
    return struct_schema(fields, name=f"{plan.name}.Envelope", version=2)


def _moved() -> pl.Expr:
    """The key was changed."""
    changed = (pl.col("op") == "u") & pl.col("has_old") & pl.col("new_key").is_not_null()
    return (changed & (pl.col("old_key") != pl.col("new_key"))).fill_null(value=False)


def event_count(rows: pl.DataFrame, options: Options) -> pl.Series:
    """How many events a row gives, tombstones not counted."""
    skipped = list(options.skipped_operations)
    split = sum(kind not in skipped for kind in ("d", "c"))
    count = pl.when(_moved()).then(split).otherwise((~pl.col("op").is_in(skipped)).cast(pl.Int32))
    return rows.select(count.cast(pl.Int64).alias("count"))["count"]


def events(rows: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Rows to events: a change of the key is a delete and a create, a delete has a tombstone after it.

    Adds `key, kind, step, value_is`, where `kind` is the event's `op`, and `headers` of a changed key.
    """
    rows = rows.with_columns(moved=_moved())
    nothing = pl.lit(None, rows.schema["after"])
    plain = rows.filter(~pl.col("moved")).with_columns(
        key=pl.when(pl.col("op") == "d").then("old_key").when(pl.col("op") != "t").then("new_key"),
        kind="op",
        step=pl.lit(0),
        other=nothing,
    )
    gone = rows.filter("moved").with_columns(
        key="old_key", kind=pl.lit("d"), step=pl.lit(0), after=nothing, other="new_key"
    )
    come = rows.filter("moved").with_columns(
        key="new_key",
        kind=pl.lit("c"),
        step=pl.lit(2),
        transaction=pl.col("transaction_of_second"),
        before=nothing,
        other="old_key",
    )
    found = pl.concat([plain, gone, come])
    found = found.filter(~pl.col("kind").is_in(list(options.skipped_operations)))
    tombs = found.filter(pl.col("kind") == "d").with_columns(kind=pl.lit("tombstone"), step=pl.lit(1))
    return pl.concat([found, tombs]) if options.tombstones_on_delete else found


def key_json(found: pl.DataFrame, plan: Plan, options: Options, column: str = "key") -> pl.Series:
    """The record's key as bytes' text."""
    head, tail = with_schema(plan.key_schema, options)
    return glue(head, found[column], tail)


def header_column(found: pl.DataFrame, plan: Plan, options: Options) -> pl.Expr:
    """`__debezium.newkey` and `__debezium.oldkey` of those that have another key."""
    return other_key(key_json(found, plan, options, "other"))


def other_key(other: pl.Series) -> pl.Expr:
    """The same, with the other key as it is written."""
    name = pl.when(pl.col("kind") == "c").then(pl.lit(_OLD_KEY)).otherwise(pl.lit(_NEW_KEY))
    pair = pl.concat_list(pl.struct(name.alias("key"), pl.lit(other).alias("value")))
    return pl.when(pl.lit(other).is_not_null()).then(pair)


def encode_debezium(
    rows: pl.DataFrame, plan: Plan, options: Options, moment: Moment, *, stamp: Stamp | None = None
) -> pa.Table:
    """The records of one batch; `rows` has the columns `source` and `transaction` beside the images."""
    found = events(rows, options)
    head, tail = with_schema(envelope_schema(plan), options)
    value = glue(
        head + '{"before":', found["before"].fill_null("null"), ',"after":', found["after"].fill_null("null"),
        ',"source":', found["source"], ',"transaction":', found["transaction"].fill_null("null"), ',"op":"',
        found["kind"], f'",{moment.text()}}}{tail}',
    )  # fmt: skip
    done = found.with_columns(
        key=key_json(found, plan, options),
        value=pl.when(pl.col("kind") != "tombstone").then(value),
        headers=header_column(found, plan, options),
    )
    return records(plan.topic, done, stamp)
