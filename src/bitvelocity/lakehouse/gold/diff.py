"""Two states of some rows compared: what is really different, side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

OLD = "_old "
"""Prefix of the columns that hold the row before."""


@dataclass(frozen=True)
class Difference:
    """Rows of a table that differ, before and after. `schema` is the table's; `pairs` holds both forms in one row."""

    schema: pa.Schema
    pairs: pl.DataFrame

    def __len__(self) -> int:
        return self.pairs.height

    @property
    def appeared(self) -> int:
        """Rows that were not there before."""
        return int((~self.pairs["_was"]).sum())

    @property
    def gone(self) -> int:
        """Rows that are there no longer."""
        return int((~self.pairs["_is"]).sum())

    def now(self) -> pa.Table:
        """Rows as they are now."""
        return self._now(self.pairs)

    def keys_gone(self, key: Sequence[str]) -> pa.Table:
        """Keys of the rows that are there no longer."""
        return _old(self.pairs.filter(~pl.col("_is")), key, self.schema)

    def has_null(self, key: Sequence[str]) -> bool:
        """Whether a key has a NULL in it."""
        absent = pl.any_horizontal(pl.coalesce(name, OLD + name).is_null() for name in key)
        return bool(self.pairs.select(absent.any()).item())

    def touching(self, columns: Iterable[str]) -> pa.Table:
        """Both forms of the rows that differ in one of `columns`, with these columns only."""
        wanted = [name for name in self.schema.names if name in set(columns)]
        rows = self.pairs.filter(~pl.col("_is") | ~pl.col("_was") | differs(wanted))
        before = _old(rows.filter(pl.col("_was")), wanted, self.schema)
        after = self._now(rows).select(wanted)
        return pa.concat_tables([before, after])

    def _now(self, rows: pl.DataFrame) -> pa.Table:
        return to_arrow(rows.filter(pl.col("_is")).select(self.schema.names), self.schema)


def compare(before: pa.Table, after: pa.Table, key: Sequence[str]) -> Difference:
    """What differs between two forms of the same part of a table. In each a key stands at most once; NULL is a key."""
    schema = after.schema
    old = pl.DataFrame(before.select(schema.names)).rename({name: OLD + name for name in schema.names})
    pairs = pl.DataFrame(after).with_columns(_is=pl.lit(1)).join(
        old.with_columns(_was=pl.lit(1)),
        left_on=list(key),
        right_on=[OLD + name for name in key],
        how="full",
        nulls_equal=True,
    ).with_columns(pl.col("_is", "_was").is_not_null())
    rest = [name for name in schema.names if name not in key]
    return Difference(schema, pairs.filter(~pl.col("_is") | ~pl.col("_was") | differs(rest)))


def differs(columns: Sequence[str]) -> pl.Expr:
    """Whether one of the columns has another value than before; NULL equals NULL."""
    if not columns:
        return pl.lit(value=False)
    return pl.any_horizontal(*(pl.col(name).ne_missing(pl.col(OLD + name)) for name in columns))


def to_arrow(rows: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Rows in exactly the types of `schema`."""
    return rows.to_arrow(compat_level=pl.CompatLevel.newest()).cast(schema)


def _old(rows: pl.DataFrame, columns: Sequence[str], schema: pa.Schema) -> pa.Table:
    names = list(columns)
    picked = rows.select([pl.col(OLD + name).alias(name) for name in names])
    return to_arrow(picked, pa.schema([schema.field(name) for name in names]))
