"""The keys of one table that the stream has changed and a snapshot of the source may not know of. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, Batch

from .visible import Visible

_XID, _EMPTIED = "_xid", "_emptied"


class ChangedKeys:
    """Keys with the transactions that changed them. Transactions that `since` sees are not kept: every later snapshot
    sees them too, so memory holds what is in flight, not what was ever changed. Without a key nothing is known.
    """

    def __init__(self, key: Sequence[str]) -> None:
        self._key = tuple(key)
        self._since: Visible | None = None
        self._kept: list[pl.DataFrame] = []

    def __len__(self) -> int:
        return sum(map(len, self._kept))

    def note(self, batch: Batch) -> None:
        """Take the changes of a batch in: keys before and after, and TRUNCATE."""
        rows = batch.data
        xids = rows["_xid"].to_numpy()
        hidden = self._since.hides(xids) if self._since else np.ones(len(xids), np.bool_)
        if not hidden.any() or not self._key:
            return
        for image in (AFTER, BEFORE):
            if all(image + name in rows.column_names for name in self._key):
                self._keep(rows, image, hidden)
        self._keep_emptied(rows, hidden)

    def see(self, visible: Visible) -> None:
        """From now on only snapshots that see at least what `visible` does will be asked about."""
        self._since = visible
        kept = [rows.filter(pl.Series(visible.hides(rows[_XID].to_numpy()))) for rows in self._kept]
        self._kept = [rows for rows in kept if len(rows)]

    def fresh(self, columns: Mapping[str, pa.Array[Any]], visible: Visible) -> pl.Series | None:
        """Of rows read under `visible`: which no transaction has changed since (None: all of them).

        `columns`: the key's columns of the rows, as printed.
        """
        if not self._key:
            return None
        hidden = [rows.filter(pl.Series(visible.hides(rows[_XID].to_numpy()))) for rows in self._kept]
        hidden = [rows for rows in hidden if len(rows)]
        if not hidden:
            return None
        changed = pl.concat(hidden)
        read = pl.DataFrame({name: pl.from_arrow(columns[name]) for name in self._key}).with_row_index("_row")
        if changed[_EMPTIED].any():
            return pl.Series(np.zeros(len(read), np.bool_))
        left = read.join(changed.select(self._key).unique(), on=list(self._key), how="anti")
        mask = np.zeros(len(read), np.bool_)
        mask[left["_row"].to_numpy()] = True
        return pl.Series(mask)

    def _keep(self, rows: pa.Table, image: str, hidden: npt.NDArray[np.bool_]) -> None:
        picked = _frame(rows.select([image + name for name in self._key]).append_column(_XID, rows["_xid"]))
        picked = picked.rename({image + name: name for name in self._key}).filter(pl.Series(hidden))
        picked = picked.drop_nulls().unique()
        self._append(picked.with_columns(pl.lit(value=False).alias(_EMPTIED)))

    def _keep_emptied(self, rows: pa.Table, hidden: npt.NDArray[np.bool_]) -> None:
        emptied = _frame(rows.select(["_op", "_xid"])).filter(pl.Series(hidden)).filter(pl.col("_op") == "t")
        if len(emptied):
            void = [pl.lit(None, pl.String).alias(name) for name in self._key]
            self._append(emptied.select(*void, _XID, pl.lit(value=True).alias(_EMPTIED)).unique())

    def _append(self, rows: pl.DataFrame) -> None:
        """Copied out, lest a few keys keep a whole piece of the stream in memory."""
        if len(rows):
            self._kept.append(_frame(rows.to_arrow(compat_level=pl.CompatLevel.oldest())))


def _frame(rows: pa.Table) -> pl.DataFrame:
    made = pl.from_arrow(rows)
    assert isinstance(made, pl.DataFrame)
    return made
