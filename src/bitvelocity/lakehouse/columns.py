"""Columns between Arrow and Polars, without copies."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from bitvelocity.changes import SYSTEM_FIELDS

Values: TypeAlias = "pa.ChunkedArray[Any]"
Mask = npt.NDArray[np.bool_]

VIEWS = pl.CompatLevel.newest()
"""Polars gives text as string views, which it need not copy."""

SYSTEM: tuple[pa.Field[Any], ...] = tuple(pa.field(name, kind) for name, kind in SYSTEM_FIELDS)


def series(values: Values) -> pl.Series:
    """A column as Polars sees it."""
    made = pl.from_arrow(values)
    assert isinstance(made, pl.Series)
    return made


def frame(rows: pa.Table) -> pl.DataFrame:
    """Rows as Polars sees them."""
    made = pl.from_arrow(rows)
    assert isinstance(made, pl.DataFrame)
    return made


def arrow(values: pl.Series) -> Values:
    """The inverse of `series`."""
    return pa.chunked_array([values.to_arrow(compat_level=VIEWS)])


def rows_of(made: pl.DataFrame) -> pa.Table:
    """The inverse of `frame`; all text comes as string views."""
    return made.to_arrow(compat_level=VIEWS)


def viewed(rows: pa.Table) -> pa.Table:
    """The rows with all text as string views, so that any two tables of the same columns can be put together."""
    for at, field in enumerate(rows.schema):
        if pa.types.is_string(field.type):
            rows = rows.set_column(at, field.name, rows.column(at).cast(pa.string_view()))
    return rows


def nulls(rows: int, kind: pa.DataType) -> Values:
    """A column of nothing."""
    none: pa.Array[Any] = pa.nulls(rows, kind)  # type: ignore[call-overload]
    return pa.chunked_array([none])


def is_null(values: Values) -> Mask:
    """Which values are NULL."""
    mask: Mask = values.is_null().to_numpy()
    return mask
