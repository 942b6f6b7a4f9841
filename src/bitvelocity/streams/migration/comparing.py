"""Whether a copy is what was copied, record by record; and which offset became which."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from ...errors import BusError
from ..bus import FETCHED_SCHEMA, Bus, Partition, Span
from .marks import offsets_before
from .offsets import Offsets
from .reading import filled


def compared(source: Bus, target: Bus, partition: Partition, span: Span, *, values: bool = True) -> Offsets:
    """Read both, and raise at the first difference. `values`: they are the same too, and not rewritten.

    What the source does not keep any more is not held against it.
    """
    there = target.spans(partition.topic)[partition.number]
    theirs = _Taken(filled(source, partition, span.first, span.end))
    found = Offsets(there.first)
    columns: dict[str, pa.DataType] = {"key": pa.binary(), "timestamp": pa.timestamp(target.abilities.timestamps, "UTC")}
    columns |= {"value": pa.binary()} if values else {}
    for ours in filled(target, partition, there.first, there.end):
        before = offsets_before(ours)
        found.add(before, ours["offset"].to_numpy())
        still = before >= span.first
        had = theirs.take(int(still.sum()))
        _same_offsets(partition, had, before[still])
        for name, kind in columns.items():
            one, other = (table[name].combine_chunks().cast(kind, safe=False) for table in (had, ours.filter(pa.array(still))))
            if not one.equals(other):
                raise _different(partition, int(before[still][0]), f"The {name} of a record from here on is another one")
    if (left := theirs.take(1)).num_rows:
        raise _different(partition, int(left["offset"][0].as_py()), "The copy lacks records")
    return found


def _same_offsets(partition: Partition, had: pa.Table, before: np.ndarray) -> None:
    offsets = had["offset"].to_numpy()
    wrong = np.flatnonzero(offsets != before[: len(offsets)])
    if len(wrong) or len(offsets) < len(before):
        at = int(before[wrong[0] if len(wrong) else len(offsets)])
        raise _different(partition, at, "The copy has a record more, or in another order")


def _different(partition: Partition, offset: int, what: str) -> BusError:
    return BusError(
        f"{what}.", entity=partition.topic, position=f"partition {partition.number}, offset {offset} of what was copied",
        code="CopyDiffers", safe="What was copied from is as it was.",
        remedy="See who else writes to the copy; delete the topic there, and copy it again.",
    )  # fmt: skip


class _Taken:
    """Pieces, given out in other sizes."""

    def __init__(self, pieces: Iterator[pa.Table]) -> None:
        self._pieces = pieces
        self._held: pa.Table | None = None

    def take(self, rows: int) -> pa.Table:
        """So many; fewer at the end."""
        held = [self._held] if self._held is not None else []
        while sum(piece.num_rows for piece in held) < rows and (piece := next(self._pieces, None)) is not None:
            held.append(piece)
        if not held:
            return FETCHED_SCHEMA.empty_table()
        whole = pa.concat_tables(held)
        self._held = whole.slice(rows)
        return whole.slice(0, rows)
