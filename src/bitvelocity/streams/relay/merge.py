"""The records of a topic's partitions, back in the one order of their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pyarrow as pa

from ..bus import Partition
from ..placing import places_of

Read = Callable[[Partition, int, int], tuple[pa.Table, int]]
"""Reads placed records from an offset up to an end, and tells the offset to go on from. None: nothing is left."""


def in_order(read: Read, spans: Mapping[Partition, tuple[int, int]]) -> Iterator[pa.Table]:
    """Records from the first offset up to the second of each partition, in order of their places, piece by piece.

    Memory holds a piece of each partition. Pieces go out up to the lowest of the changes that they reach, and without that
    one: its other records (the halves of a changed key may lie in two partitions) are never cut off from it.
    """
    offsets = {partition: offset for partition, (offset, _) in spans.items()}
    pieces: dict[Partition, pa.Table] = {}
    short = set(spans)
    while True:
        for partition in short:
            pieces |= _longer(read, partition, pieces, offsets=offsets, end=spans[partition][1])
        reaches = {each: _reach(piece) for each, piece in pieces.items() if offsets[each] < spans[each][1]}
        if not reaches:
            if pieces:
                yield _sorted(pa.concat_tables(pieces.values()))
            return
        reach = min(reaches.values())
        counts = {each: _below(piece, reach) for each, piece in pieces.items()}
        if any(counts.values()):
            yield _sorted(pa.concat_tables(pieces[each].slice(0, count) for each, count in counts.items()))
        pieces = {each: piece.slice(counts[each]) for each, piece in pieces.items() if counts[each] < piece.num_rows}
        short = {each for each, place in reaches.items() if place == reach}


def _longer(
    read: Read, partition: Partition, pieces: Mapping[Partition, pa.Table], *, offsets: dict[Partition, int], end: int
) -> dict[Partition, pa.Table]:
    """The partition's piece with what follows it; none if nothing does."""
    held = [pieces[partition]] if partition in pieces else []
    while offsets[partition] < end:
        piece, offsets[partition] = read(partition, offsets[partition], end)
        if piece.num_rows:
            return {partition: pa.concat_tables([*held, piece])}
    return {partition: held[0]} if held else {}


def _reach(piece: pa.Table) -> tuple[int, int]:
    """The last change that a piece has a record of."""
    lsn, ordinal, _ = places_of(piece.slice(piece.num_rows - 1))
    return int(lsn[0]), int(ordinal[0])


def _below(piece: pa.Table, change: tuple[int, int]) -> int:
    """How many rows stand below a change; rows are in order."""
    lsn, ordinal, _ = places_of(piece)
    low, high = (int(np.searchsorted(lsn, change[0], side=side)) for side in ("left", "right"))
    return low + int(np.searchsorted(ordinal[low:high], change[1], side="left"))


def _sorted(records: pa.Table) -> pa.Table:
    lsn, ordinal, step = places_of(records)
    if len(lsn) < 2 or bool(((lsn[1:] > lsn[:-1]) | ((lsn[1:] == lsn[:-1]) & (ordinal[1:] >= ordinal[:-1]))).all()):
        return records  # as those of one partition are
    return records.take(np.lexsort((step, ordinal, lsn)))
