"""Change sets that are decoded while they are iterated: from frames in memory, or from a spilled
transaction's file.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bitvelocity.changes import Batch, Mark, format_lsn, is_table
from bitvelocity.errors import CaptureError

from .frames import Frames
from .pgoutput import EPOCH, NOTHING, Carry, Piece, Relations, Wants, decode, end_streamed
from .spill import WHOLE, Spilled
from .together import TOGETHER, Together

PIECE = 8 << 20
"""Bytes of frames that are decoded at once: what fits the caches (48 MB at once take half as long again)."""
MANY_TABLES = 64
"""With more than so many tables a set is decoded in one piece: there is a price for each table in each piece."""


@dataclass(slots=True)
class Totals:
    """What all change sets together gave."""

    transactions: int = 0
    rows: int = 0
    ignored_messages: int = 0


class StreamSet:
    """A change set over pieces of a stream. Finish sets in their order: each tells the next about tables."""

    def __init__(
        self,
        pieces: Iterable[Piece],
        carry: Carry,
        relations: Relations,
        *,
        mark: Mark,
        totals: Totals,
        has_rows: bool = True,
        wants: Wants = NOTHING,
        together: int = TOGETHER,
    ) -> None:
        self._mark, self._totals, self._wants, self._together = mark, totals, wants, together
        self.has_rows = has_rows
        """False: there is nothing in it that anybody asked for."""
        self._rows = 0
        self._done = False
        self._batches = self._decode(pieces, carry, relations)

    @property
    def mark(self) -> Mark:
        """The last transaction's commit; `rows` counts what was yielded so far."""
        return replace(self._mark, rows=self._rows)

    def __iter__(self) -> Iterator[Batch]:
        return self._batches

    def finish(self) -> None:
        """Decode what was not asked for. After an error it is an error again: nothing is stepped over."""
        for _ in self._batches:
            pass
        if not self._done:
            raise CaptureError(
                "A change set was given up in the middle.",
                position=format_lsn(self._mark.lsn),
                safe="It was not confirmed, so the source sends it again on a new connection.",
                remedy="Close this source and open a new one.",
            )

    def _decode(self, pieces: Iterable[Piece], carry: Carry, relations: Relations) -> Iterator[Batch]:
        held = Together()
        for piece in pieces:
            decoded = decode(piece, carry, relations, self._wants)
            carry = decoded.carry
            self._totals.rows += decoded.rows
            self._totals.ignored_messages += decoded.ignored_messages
            if not held.take(decoded.batches):
                yield from self._given(held)
                held.take(decoded.batches)
            del decoded, piece  # neither is kept while others work on what it gave
            if held.pieces == self._together:
                yield from self._given(held)
        yield from self._given(held)
        if self._wants.detail and carry.streamed:
            yield end_streamed(carry, self._mark.resume)
        self._totals.transactions += self._mark.transactions
        self._done = True

    def _given(self, held: Together) -> list[Batch]:
        given = held.give()
        self._rows += sum(batch.data.num_rows for batch in given if is_table(batch.relation))
        return given


def plain_set(
    items: Sequence[Frames], relations: Relations, totals: Totals, wants: Wants = NOTHING
) -> StreamSet:
    """Whole transactions in memory as one change set."""
    commit = items[-1].last_commit()
    count = sum(item.transactions for item in items)
    mark = Mark(commit.lsn, commit.end_lsn, commit.committed_at + EPOCH if commit.committed_at else 0, count)
    if len(relations) > MANY_TABLES:
        items = [_joined(items)]
        pieces = deque([Piece(items[0].data, items[0].starts, items[0].layout)])
    else:
        pieces = deque(piece for item in items for piece in cut_pieces(item))
    has_rows = any(piece.has(wants) for piece in pieces)
    return StreamSet(
        _drain(pieces), Carry(), relations, mark=mark, totals=totals, has_rows=has_rows, wants=wants
    )


def _joined(items: Sequence[Frames]) -> Frames:
    """All of them as one."""
    if len(items) == 1:
        return items[0]
    data, starts = bytearray(), array("q")
    for item in items:
        shift = len(data)
        starts.frombytes((np.frombuffer(item.starts, np.int64) + shift).tobytes())
        data += item.data
    return Frames(data, starts, sum(item.transactions for item in items), items[0].layout)


def _drain(pieces: deque[Piece]) -> Iterator[Piece]:
    """One piece after the other, without holding on to those that were decoded."""
    while pieces:
        yield pieces.popleft()


def cut_pieces(frames: Frames, size: int = PIECE) -> Iterator[Piece]:
    """A region in pieces, should one transaction in it be much larger than a piece."""
    data, starts = frames.data, frames.starts
    if len(data) <= 2 * size:
        yield Piece(data, starts, frames.layout)
        return
    first = 0
    while first < len(starts):
        last, begin = first, starts[first]
        while last < len(starts) and starts[last] - begin < size:
            last += 1
        end = starts[last] if last < len(starts) else len(data)
        yield Piece(
            data[begin:end], array("q", [start - begin for start in starts[first:last]]), frames.layout
        )
        first = last


def streamed_set(item: Spilled, relations: Relations, totals: Totals, wants: Wants = NOTHING) -> StreamSet:
    """A spilled transaction as one change set; its file goes when it has been read.

    Its pieces are given one by one: of so large a transaction memory holds as little as can be.
    """
    commit = item.commit
    mark = Mark(commit.lsn, commit.end_lsn, commit.committed_at + EPOCH, 1)
    if item.xid == WHOLE:
        pieces = _read(item, relations, relations)
        return StreamSet(pieces, Carry(), relations, mark=mark, totals=totals, wants=wants, together=1)
    carry = Carry(commit.lsn, mark.committed_at, item.xid, streamed=True, aborted=item.aborted)
    known = dict(relations)
    return StreamSet(
        _read(item, known, relations), carry, known, mark=mark, totals=totals, wants=wants, together=1
    )


def _read(item: Spilled, known: Relations, relations: Relations) -> Iterator[Piece]:
    """The file's pieces; then everybody learns what it said of tables, unless newer was said meanwhile."""
    yield from item.pieces(PIECE)
    item.remove()
    for oid, relation in known.items():
        if oid not in relations or relation.sent >= relations[oid].sent:
            relations[oid] = relation
