"""Two states of some rows compared: what is really different, before and after, side by side.

Arrow's kernels on columns, nothing else: for the few rows of a small commit a query engine would cost more
than the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

Column: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"


@dataclass(frozen=True)
class Difference:
    """Rows of a table that differ. `before` and `after` are two forms of the same rows, in one order."""

    before: pa.Table
    after: pa.Table
    appeared: pa.Table
    gone: pa.Table

    def __len__(self) -> int:
        return self.after.num_rows + self.appeared.num_rows + self.gone.num_rows

    @cached_property
    def now(self) -> pa.Table:
        """Rows as they are now, without those that are gone."""
        return pa.concat_tables([self.after, self.appeared])

    def has_null(self, key: Sequence[str]) -> bool:
        """Whether a key has a NULL in it."""
        return any(side[name].null_count for side in (self.after, self.appeared, self.gone) for name in key)

    def touching(self, columns: Iterable[str]) -> pa.Table:
        """Both forms of the rows that differ in one of `columns`, with these columns only.

        Without columns (`count(*)`): the rows that came and went, by some column, for a table of none has no rows.
        """
        wanted = set(columns)
        names = [name for name in self.after.column_names if name in wanted]
        if not names:
            some = self.gone.column_names[:1]
            return pa.concat_tables([self.gone.select(some), self.appeared.select(some)])
        before, after = self.before.select(names), self.after.select(names)
        mask = differing(before, after)
        pairs = [] if mask is None else [before.filter(mask), after.filter(mask)]
        return pa.concat_tables([self.gone.select(names), self.appeared.select(names), *pairs])


def compare(before: pa.Table, after: pa.Table, key: Sequence[str]) -> Difference:
    """What differs between two forms of a part of a table. A key stands at most once in each; NULL is one."""
    before = before.select(after.column_names)
    none = after.slice(0, 0)
    if not before.num_rows or not after.num_rows:
        return Difference(none, none, after, before)
    old, new = _numbered(before, after, key)
    place = pc.index_in(new, value_set=old)
    found = place.is_valid()
    was, now = before.take(place.filter(found)), after.filter(found)
    gone = before.filter(pc.invert(pc.is_in(old, value_set=new))) if len(was) < before.num_rows else none
    mask = differing(was, now)
    changed = (was.filter(mask), now.filter(mask)) if mask is not None else (none, none)
    return Difference(*changed, appeared=after.filter(place.is_null()), gone=gone)


def matching(rows: pa.Table, keys: pa.Table, key: Sequence[str]) -> Column:
    """Which rows have one of `keys`, whose columns stand for those of `key`, in order. NULL is a key."""
    asked, own = _numbered(keys.rename_columns(list(key)), rows, key)
    return pc.is_in(own, value_set=asked)


def differing(before: pa.Table, after: pa.Table) -> Column | None:
    """Which rows differ, place by place; NULL equals NULL. None when none does."""
    mask: Column | None = None
    for name in after.column_names:
        old, new = before[name], after[name]
        if not old.equals(new):
            mask = _unequal(old, new) if mask is None else pc.or_(mask, _unequal(old, new))
    return mask


def _unequal(old: Column, new: Column) -> Column:
    unequal: Any = pc.not_equal(old, new)
    if old.null_count or new.null_count:
        unequal = pc.or_(pc.fill_null(unequal, False), pc.xor(old.is_null(), new.is_null()))
    if pa.types.is_floating(new.type):
        was_nan: Any = pc.is_nan(old)
        is_nan: Any = pc.is_nan(new)
        unequal = pc.and_not(unequal, pc.fill_null(pc.and_(was_nan, is_nan), False))
    mask: Column = unequal
    return mask


def _numbered(known: pa.Table, others: pa.Table, key: Sequence[str]) -> tuple[Column, Column]:
    """The keys of both sides as one column each, equal where the keys are equal.

    Several columns become one number: the place of each value among those of `known`. A value that `known`
    has not makes NULL, which meets nothing there.
    """
    if len(key) == 1:
        return known[key[0]], others[key[0]]
    one: Column = pa.repeat(pa.scalar(0, pa.int64()), known.num_rows)
    other: Column = pa.repeat(pa.scalar(0, pa.int64()), others.num_rows)
    for name in key:
        values = pc.unique(known[name])
        one = _with_place(one, known[name], values)
        other = _with_place(other, others[name], values)
    return one, other


def _with_place(number: Column, column: Column, values: Column) -> Column:
    place = pc.index_in(column, value_set=values).cast(pa.int64())
    return pc.add(pc.multiply(number, len(values)), place)
