"""The records of a topic's partitions, put together so that each piece stands below the next in the order of their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..bus import Partition
from ..placing import Places


@dataclass(frozen=True, slots=True)
class Piece:
    """Records with their places, which are read out of their headers once."""

    records: pa.Table
    places: Places

    @classmethod
    def joined(cls, pieces: Sequence[Piece]) -> Piece:
        if len(pieces) == 1:
            return pieces[0]
        return cls(pa.concat_tables([piece.records for piece in pieces]), Places.joined([piece.places for piece in pieces]))

    def __len__(self) -> int:
        return self.records.num_rows

    def part(self, begin: int, end: int) -> Piece:
        return Piece(self.records.slice(begin, end - begin), self.places.part(begin, end))


Read = Callable[[Partition, int, int], tuple[Piece, int]]
"""Reads placed records from an offset up to an end, and tells the offset to go on from. None: nothing is left."""


ENOUGH = 10_000
"""Rows of a partition that are read before any go on: what is decoded by column has fixed costs for each piece."""


def in_pieces(read: Read, spans: Mapping[Partition, tuple[int, int]]) -> Iterator[pa.Table]:
    """Records from the first offset up to the second of each partition, piece by piece: the places of one are below those
    of the next. Within a piece a partition's records are in order, and stand behind each other; who decodes them sorts
    the columns that come of them, which is cheaper than sorting records.

    Memory holds a piece of each partition. Pieces go out up to the lowest of the changes that they reach, and without that
    one: its other records (the halves of a changed key may lie in two partitions) are never cut off from it.
    """
    offsets = {partition: offset for partition, (offset, _) in spans.items()}
    pieces: dict[Partition, Piece] = {}
    short = set(spans)
    while True:
        for partition in short:
            pieces |= _longer(read, partition, pieces, offsets=offsets, end=spans[partition][1])
        reaches = {each: _reach(piece) for each, piece in pieces.items() if offsets[each] < spans[each][1]}
        if not reaches:
            if pieces:
                yield Piece.joined(list(pieces.values())).records
            return
        reach = min(reaches.values())
        counts = {each: _below(piece, reach) for each, piece in pieces.items()}
        if any(counts.values()):
            yield Piece.joined([piece.part(0, counts[each]) for each, piece in pieces.items()]).records
        pieces = {
            each: piece.part(counts[each], len(piece)) for each, piece in pieces.items() if counts[each] < len(piece)
        }
        short = {each for each, place in reaches.items() if place == reach}


def _longer(
    read: Read, partition: Partition, pieces: Mapping[Partition, Piece], *, offsets: dict[Partition, int], end: int
) -> dict[Partition, Piece]:
    """The partition's piece with what follows it, enough to be worth decoding; none if nothing does."""
    parts = [pieces[partition]] if partition in pieces else []
    rows = 0
    while offsets[partition] < end and rows < ENOUGH:
        piece, offsets[partition] = read(partition, offsets[partition], end)
        rows += len(piece)
        if len(piece):
            parts.append(piece)
    return {partition: Piece.joined(parts)} if parts else {}


def _reach(piece: Piece) -> tuple[int, int]:
    """The last change that a piece has a record of."""
    return int(piece.places.lsn[-1]), int(piece.places.ordinal[-1])


def _below(piece: Piece, change: tuple[int, int]) -> int:
    """How many rows stand below a change; rows are in order."""
    lsn, ordinal, _ = piece.places
    low, high = (int(np.searchsorted(lsn, change[0], side=side)) for side in ("left", "right"))
    return low + int(np.searchsorted(ordinal[low:high], change[1], side="left"))
