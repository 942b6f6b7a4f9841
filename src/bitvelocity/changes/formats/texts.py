"""Columns of Connect's values, as they were read, to columns of text as PostgreSQL prints it: `printed`, by column.

The types that are met most are done at once; of these, what is odd (a year BC, infinity) and all other types go value by
value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from .printed import printed

Schema = Mapping[str, Any]
_TIME, _CONNECT, _DATA = "io.debezium.time.", "org.apache.kafka.connect.data.", "io.debezium.data."
UNITS = {
    _TIME + "Timestamp": 1000, _CONNECT + "Timestamp": 1000, _TIME + "MicroTimestamp": 1_000_000,
    _TIME + "NanoTimestamp": 1_000_000_000,
}  # fmt: skip
"""Of types that count from a moment: how many there are in a second."""
CLOCKS = {
    _TIME + "Time": 1000, _CONNECT + "Time": 1000, _TIME + "MicroTime": 1_000_000, _TIME + "NanoTime": 1_000_000_000,
}  # fmt: skip
_AS_TEXT = frozenset(_DATA + name for name in ("Json", "Xml", "Uuid", "Enum", "Ltree", "Tsvector", "EnumSet"))
_FIRST, END = -62_135_596_800, 253_402_300_800
"""Seconds of the years 1 to 9999."""
_DAY = 86_400
_ENDLESS = 9_223_372_036_825_200_000
"""What stands for infinity, in micro- and in nanoseconds."""
_WIDEST = 38


def text_of(schema: Schema, values: pl.Series) -> pl.Series:
    """NULL stays NULL."""
    if values.null_count() == len(values):
        return pl.repeat(None, len(values), dtype=pl.String, eager=True)
    name, kind = schema.get("name") or "", schema["type"]
    if kind == "bytes" and values.dtype == pl.String:
        values = values.str.decode("base64")
    if kind == "string" and (not name or name in _AS_TEXT):
        return values.cast(pl.String)
    if name in _FAST:
        return _with_odd(schema, values, _FAST[name](schema, values))
    return _one_by_one(schema, values) if name else _nameless(schema, values)


def _nameless(schema: Schema, values: pl.Series) -> pl.Series:
    """Of a type that Connect itself knows."""
    kind = schema["type"]
    if kind.startswith("int"):
        return values.cast(pl.Int64).cast(pl.String)
    if kind == "boolean":
        return pl.select(pl.when(values).then(pl.lit("t")).when(~values).then(pl.lit("f")).alias("v"))["v"]
    if kind == "bytes":
        return pl.select(pl.concat_str(pl.lit("\\x"), pl.lit(values.bin.encode("hex"))).alias("v"))["v"]
    return _one_by_one(schema, values)


def _with_odd(schema: Schema, values: pl.Series, fast: pl.Series) -> pl.Series:
    if fast.null_count() == values.null_count():
        return fast
    rest = _one_by_one(schema, pl.select(pl.when(fast.is_null()).then(values).alias("v"))["v"])
    return pl.select(pl.coalesce(fast, rest).alias("v"))["v"]


def _one_by_one(schema: Schema, values: pl.Series) -> pl.Series:
    """Each distinct value once, where values can be held against each other."""
    if values.dtype.is_nested():
        return pl.Series("v", [printed(schema, one) for one in values.to_list()], pl.String)
    keys = _bits(values) if values.dtype.is_float() else values
    known, first = (
        keys.drop_nulls().unique(maintain_order=True),
        values.drop_nulls().gather(keys.drop_nulls().arg_unique()),
    )
    texts = pl.DataFrame(
        {"k": known, "v": pl.Series([printed(schema, one) for one in first.to_list()], dtype=pl.String)}
    )
    found = (
        keys.alias("k").to_frame().join(texts, on="k", how="left", maintain_order="left", nulls_equal=False)
    )
    return found["v"]


def _bits(values: pl.Series) -> pl.Series:
    """Floats as whole numbers of the same bits: zero and its negative are two values."""
    whole = np.int32 if values.dtype == pl.Float32 else np.int64
    held = pl.Series(values.fill_null(0).to_numpy().view(whole))
    return pl.select(pl.when(values.is_not_null()).then(held).alias("k"))["k"]


def _stamps(schema: Schema, values: pl.Series) -> pl.Series:
    per_second = UNITS[schema["name"]]
    numbers = values.cast(pl.Int64)
    first, end = max(_FIRST * per_second, -_ENDLESS), min(END * per_second, _ENDLESS)
    fits = (numbers >= first) & (numbers < end)
    numbers = pl.select(pl.when(fits).then(numbers).alias("v"))["v"]
    micros = (
        numbers // (per_second // 1_000_000)
        if per_second > 1_000_000
        else numbers * (1_000_000 // per_second)
    )
    text = micros.cast(pl.Datetime("us")).dt.to_string("%Y-%m-%d %H:%M:%S%.6f")
    return _short(text)


def _short(text: pl.Series) -> pl.Series:
    """Without the zeros at the end of its fraction."""
    return text.str.strip_chars_end("0").str.strip_chars_end(".")


def _clocks(schema: Schema, values: pl.Series) -> pl.Series:
    per_second = CLOCKS[schema["name"]]
    numbers = values.cast(pl.Int64)
    numbers = pl.select(pl.when(numbers < _DAY * per_second).then(numbers).alias("v"))["v"]
    nanos = numbers * (1_000_000_000 // per_second)
    return _short(nanos.cast(pl.Time).dt.to_string("%H:%M:%S%.6f"))


def _dates(_: Schema, values: pl.Series) -> pl.Series:
    days = values.cast(pl.Int32)
    fits = (days >= _FIRST // _DAY) & (days < END // _DAY)
    return pl.select(pl.when(fits).then(days).alias("v"))["v"].cast(pl.Date).dt.to_string("%Y-%m-%d")


def _zoned(_: Schema, values: pl.Series) -> pl.Series:
    """`2024-01-15T08:30:00.123456Z`; what has another form is odd."""
    plain = (values.str.slice(10, 1) == "T") & values.str.ends_with("Z")
    if plain.all() and values.str.contains(".", literal=True).all():
        text = _short(values.str.strip_chars_end("Z0")).str.replace("T", " ", literal=True)
        return pl.select(pl.concat_str(text, pl.lit("+00")).alias("v"))["v"]
    clock = values.str.slice(11).str.strip_suffix("Z")
    frame = pl.DataFrame(
        {
            "day": values.str.slice(0, 10), "clock": clock, "short": _short(clock), "plain": plain,
            "part": clock.str.contains(".", literal=True),
        }
    )  # fmt: skip
    cut = pl.when("part").then("short").otherwise("clock")
    return frame.select(pl.when("plain").then(pl.concat_str("day", pl.lit(" "), cut, pl.lit("+00"))).alias("v"))["v"]


def _decimals(schema: Schema, values: pl.Series) -> pl.Series:
    """Those that 128 bits hold; the rest is odd. So is money, of which no precision is told."""
    told = schema.get("parameters") or {}
    scale = int(told.get("scale", 0))
    if "connect.decimal.precision" not in told or not 0 <= scale <= _WIDEST:
        return pl.repeat(None, len(values), dtype=pl.String, eager=True)
    sizes = values.bin.size().fill_null(0).to_numpy().astype(np.int64)
    array = values.to_arrow().cast(pa.large_binary())
    raw = _extended(array, sizes)
    fits = pa.array((sizes > 0) & (sizes <= 15))
    made = pa.Array.from_buffers(pa.decimal128(_WIDEST, scale), len(values), [None, pa.py_buffer(raw.data)])
    text = pl.Series(pl.from_arrow(made)).cast(pl.String)
    keep = pl.Series(pl.from_arrow(fits))
    return pl.select(pl.when(keep).then(text).alias("v"))["v"]


def _extended(array: pa.Array[Any], sizes: np.ndarray) -> np.ndarray:
    """Big-endian numbers of any width as little-endian ones of 16 bytes."""
    _, offsets, data = array.buffers()
    assert offsets is not None
    places = np.frombuffer(memoryview(offsets), np.int64)[array.offset : array.offset + len(array) + 1]
    held = np.frombuffer(memoryview(data), np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
    raw = np.zeros((len(array), 16), np.uint8)
    first = held[np.minimum(places[:-1], len(held) - 1)]
    negative = (first >= 0x80) & (sizes > 0)
    raw[negative] = 0xFF
    for step in range(min(16, int(sizes.max(initial=0)))):
        has = np.nonzero(sizes > step)[0]
        raw[has, step] = held[places[1:][has] - 1 - step]
    return raw


_FAST: dict[str, Callable[[Schema, pl.Series], pl.Series]] = {
    **dict.fromkeys(UNITS, _stamps), **dict.fromkeys(CLOCKS, _clocks),
    _TIME + "Date": _dates, _CONNECT + "Date": _dates, _TIME + "ZonedTimestamp": _zoned, _CONNECT + "Decimal": _decimals,
}  # fmt: skip


__all__ = ["CLOCKS", "END", "UNITS", "text_of"]
