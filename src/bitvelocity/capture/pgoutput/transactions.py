"""The transactions of a piece, and what one that is open at its end leaves for the next piece."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bitvelocity.changes import Batch, format_lsn
from bitvelocity.errors import CaptureError

from .buffer import Offsets
from .context import NOBODY, Context
from .extras import Stand, transaction_batch
from .piece import BEGIN, COMMIT, EPOCH, Index, Piece

_MOST = (1 << 31) - 1
"""Ordinals are 32 bits wide."""


@dataclass(frozen=True, slots=True)
class Carry:
    """The transaction that a piece begins in. `committed_at`: microseconds since 1970."""

    lsn: int = 0
    committed_at: int = 0
    xid: int = 0
    ordinal: int = 0
    context: Context = NOBODY
    begin_lsn: int = 0
    """Where its first record stands; kept with detail only."""
    streamed: bool = False
    """Its messages each carry the id of their (sub)transaction."""
    aborted: frozenset[int] = frozenset()
    """Subtransactions of it that were rolled back."""


@dataclass(frozen=True, slots=True)
class Transactions:
    """The transactions of a piece; number 0 is the one carried over."""

    begins: Index
    """Frames of their BEGINs, from number 1 on."""
    of_frame: Index
    lsn: Index
    committed_at: Index
    xid: Index
    first: Index
    """Number of their first row among the rows of the piece."""
    begin_lsn: int
    """Of the carried one."""

    def stand(self, at: Offsets, of: Index, row: Index | None = None) -> Stand:
        """Things of the transactions `of`; `row`: numbers of the rows that they stand before."""
        ordinal = np.zeros(len(of), np.int64) if row is None else row - self.first[of]
        return Stand(at, self.lsn[of], ordinal, self.xid[of], self.committed_at[of])


def find_transactions(piece: Piece, frame: Index, carry: Carry) -> Transactions:
    """What the BEGINs of a piece say; `frame` are the frames of its row changes."""
    is_begin = piece.kinds == BEGIN
    begins = np.flatnonzero(is_begin)
    begin = piece.at[begins]
    return Transactions(
        begins,
        np.cumsum(is_begin),  # 0 is the carried one
        np.append(carry.lsn, piece.buffer.i64(begin + 1)),
        np.append(carry.committed_at, piece.buffer.i64(begin + 9) + EPOCH),
        np.append(carry.xid, piece.buffer.u32(begin + 17)),
        np.append(-carry.ordinal, np.searchsorted(frame, begins)),
        carry.begin_lsn,
    )


def carry_on(carry: Carry, transactions: Transactions, rows: int, context: Context) -> Carry:
    """What the next piece begins with."""
    if (ordinal := rows - int(transactions.first[-1])) > _MOST:
        raise _too_large(int(transactions.lsn[-1]))
    return replace(
        carry,
        lsn=int(transactions.lsn[-1]),
        committed_at=int(transactions.committed_at[-1]),
        xid=int(transactions.xid[-1]),
        ordinal=ordinal,
        context=context,
    )


def ended(piece: Piece, transactions: Transactions) -> list[Batch]:
    """The transactions whose COMMIT is in the piece."""
    commits = np.flatnonzero(piece.kinds == COMMIT)
    if not len(commits):
        return []
    begin_lsn = np.append(transactions.begin_lsn, piece.lsns(transactions.begins))
    of = transactions.of_frame[commits]
    return [
        transaction_batch(transactions.stand(begin_lsn[of], of), piece.buffer.i64(piece.at[commits] + 10))
    ]


def begun(carry: Carry, piece: Piece, first: Index) -> Carry:
    """Where the transaction that is open began: at its BEGIN, or, sent ahead, at the first of its `first` frames."""
    begins = np.flatnonzero(piece.kinds == BEGIN)
    if len(begins):
        return replace(carry, begin_lsn=int(piece.lsns(begins[-1:])[0]))
    if carry.begin_lsn or not len(first):
        return carry
    return replace(carry, begin_lsn=int(piece.lsns(first).min()))


def end_streamed(carry: Carry, end_lsn: int) -> Batch:
    """The transaction that was sent ahead of its commit, now that all of it was decoded with detail."""
    of = np.zeros(1, np.int64)
    stand = Stand(of + carry.begin_lsn, of + carry.lsn, of, of + carry.xid, of + carry.committed_at)
    return transaction_batch(stand, of + end_lsn)


def _too_large(lsn: int) -> CaptureError:
    return CaptureError(
        f"A transaction changed more than {_MOST:,} rows: there are no positions for more of them.",
        position=format_lsn(lsn),
        safe="Nothing of this transaction was taken; the source still has it.",
        remedy="bitvelocity recover --force makes a new slot behind it, compares the tables, and brings in what they are now.",
        code="TooManyRows",
    )
