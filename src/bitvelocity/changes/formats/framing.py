"""What notations by a schema have in common: the frame before values, and records that were JSON at first."""

from __future__ import annotations

from typing import Any, Protocol

import polars as pl
import pyarrow as pa

from .avro.varints import BINARY, glued, only
from .headers import HeaderColumn
from .notation import Registered, Rows, framing_headers
from .records import RECORD_SCHEMA


class Convert(Protocol):
    """One record's key or value, from JSON with its schema."""

    def __call__(self, topic: str, raw: bytes, *, is_key: bool) -> bytes: ...


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


__all__ = ["converted", "framed", "stamped"]
