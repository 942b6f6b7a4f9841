"""Two states of some rows compared: what is really different, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

OLD = "_old "
"""Prefix of the columns that hold the row before."""
IS, WAS = pl.col("_is").is_not_null(), pl.col("_was").is_not_null()


@dataclass(frozen=True)
class Difference:
    """Rows of a table that differ. `pairs` holds each as it is now and as it was; `schema` is the table's."""

    schema: pa.Schema
    pairs: pl.DataFrame

    def __len__(self) -> int:
        return self.pairs.height

    @cached_property
    def now(self) -> pa.Table:
        """Rows as they are now, without those that are gone."""
        return to_arrow(self.pairs.lazy().filter(IS).select(self.schema.names), self.schema)

    def keys_gone(self, key: Sequence[str]) -> pa.Table:
        """Keys of the rows that are there no longer."""
        return to_arrow(self.pairs.lazy().filter(~IS).select(_before(key)), _part(self.schema, key))

    def has_null(self, key: Sequence[str]) -> bool:
        """Whether a key has a NULL in it."""
        absent = pl.any_horizontal(pl.coalesce(name, OLD + name).is_null() for name in key)
        return bool(self.pairs.select(absent.any()).item())

    def touching(self, columns: Iterable[str]) -> pa.Table:
        """Both forms of the rows that differ in one of `columns`, with these columns only."""
        wanted = set(columns)
        names = [name for name in self.schema.names if name in wanted]
        rows = self.pairs.lazy().filter(~IS | ~WAS | differs(names))
        both = pl.concat([rows.filter(WAS).select(_before(names)), rows.filter(IS).select(names)])
        return to_arrow(both, _part(self.schema, names))


def compare(before: pa.Table, after: pa.Table, key: Sequence[str]) -> Difference:
    """What differs between two forms of the same part of a table. In each a key stands at most once; NULL is a key."""
    names = after.schema.names
    old = pl.LazyFrame(before.select(names)).rename({name: OLD + name for name in names})
    new = pl.LazyFrame(after)
    rest = [name for name in names if name not in key]
    pairs = (
        new.with_columns(_is=pl.lit(1))
        .join(
            old.with_columns(_was=pl.lit(1)),
            left_on=list(key),
            right_on=[OLD + name for name in key],
            how="full",
            nulls_equal=True,
        )
        .filter(~IS | ~WAS | differs(rest))
    )
    return Difference(after.schema, pairs.collect())


def differs(columns: Sequence[str]) -> pl.Expr:
    """Whether one of the columns has another value than before; NULL equals NULL."""
    if not columns:
        return pl.lit(value=False)
    return pl.any_horizontal(*(pl.col(name).ne_missing(pl.col(OLD + name)) for name in columns))


def to_arrow(rows: pl.LazyFrame, schema: pa.Schema) -> pa.Table:
    """Rows in exactly the types of `schema`."""
    return rows.collect().to_arrow(compat_level=pl.CompatLevel.newest()).cast(schema)


def _before(columns: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(OLD + name).alias(name) for name in columns]


def _part(schema: pa.Schema, columns: Sequence[str]) -> pa.Schema:
    return pa.schema([schema.field(name) for name in columns])
