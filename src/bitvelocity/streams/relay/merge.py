"""The records of a topic's partitions, back in the one order of their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..bus import Partition
from ..placing import places_of

Read = Callable[[Partition, int, int], tuple[pa.Table, int]]
"""Reads placed records from an offset up to an end, and tells the offset to go on from. None: nothing is left."""


def in_order(read: Read, spans: Mapping[Partition, tuple[int, int]]) -> Iterator[pa.Table]:
    """Records from the first offset up to the second of each partition, in order of their places, piece by piece.

    Memory holds a piece of each partition. Pieces go out up to the lowest of the places that they reach.
    """
    offsets = {partition: offset for partition, (offset, _) in spans.items()}
    pieces: dict[Partition, pa.Table] = {}
    while True:
        for partition, (_, end) in spans.items():
            if partition not in pieces and offsets[partition] < end:
                piece, offsets[partition] = read(partition, offsets[partition], end)
                pieces |= {partition: piece} if piece.num_rows else {}
        if not pieces:
            return
        open_ends = [_reach(piece) for each, piece in pieces.items() if offsets[each] < spans[each][1]]
        if len(spans) == 1 or not open_ends:
            yield _sorted(pa.concat_tables(pieces.values())) if len(pieces) > 1 else next(iter(pieces.values()))
            pieces = {}
            continue
        counts = {each: _up_to(piece, min(open_ends)) for each, piece in pieces.items()}
        yield _sorted(pa.concat_tables(pieces[each].slice(0, count) for each, count in counts.items()))
        pieces = {each: piece.slice(counts[each]) for each, piece in pieces.items() if counts[each] < piece.num_rows}


def _reach(piece: pa.Table) -> tuple[int, int, int]:
    lsn, ordinal, step = places_of(piece.slice(piece.num_rows - 1))
    return int(lsn[0]), int(ordinal[0]), int(step[0])


def _up_to(piece: pa.Table, reach: tuple[int, int, int]) -> int:
    """How many rows stand at or below a place; rows are in order."""
    low, high = 0, piece.num_rows
    columns: Sequence[npt.NDArray[Any]] = places_of(piece)
    for column, value in zip(columns, reach, strict=True):
        part = column[low:high]
        first = low + int(np.searchsorted(part, value, side="left"))
        high = low + int(np.searchsorted(part, value, side="right"))
        low = first
    return high


def _sorted(records: pa.Table) -> pa.Table:
    lsn, ordinal, step = places_of(records)
    return records.take(np.lexsort((step, ordinal, lsn)))
