"""The row changes of a piece: where each stands, and who did it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .buffer import Flags, Offsets
from .context import NOBODY, Context
from .contexts import Contexts
from .piece import IS_ROW, TRUNCATE, Index, Piece
from .transactions import Carry, Transactions


@dataclass(frozen=True, slots=True)
class Rows:
    """Row changes, one item each. `frame`: number of the frame; `at`: offset of its first field, the OID."""

    frame: Index
    at: Offsets
    kind: npt.NDArray[np.uint8]
    oid: Index
    lsn: Index
    ordinal: Index
    xid: Index
    committed_at: Index
    context: Index
    """Number of the audit context in the piece's list."""

    def __len__(self) -> int:
        return len(self.frame)

    def pick(self, which: Index) -> Rows:
        return Rows(*(getattr(self, name)[which] for name in self.__slots__))


def find_changes(piece: Piece, wide: int, alive: Flags | np.bool_) -> tuple[Index, Offsets, Index]:
    """Frame number, offset of the first field and OID of each row change; a TRUNCATE is one per relation."""
    frame = np.flatnonzero(IS_ROW[piece.kinds] & alive)
    at = piece.at[frame] + wide + 1
    oid = piece.buffer.u32(at)
    truncates = piece.kinds[frame] == TRUNCATE
    if not truncates.any():
        return frame, at, oid
    times = np.where(truncates, oid, 1)  # a TRUNCATE has the number of its relations there
    which = np.repeat(np.arange(len(frame)), times)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
    listed = at[which] + 5 + 4 * nth
    return frame[which], at[which], piece.buffer.u32(np.where(truncates[which], listed, at[which]))


def join_rows(
    piece: Piece,
    changes: tuple[Index, Offsets, Index],
    transactions: Transactions,
    *,
    messages: Index,
    carry: Carry,
) -> tuple[Rows, Context, Contexts]:
    """Join to each change what its transaction says: position, time and context; and the context that is open."""
    frame, at, oid = changes
    of_frame = transactions.of_frame
    contexts = Contexts(piece.buffer, piece.at[messages] + (5 if carry.streamed else 1), carry.context)
    context_of = np.append(0, of_frame[messages])  # the transaction of each context; the carried one first
    places = _places(piece, messages, frame, of_frame)
    seen = np.searchsorted(places, frame, side="right")  # how many contexts stand before the row
    tx = of_frame[frame]
    context = np.where(context_of[seen] == tx, seen + 1, 0)
    rows = Rows(
        frame,
        at,
        piece.kinds[frame],
        oid,
        transactions.lsn[tx],
        np.arange(len(frame)) - transactions.first[tx],
        transactions.xid[tx],
        transactions.committed_at[tx],
        context,
    )
    is_open = context_of[-1] == len(transactions.begins)
    return rows, contexts[len(messages) + 1] if is_open else NOBODY, contexts


def _places(piece: Piece, messages: Index, frame: Index, of_frame: Index) -> Index:
    """The frames from which on messages count. `frame`: those of the rows.

    Where a message is the last thing that a savepoint did, and a row follows at once, both have one LSN, and PostgreSQL
    sends the row first. A row that really was before it has a lower LSN. Copied rows have none, and stay as they came.
    """
    if not piece.layout.lsn:
        return messages
    before = np.searchsorted(frame, messages) - 1
    asked = np.flatnonzero(before >= 0)
    asked = asked[of_frame[frame[before[asked]]] == of_frame[messages[asked]]]
    own = piece.lsns(messages)
    late = asked[piece.lsns(frame[before[asked]]) >= own[asked]]
    if not len(late):
        return messages
    places = messages.copy()
    for number in late.tolist():
        first = int(np.searchsorted(of_frame[frame], of_frame[messages[number]]))
        rows = frame[first : before[number] + 1]
        places[number] = rows[np.searchsorted(piece.lsns(rows), own[number])]
    return np.maximum.accumulate(places)
