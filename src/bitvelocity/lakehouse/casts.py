"""Printed values to typed columns, a column at a time; what a type cannot hold is NULL and told.

Moments are of the years 1 to 9999, which every reader of Delta knows.

Arrow reads timestamps ten times faster than Polars, and decimals exactly, but gives up at the first value that it
cannot read; Polars reads integers faster and goes on. Each is used where it is good, and the slow careful way only when the fast one gave up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from bitvelocity.contracts import Type

from .arrays import elements, is_list
from .columns import Mask, Values, arrow, is_null, nulls, series

_TIMESTAMP = "%Y-%m-%d %H:%M:%S%.f"
_FORMATS = {"timestamptz": _TIMESTAMP + "%#z", "timestamp": _TIMESTAMP, "date": "%Y-%m-%d"}


def cast(values: Values, kind: Type, target: pa.DataType) -> tuple[Values, Mask | None]:
    """The values as `target`, and the rows whose printed value it cannot hold (None: it holds them all)."""
    if pa.types.is_string(target):
        return values, None
    if values.null_count == len(values):
        return nulls(len(values), target), None
    typed = _typed(values, kind, target)
    if typed.null_count == values.null_count:
        return typed, None
    return typed, is_null(typed) & ~is_null(values)


def _typed(values: Values, kind: Type, target: pa.DataType) -> Values:
    if pa.types.is_timestamp(target) or pa.types.is_date(target):
        return _moments(values, kind, target)
    if pa.types.is_decimal(target):
        return _decimals(values, target.precision, target.scale)
    if isinstance(target, pa.ListType):
        return _lists(values, kind.item or Type("text"), target)
    return arrow(_PLAIN[str(target)](series(values)))


def _number(to: pl.DataType | type[pl.DataType]) -> Callable[[pl.Series], pl.Series]:
    return lambda values: values.cast(to, strict=False)


_PLAIN: dict[str, Callable[[pl.Series], pl.Series]] = {
    "bool": lambda values: values == "t",
    "int16": _number(pl.Int16),
    "int32": _number(pl.Int32),
    "int64": _number(pl.Int64),
    "float": _number(pl.Float32),
    "double": _number(pl.Float64),
    "binary": lambda values: values.str.strip_prefix("\\x").str.decode("hex", strict=False),
}


def _decimals(values: Values, precision: int, scale: int) -> Values:
    """Exactly, or not at all: a value with more digits than the scale is not rounded."""
    try:
        return pc.cast(values, pa.decimal128(precision, scale))
    except pa.ArrowInvalid:
        printed = series(values).str.replace(r"(\.\d*?)0+$", "$1").str.strip_suffix(".")  # of a wider scale, and exact
    typed = printed.cast(pl.Decimal(precision, scale), strict=False)
    digits = printed.str.len_bytes() - printed.str.find(".", literal=True)
    return arrow(typed.set((digits > scale + 1).fill_null(False), None))


def _moments(values: Values, kind: Type, target: pa.DataType) -> Values:
    naive = kind.kind == "timestamp"
    try:
        read = pc.cast(values.cast(pa.string()), pa.timestamp("us") if naive else target)
    except pa.ArrowInvalid:
        read = arrow(_carefully(series(values), kind))
    return read.cast(target) if read.type != target else read


def _carefully(values: pl.Series, kind: Type) -> pl.Series:
    if kind.kind == "date":
        return values.str.to_date(_FORMATS["date"], strict=False)
    zone = "UTC" if kind.kind == "timestamptz" else None
    return values.str.to_datetime(_FORMATS[kind.kind], time_unit="us", time_zone=zone, strict=False)


def _lists(values: Values, item: Type, target: pa.ListType[Any]) -> Values:
    """A value that is no list, or has an element that does not fit, is NULL as a whole."""
    values = values.cast(pa.large_string())  # Arrow cannot take from views
    there = np.flatnonzero(~is_null(values))
    there = there[is_list(values.take(there))]
    printed, counts = elements(values.take(there))
    typed, wrong = cast(printed, item, target.value_type)
    good = np.ones(len(there), bool)
    if wrong is not None:
        good[np.repeat(np.arange(len(there)), counts)[wrong]] = False
    valid = np.zeros(len(values), bool)
    valid[there] = good
    lengths = np.zeros(len(values), np.int64)
    lengths[there] = counts
    child: pa.Array[Any] = pa.concat_arrays(typed.chunks)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    made = pa.ListArray.from_arrays(offsets, child, type=pa.list_(child.type), mask=pa.array(~valid, pa.bool_()))
    return pa.chunked_array([made if child.type == target.value_type else made.cast(target)])
