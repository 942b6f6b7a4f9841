"""Rows without the envelope, as Debezium's ExtractNewRecordState gives them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from .connect import field_schema
from .debezium import Moment, events, header_column, key_json
from .options import Options
from .plan import SOURCE_TYPES, Plan, struct_schema, with_schema
from .records import Stamp, records
from .values import glue, json_string

_TRANSACTION = {"id": "string", "total_order": "int64", "data_collection_order": "int64"}
_OWN = {"op": "string", "ts_ms": "int64", "ts_us": "int64", "ts_ns": "int64"}
DELETED = "__deleted"
_PARTS = {"source": SOURCE_TYPES, "transaction": _TRANSACTION, "": _OWN}
ADDABLE = tuple(dict.fromkeys((*_OWN, *SOURCE_TYPES, *_TRANSACTION)))
"""What `added` knows; `source.` or `transaction.` may stand before those that are theirs."""


@dataclass(frozen=True, slots=True)
class Added:
    """A field of the envelope that is added to the row. `part`: source, transaction, or empty for the envelope."""

    part: str
    field: str
    name: str

    def schema(self, *, named: bool = True) -> str:
        kind = _PARTS[self.part].get(self.field)
        return field_schema({"type": kind or "string"}, optional=True, name=self.name if named else None)

    def value(self, found: pl.DataFrame, moment: Moment) -> pl.Series:
        """Its JSON in every row."""
        if self.part == "source":
            return found["source"].str.extract(rf'[{{,]"{self.field}":("(?:[^"\\]|\\.)*"|[^,}}]*)', 1).fill_null("null")
        if self.part == "transaction":
            return found["transaction"].str.extract(rf'"{self.field}":("[^"]*"|[^,}}]*)', 1).fill_null("null")
        if self.field == "op":
            return glue('"', found["kind"], '"')
        divide = {"ts_ms": 1_000_000, "ts_us": 1000, "ts_ns": 1}[self.field]
        return pl.repeat(str(moment.ns // divide), len(found), dtype=pl.String, eager=True)


def added(names: tuple[str, ...], prefix: str) -> list[Added]:
    """`op`, `table`, `source.ts_ms`, `txId:tx`: what `add.fields` and `add.headers` say."""
    found = []
    for said in names:
        path, _, new = said.partition(":")
        part, dot, field = path.rpartition(".")
        if not dot:
            part = "transaction" if field in _TRANSACTION else "" if field in _OWN else "source"
        if field in _PARTS.get(part, {}):
            found.append(Added(part, field, prefix + (new or (f"{part}_{field}" if dot else field))))
    return found


def unwrapped_events(rows: pl.DataFrame, options: Options) -> pl.DataFrame:
    """Rows to events, with `row_image` and `deleted`. Truncates are dropped."""
    mode = options.delete_tombstone_handling_mode
    rewrites, keeps = mode.startswith("rewrite"), mode in ("tombstone", "rewrite-with-tombstone")
    found = events(rows, options).filter(pl.col("kind") != "t")
    drop = ([] if keeps else ["tombstone"]) + ([] if rewrites or mode == "delete-to-tombstone" else ["d"])
    found = found.filter(~pl.col("kind").is_in(drop))
    row = pl.coalesce("after", "before") if rewrites else pl.col("after")
    return found.with_columns(
        row_image=row, deleted=pl.when(pl.col("kind") == "d").then(pl.lit("true")).otherwise(pl.lit("false"))
    )


def encode_unwrapped(
    rows: pl.DataFrame, plan: Plan, options: Options, moment: Moment, *, stamp: Stamp | None = None
) -> pa.Table:
    """The records of one batch. Truncates are dropped."""
    found = unwrapped_events(rows, options)
    rewrites = options.delete_tombstone_handling_mode.startswith("rewrite")
    fields = added(options.add_fields, options.add_fields_prefix)
    tail: list[pl.Series | str] = []
    if rewrites:
        tail += [f',"{DELETED}":"', found["deleted"], '"']
    for one in fields:
        tail += [f",{json_string(one.name)}:", one.value(found, moment)]
    head, end = with_schema(unwrapped_schema(plan, fields, rewrites=rewrites), options)
    value = glue(head, found["row_image"].str.strip_suffix("}"), *tail, "}" + end)
    done = found.with_columns(
        key=key_json(found, plan, options),
        value=pl.when(pl.col("kind") != "tombstone").then(value).otherwise(pl.lit(_null(plan, fields, options))),
        headers=_headers(found, plan, options, moment),
    )
    return records(plan.topic, done, stamp)


def _null(plan: Plan, fields: list[Added], options: Options) -> str | None:
    """The value of a tombstone. Where Debezium makes it of the delete, it has a schema, and the converter writes a null."""
    if not (options.strict_debezium and options.delete_tombstone_handling_mode == "tombstone"):
        return None
    head, end = with_schema(unwrapped_schema(plan, fields, rewrites=False, optional=True), options)
    return f"{head}null{end}"


def unwrapped_schema(plan: Plan, fields: list[Added], *, rewrites: bool, optional: bool = False) -> str:
    """The schema of a row with the fields that are added to it."""
    more = [field_schema({"type": "string"}, optional=True, name=DELETED)] if rewrites else []
    more += [one.schema() for one in fields]
    text = plan.row_schema[:-1] + "".join(("," if plan.columns or n else "") + one for n, one in enumerate(more)) + "]"
    return struct_schema(text, name=f"{plan.name}.Value", optional=optional)


def _headers(found: pl.DataFrame, plan: Plan, options: Options, moment: Moment) -> pl.Expr | pl.Series:
    """Those of a changed key, then those of `add.headers`; a tombstone gets nothing but its `op`, `d`."""
    wanted = added(options.add_headers, options.add_headers_prefix)
    own = header_column(found, plan, options)
    if not wanted:
        return own
    kind = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
    parts = [pl.coalesce(own, pl.lit([], kind))]
    is_tombstone = pl.col("kind") == "tombstone"
    for one in wanted:
        head, end = with_schema(one.schema(named=False), options)
        value = pl.lit(glue(head, one.value(found, moment), end))
        if one.field == "op" and not one.part:
            value = pl.when(is_tombstone).then(pl.lit(f'{head}"d"{end}')).otherwise(value)
        pair = pl.concat_list(pl.struct(pl.lit(one.name).alias("key"), value.alias("value")))
        if one.part or one.field != "op":
            pair = pl.when(is_tombstone).then(pl.lit([], kind)).otherwise(pair)
        parts.append(pair)
    return found.with_columns(pl.concat_list(parts).alias("h"))["h"]
