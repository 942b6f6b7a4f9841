"""Printed values to typed columns, a column at a time; what a type cannot hold is NULL and told.

Arrow reads timestamps ten times faster than Polars, but gives up at the first value that it cannot read; Polars reads
numbers faster and goes on. Each is used where it is good, and the slow careful way only when the fast one gave up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from bitvelocity.contracts import Type

Mask = npt.NDArray[np.bool_]
VIEWS = pl.CompatLevel.newest()

_TIMESTAMP = "%Y-%m-%d %H:%M:%S%.f"
_FORMATS = {"timestamptz": _TIMESTAMP + "%#z", "timestamp": _TIMESTAMP, "date": "%Y-%m-%d"}


def cast(values: pa.ChunkedArray[Any], kind: Type, target: pa.DataType) -> tuple[pa.ChunkedArray[Any], Mask | None]:
    """The values as `target`, and the rows whose printed value it cannot hold (None: it holds them all)."""
    if pa.types.is_string(target):
        return values, None
    if values.null_count == len(values):
        return pa.chunked_array([pa.nulls(len(values), target)]), None
    typed = _typed(values, kind, target)
    if typed.null_count == values.null_count:
        return typed, None
    return typed, _nulls(typed) & ~_nulls(values)


def series(values: pa.ChunkedArray[Any] | pa.Array[Any]) -> pl.Series:
    """The values as Polars sees them, without a copy."""
    made = pl.from_arrow(values)
    assert isinstance(made, pl.Series)
    return made


def arrow(values: pl.Series) -> pa.ChunkedArray[Any]:
    """The inverse of `series`."""
    made = values.to_arrow(compat_level=VIEWS)
    return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])


def _typed(values: pa.ChunkedArray[Any], kind: Type, target: pa.DataType) -> pa.ChunkedArray[Any]:
    if pa.types.is_timestamp(target) or pa.types.is_date(target):
        return _moments(values, kind, target)
    if pa.types.is_decimal(target):
        return arrow(_decimals(series(values), target))
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


def _decimals(values: pl.Series, target: pa.Decimal128Type) -> pl.Series:
    """Exactly, or not at all: Polars would round a value with more digits than the scale."""
    typed = values.cast(pl.Decimal(target.precision, target.scale), strict=False)
    digits = values.str.len_bytes() - values.str.find(".", literal=True)
    longest = digits.max()
    if longest is None or int(str(longest)) <= target.scale + 1:
        return typed
    fits = (digits <= target.scale + 1).fill_null(True)
    return typed.zip_with(fits, pl.Series([None], dtype=typed.dtype).new_from_index(0, len(typed)))


def _moments(values: pa.ChunkedArray[Any], kind: Type, target: pa.DataType) -> pa.ChunkedArray[Any]:
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


def _nulls(values: pa.ChunkedArray[Any]) -> Mask:
    mask: Mask = values.is_null().to_numpy()
    return mask
