"""What becomes of dead letters: with an order they end, and a while after that they are over. By column, a file at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .known import NAME, Mask, among

ENDS = ("state", "ended_at")
"""Columns that tell when a letter ended. A file that was written before the second was known has only the first."""
_MOMENT = pa.timestamp("us", "UTC")


@dataclass(frozen=True, slots=True)
class Ended:
    """The letters of these names are in this state since a moment."""

    names: pa.Table
    state: str
    at: int


@dataclass(frozen=True, slots=True)
class Expired:
    """Letters that ended before a moment go. Those of which nobody knows when they ended, ended now."""

    before: int
    now: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the letters of one file: which end, how and when, and which go."""

    ends: Mask
    goes: Mask
    state: str | None
    at: int

    @property
    def changes(self) -> Mask:
        return self.ends | self.goes

    def applied(self, letters: pa.Table, begin: int) -> pa.Table:
        """Letters of the file from one on, as they are now."""
        ends, goes = (mask[begin : begin + letters.num_rows] for mask in (self.ends, self.goes))
        new = {"ended_at": pa.scalar(self.at, _MOMENT)} | ({"state": pa.scalar(self.state)} if self.state else {})
        for name, value in new.items():
            values = pc.if_else(pa.array(ends), value, letters[name])
            letters = letters.set_column(letters.schema.get_field_index(name), letters.schema.field(name), values)
        return letters.filter(pa.array(~goes))


def outcome(ended: Ended | Expired, file: Path) -> Outcome:
    """What becomes of the letters of a file."""
    with pq.ParquetFile(file) as content:
        if isinstance(ended, Ended):
            found = among(content.read(columns=list(NAME), use_threads=False), ended.names)
            return Outcome(found, np.zeros(len(found), bool), ended.state, ended.at)
        over, at = _ends(content.read(columns=list(ENDS), use_threads=False))
    return Outcome(over & (at == 0), over & (at > 0) & (at < ended.before), None, ended.now)


def first_end(letters: pa.Table, known: int | None) -> int | None:
    """The earliest end of these and of what is known; 0 where one is not known."""
    over, at = _ends(letters)
    ends = [int(at[over].min())] if over.any() else []
    return min([*ends, *([] if known is None else [known])], default=None)


def _ends(letters: pa.Table) -> tuple[Mask, npt.NDArray[np.int64]]:
    """Which have ended, and when; 0: not known."""
    over = np.asarray(pc.not_equal(letters["state"], pa.scalar("parked")))
    if "ended_at" not in letters.column_names:
        return over, np.zeros(letters.num_rows, np.int64)
    at: Any = letters["ended_at"].cast(pa.int64())
    return over, np.asarray(pc.fill_null(at, 0), np.int64)


__all__ = ["ENDS", "Ended", "Expired", "Outcome", "first_end", "outcome"]
