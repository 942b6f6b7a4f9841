"""What is known of a lake's dead letters, by column: which are there, and which keys they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Mask = npt.NDArray[np.bool_]
COLUMNS = ("topic", "partition", "offset", "timestamp", "key", "state", "holds")
"""What is learnt of a letter."""
NAME = ("topic", "partition", "offset", "timestamp")
"""What tells a letter from all others."""
_NAME = ["partition", "offset", "timestamp"]
_NONE = -(2**63)
"""For a record without a time."""


@dataclass(slots=True)
class _Topic:
    """`names` tell letters apart; `keys` have the offset of the first letter that holds each."""

    names: pl.DataFrame
    keys: pl.DataFrame
    reach: int = -1


class Known:
    """Letters by their names, and the keys that wait for them."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}

    def learn(self, letters: pa.Table) -> None:
        """Rows of `COLUMNS`, which were not known."""
        frame = _frame(letters.select(COLUMNS))
        for (topic,), part in frame.group_by("topic"):
            names, holding = part.select(_NAME), part.filter(pl.col("holds") & (pl.col("state") == "parked") & pl.col("key").is_not_null())
            held = self._topics.setdefault(str(topic), _Topic(names.clear(), holding.select("key", "offset").clear()))
            held.names = held.names.vstack(names)
            held.reach = max(held.reach, int(names["offset"].to_numpy().max()))
            if len(holding):
                both = pl.concat([held.keys, holding.select("key", "offset")])
                held.keys = both.group_by("key").agg(pl.col("offset").min())

    def here(self, records: pa.Table, topic: str) -> Mask:
        """Which of these records of a topic are letters already."""
        held = self._topics.get(topic)
        if held is None or not records.num_rows:
            return np.zeros(records.num_rows, bool)
        asked = _frame(records.select(_NAME))
        low, high = asked["offset"].to_numpy().min(), asked["offset"].to_numpy().max()
        if low > held.reach:
            return np.zeros(records.num_rows, bool)
        near = held.names.filter(pl.col("offset").is_between(low, high))
        return _where(asked.with_row_index("row").join(near, on=_NAME, how="semi")["row"], records.num_rows)

    def behind(self, records: pa.Table, topic: str) -> Mask:
        """Which of these records of a topic stand behind a letter that holds their key."""
        held = self._topics.get(topic)
        if held is None or not len(held.keys) or not records.num_rows:
            return np.zeros(records.num_rows, bool)
        asked = _frame(records.select(["key", "offset"])).with_row_index("row")
        near = held.keys.filter(pl.col("key").is_in(asked["key"].unique().implode()))
        found = asked.join(near, on="key").filter(pl.col("offset") > pl.col("offset_right"))
        return _where(found["row"], records.num_rows)


def among(letters: pa.Table, names: pa.Table) -> Mask:
    """Which of these have one of the names: by those columns of `NAME` that `names` has."""
    columns = [name for name in NAME if name in names.column_names]
    asked = _frame(letters.select(columns)).with_row_index("row")
    return _where(asked.join(_frame(names.select(columns)), on=columns, how="semi")["row"], letters.num_rows)


def _where(rows: pl.Series, count: int) -> Mask:
    mask = np.zeros(count, bool)
    mask[rows.to_numpy()] = True
    return mask


def _frame(table: pa.Table) -> pl.DataFrame:
    frame: Any = pl.from_arrow(table)
    if "timestamp" in frame.columns:
        frame = frame.with_columns(pl.col("timestamp").cast(pl.Int64).fill_null(_NONE))
    return pl.DataFrame(frame)


__all__ = ["COLUMNS", "NAME", "Known", "among"]
