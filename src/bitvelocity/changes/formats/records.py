"""Records: what a topic takes. One Arrow table holds those of one topic, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import polars as pl
import pyarrow as pa

from .headers import HEADERS, HeaderColumn, from_lists, header_map

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("topic", pa.string()),
    ("key", pa.binary()),
    ("value", pa.binary()),
    ("headers", HEADERS),
    ("timestamp", pa.timestamp("us", "UTC")),
    ("lsn", pa.int64()),
    ("ordinal", pa.int32()),
    ("step", pa.int8()),
]
RECORD_SCHEMA: pa.Schema = pa.schema(_FIELDS)
"""`key` and `value` are bytes or NULL. `timestamp` is the commit's. A record's place is `(lsn, ordinal, step)`: one
change may give three records, and messages (step -1) stand before the change that has their ordinal."""


Stamp: TypeAlias = Callable[[pl.DataFrame], Sequence[HeaderColumn]]
"""More headers of events: gives them for rows that it sees in the order of the records."""


def records(topic: str, frame: pl.DataFrame, stamp: Stamp | None = None) -> pa.Table:
    """`frame` has `key, value` (text or bytes), `at` (microseconds), `lsn, ordinal, step`, and may have `headers`.

    `headers` is a list of structs of `key` and `value`.
    """
    ordered = frame.sort("lsn", "ordinal", "step", maintain_order=True)
    count = len(ordered)
    headers = list(from_lists(ordered["headers"])) if "headers" in frame.columns else []
    headers += stamp(ordered) if stamp is not None else []
    columns: list[pa.Array[Any]] = [
        pa.array([topic], pa.string()).take(pa.array([0] * count, pa.int64())) if count else pa.array([], pa.string()),
        ordered["key"].to_arrow().cast(pa.large_binary()).cast(pa.binary()),
        ordered["value"].to_arrow().cast(pa.large_binary()).cast(pa.binary()),
        header_map(headers, count),
        pa.array(ordered["at"].to_numpy(), pa.int64()).view(RECORD_SCHEMA.field("timestamp").type),
        ordered["lsn"].cast(pl.Int64).to_arrow(),
        ordered["ordinal"].cast(pl.Int32).to_arrow(),
        ordered["step"].cast(pl.Int8).to_arrow(),
    ]
    return pa.Table.from_arrays(columns, schema=RECORD_SCHEMA)


def in_order(tables: Iterable[pa.Table]) -> pa.Table:
    """The records of several topics as one table, in the order of the source."""
    found = list(tables)
    if not found:
        return RECORD_SCHEMA.empty_table()
    whole = pa.concat_tables(found)
    places = pl.DataFrame(pl.from_arrow(whole.select(["lsn", "ordinal", "step"]))).with_row_index("n")
    order = places.sort("lsn", "ordinal", "step", maintain_order=True)["n"]
    return whole.take(order.to_arrow())
