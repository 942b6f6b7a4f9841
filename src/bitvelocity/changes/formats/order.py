"""How events count inside their transactions, over the pieces in which a large one comes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import polars as pl


class Order:
    """Numbers the events of transactions from 1: over all tables, and in each."""

    def __init__(self) -> None:
        self._open: defaultdict[int, Counter[str]] = defaultdict(Counter)

    def number(self, frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
        """`frames` have `lsn, ordinal, place` (-1: a message), `source`, and `count`: the events of the row, which may be none.

        Gives `total_order, own_order` of each row's first event.
        """
        rows = pl.concat(
            frame.select("lsn", "ordinal", "place", "source", "count").with_row_index("row").with_columns(frame=pl.lit(n))
            for n, frame in enumerate(frames)
        ).sort("lsn", "ordinal", "place", "frame", "row")
        numbered = rows.with_columns(
            total_order=(pl.col("count").cum_sum() - pl.col("count") + 1).over("lsn"),
            own_order=(pl.col("count").cum_sum() - pl.col("count") + 1).over("lsn", "source"),
        )
        first = int(rows["lsn"][0])
        if self._open.get(first):  # only the first transaction of a piece can have begun before it
            carried, before = pl.col("lsn") == first, self._open[first]
            earlier = pl.col("source").replace_strict(dict(before), default=0, return_dtype=pl.Int64)
            numbered = numbered.with_columns(
                total_order=pl.col("total_order") + pl.when(carried).then(before.total()).otherwise(0),
                own_order=pl.col("own_order") + pl.when(carried).then(earlier).otherwise(0),
            )
        counted = rows.group_by("lsn", "source", maintain_order=True).agg(pl.col("count").sum())
        for lsn, source, count in counted.filter(pl.col("count") > 0).iter_rows():
            self._open[lsn][source] += count
        back = numbered.sort("frame", "row").select("frame", "total_order", "own_order")
        return [back.filter(pl.col("frame") == n).drop("frame") for n in range(len(frames))]

    def end(self, lsn: int) -> Mapping[str, int]:
        """Events of a transaction, now that it has ended; tables in the order in which Debezium lists them."""
        counts = self._open.pop(lsn, Counter())
        return {name: counts[name] for name in java_order(list(counts))}


def java_order(names: Sequence[str]) -> list[str]:
    """The order in which Java's HashMap gives keys that were put in this order."""
    size = 16
    while len(names) > size * 0.75:
        size *= 2

    def bucket(name: str) -> int:
        found = 0
        for unit in memoryview(name.encode("utf-16-le")).cast("H"):
            found = (found * 31 + unit) & 0xFFFFFFFF
        return (found ^ (found >> 16)) & (size - 1)

    return sorted(names, key=bucket)
