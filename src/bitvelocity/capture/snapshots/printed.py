"""Rows as the server printed them, as batches of snapshot reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_FIELDS, Batch

from ..connection import Wire
from ..copytext import CopyRows, parse_copy
from ..failures import Place
from ..pgoutput.buffer import Strings, letters
from .tables import PublishedTable

PIECE = 8 << 20
"""Bytes of text that are parsed at once."""


@dataclass(frozen=True, slots=True)
class At:
    """Where rows are said to be read: the position of the first of them, and when."""

    lsn: int
    ordinal: int
    time: int
    """UTC microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Printed:
    """Some rows of a table, one Arrow column for each of its columns."""

    table: PublishedTable
    columns: dict[str, Strings] = field(repr=False)
    rows: int = 0
    bytes: int = 0

    def batch(self, at: At, op: str = "r") -> Batch:
        """The rows as changes."""
        void = pa.nulls(self.rows, pa.string_view())
        known = {
            "_op": letters(np.full(self.rows, ord(op), np.uint8)),
            "_lsn": pa.array(np.full(self.rows, at.lsn)),
            "_ordinal": pa.array(np.arange(at.ordinal, at.ordinal + self.rows, dtype=np.int32)),
            "_xid": pa.array(np.zeros(self.rows, np.int64)),
            "_committed_at": pa.array(np.full(self.rows, at.time)).view(pa.timestamp("us", "UTC")),
        }
        system = {name: known.get(name, void) for name, _ in SYSTEM_FIELDS}
        after = {AFTER + name: column for name, column in self.columns.items()}
        before = {BEFORE + name: void for name in self.columns}
        rows = pa.table({**system, **after, **before})
        return Batch(self.table.qualified, self.table.columns, rows, self.table.shape)


def read_rows(wire: Wire, statement: bytes, table: PublishedTable, place: Place) -> Iterator[Printed]:
    """What a COPY of the table prints, in pieces that fit the caches."""
    wire.query(statement)
    rows = CopyRows()
    while not rows.done:
        rows.feed(wire.receive())
        if (len(rows) >= PIECE or rows.done) and (cut := rows.cut()) is not None:
            count = len(cut[1])
            size = len(cut[0])
            columns = parse_copy(*cut, len(table.columns))
            yield Printed(table, dict(zip(table.columns, columns, strict=True)), count, size)
    if rows.refusal is not None:
        raise table.refused(rows.refusal.sqlstate, rows.refusal.message, place)
