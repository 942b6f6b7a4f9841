"""Records: what a topic takes. One Arrow table holds those of one topic, in order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
import pyarrow as pa

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("topic", pa.string()),
    ("key", pa.binary()),
    ("value", pa.binary()),
    ("headers", pa.map_(pa.string(), pa.binary())),
    ("timestamp", pa.timestamp("us", "UTC")),
    ("lsn", pa.int64()),
    ("ordinal", pa.int32()),
    ("step", pa.int8()),
]
RECORD_SCHEMA: pa.Schema = pa.schema(_FIELDS)
"""`key` and `value` are bytes or NULL. `timestamp` is the commit's. A record's place is `(lsn, ordinal, step)`: one
change may give three records, and messages (step -1) stand before the change that has their ordinal."""


def records(topic: str, frame: pl.DataFrame) -> pa.Table:
    """`frame` has `key, value` (text), `at` (microseconds), `lsn, ordinal, step`, and may have `headers`.

    `headers` is a list of structs of `key` and `value` (text).
    """
    kind = pl.List(pl.Struct({"key": pl.String, "value": pl.String}))
    headers = pl.col("headers") if "headers" in frame.columns else pl.lit(None, kind)
    ordered = frame.with_columns(headers=headers).sort("lsn", "ordinal", "step", maintain_order=True)
    count = len(ordered)
    columns: list[pa.Array[Any]] = [
        pa.array([topic], pa.string()).take(pa.array([0] * count, pa.int64())) if count else pa.array([], pa.string()),
        ordered["key"].to_arrow().cast(pa.large_binary()).cast(pa.binary()),
        ordered["value"].to_arrow().cast(pa.large_binary()).cast(pa.binary()),
        _headers(ordered["headers"]),
        pa.array(ordered["at"].to_numpy(), pa.int64()).view(RECORD_SCHEMA.field("timestamp").type),
        ordered["lsn"].cast(pl.Int64).to_arrow(),
        ordered["ordinal"].cast(pl.Int32).to_arrow(),
        ordered["step"].cast(pl.Int8).to_arrow(),
    ]
    return pa.Table.from_arrays(columns, schema=RECORD_SCHEMA)


def _headers(headers: pl.Series) -> pa.Array[Any]:
    kind = RECORD_SCHEMA.field("headers").type
    if headers.null_count() == len(headers):
        void: pa.Array[Any] = pa.nulls(len(headers), kind)
        return void
    lists = headers.to_list()  # few records have any: those of changed keys, or all when they were asked for
    pairs = [None if one is None else [(h["key"], (h["value"] or "").encode()) for h in one] for one in lists]
    made: pa.Array[Any] = pa.array(pairs, kind)
    return made


def in_order(tables: Iterable[pa.Table]) -> pa.Table:
    """The records of several topics as one table, in the order of the source."""
    found = list(tables)
    if not found:
        return RECORD_SCHEMA.empty_table()
    whole = pa.concat_tables(found)
    places = pl.DataFrame(pl.from_arrow(whole.select(["lsn", "ordinal", "step"]))).with_row_index("n")
    order = places.sort("lsn", "ordinal", "step", maintain_order=True)["n"]
    return whole.take(order.to_arrow())
