"""Messages to batches. Nothing here is done per row: fields, ordinals, contexts and images are gathered as
columns.

What one piece of a stream leaves open for the next (the transaction, its next ordinal, its context) is its
`Carry`; what the stream has said about tables is the dictionary `relations`, which `decode` extends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitvelocity.changes import Batch

from .context import is_context
from .extras import Stand, Wants, message_batch, wanted
from .piece import MESSAGE, Index, Piece
from .rows import find_changes, join_rows
from .tables import Relations, by_relation, find_shapes, table_batches
from .transactions import Carry, Transactions, begun, carry_on, ended, find_transactions


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a piece gave, and what the next one begins with."""

    batches: list[Batch]
    rows: int
    ignored_messages: int
    """Logical messages that are none of ours."""
    carry: Carry


NOTHING = Wants()


def decode(piece: Piece, carry: Carry, relations: Relations, wants: Wants = NOTHING) -> Decoded:
    """The row changes of a piece as batches, in the order of their first rows.

    Messages that are wanted stand before them, transactions that ended in the piece after them.
    """
    wide = 4 if carry.streamed else 0  # the (sub)transaction id that stands before all other fields
    alive = ~np.isin(piece.buffer.u32(piece.at + 1), list(carry.aborted)) if carry.aborted else np.True_
    messages = np.flatnonzero((piece.kinds == MESSAGE) & alive)
    is_ours = is_context(piece.buffer, piece.at[messages] + 1 + wide)
    changes = find_changes(piece, wide, alive)
    transactions = find_transactions(piece, changes[0], carry)
    rows, context, contexts = join_rows(piece, changes, transactions, messages=messages[is_ours], carry=carry)
    groups = by_relation(rows, find_shapes(piece, wide, relations), relations)
    batches = table_batches(piece, rows, groups, contexts, detail=wants.detail)
    if wants.messages and len(messages):
        is_wanted = wanted(piece.buffer, piece.at[messages] + 1 + wide, wants.messages)
        where = _standing(piece, wide, transactions, messages=messages[is_wanted], rows=rows.frame)
        batches[:0] = [message_batch(piece.buffer, where, detail=wants.detail)] if is_wanted.any() else []
        is_ours |= is_wanted
    carry = carry_on(carry, transactions, len(rows), context)
    if wants.detail:
        batches += ended(piece, transactions)
        carry = begun(carry, piece, np.append(changes[0][:1], messages[:1]))
    return Decoded(batches, len(rows), int(np.count_nonzero(~is_ours)), carry)


def _standing(piece: Piece, wide: int, transactions: Transactions, *, messages: Index, rows: Index) -> Stand:
    """Where the messages of some frames stand; `rows` are the frames of the row changes."""
    before = np.searchsorted(rows, messages)
    return transactions.stand(piece.at[messages] + 1 + wide, transactions.of_frame[messages], before)
