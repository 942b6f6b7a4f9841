"""Messages to batches. Nothing here is done per row: fields, ordinals, contexts and images are gathered as
columns.

What one piece of a stream leaves open for the next (the transaction, its next ordinal, its context) is its
`Carry`; what the stream has said about tables is the dictionary `relations`, which `decode` extends.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bitvelocity.changes import Batch, format_lsn
from bitvelocity.errors import CaptureError

from ..frames import STREAMED, Layout
from .buffer import TAIL, Buffer, Flags, Offsets, Strings, letters
from .context import NOBODY, Context, Contexts, is_context
from .extras import Stand, Wants, message_batch, old_kinds, transaction_batch, wanted
from .images import Image, absent_names, fill_unchanged, read_images
from .relation import Relation, parse_relation

EPOCH = 946_684_800_000_000
"""PostgreSQL's year 2000 in microseconds since 1970."""
_MAX_COLUMNS = 1664
_PAD = b"n" * _MAX_COLUMNS + b"\0" * TAIL
"""A tuple of nothing but NULLs: where rows without an image are read from."""
_BEGIN, _COMMIT, _RELATION, _MESSAGE = b"BCRM"
_INSERT, _UPDATE, _DELETE, _TRUNCATE = b"IUDT"
_NEW = ord("N")

_OPS = np.zeros(256, np.uint8)
_OPS[[_INSERT, _UPDATE, _DELETE, _TRUNCATE]] = list(b"cudt")
_IS_ROW = _OPS > 0

Relations = dict[int, Relation]
Index = npt.NDArray[np.int64]
Group = tuple[Relation, Index]
"""A table in one of its shapes, and the numbers of its rows."""
_FEW = 8


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


class Piece:
    """Frames ready to be decoded. Owns `data` from here on."""

    def __init__(self, data: bytearray, starts: array[int], layout: Layout = STREAMED) -> None:
        self.layout = layout
        self.nulls_at = len(data)
        data += _PAD
        self.buffer = Buffer(data)
        self.starts: Index = np.frombuffer(starts, np.int64) if len(starts) else np.zeros(0, np.int64)
        self.at: Offsets = self.starts + layout.payload
        self.kinds: npt.NDArray[np.uint8] = self.buffer.bytes[self.at]

    def lsns(self, frames: Index) -> Index:
        """The messages' own LSNs."""
        return self.buffer.i64(self.starts[frames] + self.layout.lsn)

    def has_rows(self) -> bool:
        """Whether there is any row change in it."""
        return bool(_IS_ROW[self.kinds].any())

    def has(self, wants: Wants) -> bool:
        """Whether there is anything in it for a reader who wants that; only for transactions sent whole."""
        if self.has_rows() or (wants.detail and bool((self.kinds == _COMMIT).any())):
            return True
        flags_at = self.at[self.kinds == _MESSAGE] + 1
        return bool(wants.messages) and bool(wanted(self.buffer, flags_at, wants.messages).any())


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a piece gave, and what the next one begins with."""

    batches: list[Batch]
    rows: int
    ignored_messages: int
    """Logical messages that are none of ours."""
    carry: Carry


@dataclass(frozen=True, slots=True)
class _Transactions:
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


@dataclass(frozen=True, slots=True)
class _Rows:
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

    def pick(self, which: Index) -> _Rows:
        return _Rows(*(getattr(self, name)[which] for name in self.__slots__))


NOTHING = Wants()


def decode(piece: Piece, carry: Carry, relations: Relations, wants: Wants = NOTHING) -> Decoded:
    """The row changes of a piece as batches, in the order of their first rows.

    Messages that are wanted stand before them, transactions that ended in the piece after them.
    """
    wide = 4 if carry.streamed else 0  # the (sub)transaction id that stands before all other fields
    alive = ~np.isin(piece.buffer.u32(piece.at + 1), list(carry.aborted)) if carry.aborted else np.True_
    messages = np.flatnonzero((piece.kinds == _MESSAGE) & alive)
    is_ours = is_context(piece.buffer, piece.at[messages] + 1 + wide)
    changes = _changes(piece, wide, alive)
    transactions = _transactions(piece, changes[0], carry)
    rows, context, contexts = _rows(piece, changes, transactions, messages=messages[is_ours], carry=carry)
    groups = _by_relation(rows, _shapes(piece, wide, relations))
    batches = _batches(piece, rows, groups, contexts, detail=wants.detail)
    if wants.messages and len(messages):
        is_wanted = wanted(piece.buffer, piece.at[messages] + 1 + wide, wants.messages)
        where = _standing(piece, wide, transactions, messages=messages[is_wanted], rows=rows.frame)
        batches[:0] = [message_batch(piece.buffer, where, detail=wants.detail)] if is_wanted.any() else []
        is_ours |= is_wanted
    carry = _carry(carry, transactions, len(rows), context)
    if wants.detail:
        batches += _ended(piece, transactions)
        carry = _begun(carry, piece, np.append(changes[0][:1], messages[:1]))
    return Decoded(batches, len(rows), int(np.count_nonzero(~is_ours)), carry)


def end_streamed(carry: Carry, end_lsn: int) -> Batch:
    """The transaction that was sent ahead of its commit, now that all of it was decoded with detail."""
    of = np.zeros(1, np.int64)
    stand = Stand(of + carry.begin_lsn, of + carry.lsn, of, of + carry.xid, of + carry.committed_at)
    return transaction_batch(stand, of + end_lsn)


def _changes(piece: Piece, wide: int, alive: Flags | np.bool_) -> tuple[Index, Offsets, Index]:
    """Frame number, offset of the first field and OID of each row change; a TRUNCATE is one per relation."""
    frame = np.flatnonzero(_IS_ROW[piece.kinds] & alive)
    at = piece.at[frame] + wide + 1
    oid = piece.buffer.u32(at)
    truncates = piece.kinds[frame] == _TRUNCATE
    if not truncates.any():
        return frame, at, oid
    times = np.where(truncates, oid, 1)  # a TRUNCATE has the number of its relations there
    which = np.repeat(np.arange(len(frame)), times)
    nth = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
    listed = at[which] + 5 + 4 * nth
    return frame[which], at[which], piece.buffer.u32(np.where(truncates[which], listed, at[which]))


def _transactions(piece: Piece, frame: Index, carry: Carry) -> _Transactions:
    """What the BEGINs of a piece say; `frame` are the frames of its row changes."""
    is_begin = piece.kinds == _BEGIN
    begins = np.flatnonzero(is_begin)
    begin = piece.at[begins]
    return _Transactions(
        begins,
        np.cumsum(is_begin),  # 0 is the carried one
        np.append(carry.lsn, piece.buffer.i64(begin + 1)),
        np.append(carry.committed_at, piece.buffer.i64(begin + 9) + EPOCH),
        np.append(carry.xid, piece.buffer.u32(begin + 17)),
        np.append(-carry.ordinal, np.searchsorted(frame, begins)),
        carry.begin_lsn,
    )


def _rows(
    piece: Piece,
    changes: tuple[Index, Offsets, Index],
    transactions: _Transactions,
    *,
    messages: Index,
    carry: Carry,
) -> tuple[_Rows, Context, Contexts]:
    """Join to each change what its transaction says: position, time and context; and the context that is open."""
    frame, at, oid = changes
    of_frame = transactions.of_frame
    contexts = Contexts(piece.buffer, piece.at[messages] + (5 if carry.streamed else 1), carry.context)
    context_of = np.append(0, of_frame[messages])  # the transaction of each context; the carried one first
    places = _places(piece, messages, frame, of_frame)
    seen = np.searchsorted(places, frame, side="right")  # how many contexts stand before the row
    tx = of_frame[frame]
    context = np.where(context_of[seen] == tx, seen + 1, 0)
    rows = _Rows(
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


def _carry(carry: Carry, transactions: _Transactions, rows: int, context: Context) -> Carry:
    return replace(
        carry,
        lsn=int(transactions.lsn[-1]),
        committed_at=int(transactions.committed_at[-1]),
        xid=int(transactions.xid[-1]),
        ordinal=rows - int(transactions.first[-1]),
        context=context,
    )


def _standing(piece: Piece, wide: int, transactions: _Transactions, *, messages: Index, rows: Index) -> Stand:
    """Where the messages of some frames stand; `rows` are the frames of the row changes."""
    before = np.searchsorted(rows, messages)
    return transactions.stand(piece.at[messages] + 1 + wide, transactions.of_frame[messages], before)


def _ended(piece: Piece, transactions: _Transactions) -> list[Batch]:
    """The transactions whose COMMIT is in the piece."""
    commits = np.flatnonzero(piece.kinds == _COMMIT)
    if not len(commits):
        return []
    begin_lsn = np.append(transactions.begin_lsn, piece.lsns(transactions.begins))
    of = transactions.of_frame[commits]
    return [
        transaction_batch(transactions.stand(begin_lsn[of], of), piece.buffer.i64(piece.at[commits] + 10))
    ]


def _begun(carry: Carry, piece: Piece, first: Index) -> Carry:
    """Where the transaction that is open began: at its BEGIN, or, sent ahead, at the first of its `first` frames."""
    begins = np.flatnonzero(piece.kinds == _BEGIN)
    if len(begins):
        return replace(carry, begin_lsn=int(piece.lsns(begins[-1:])[0]))
    if carry.begin_lsn or not len(first):
        return carry
    return replace(carry, begin_lsn=int(piece.lsns(first).min()))


def _shapes(piece: Piece, wide: int, relations: Relations) -> dict[int, list[tuple[int, Relation]]]:
    """The shapes of each table in this piece, each with the frame from which on it holds."""
    shapes = {oid: [(-1, relation)] for oid, relation in relations.items()}
    for number in np.flatnonzero(piece.kinds == _RELATION).tolist():
        sent = piece.starts[number] + piece.layout.sent if piece.layout.sent else None
        relation = parse_relation(piece.buffer.raw, int(piece.at[number]) + 1 + wide, sent)
        relations[relation.oid] = relation
        known = shapes.setdefault(relation.oid, [])
        if not known or known[-1][1] != relation:
            known.append((number, relation))
    return shapes


def _by_relation(rows: _Rows, shapes: dict[int, list[tuple[int, Relation]]]) -> list[Group]:
    """The numbers of each table's rows, one shape at a time, in the order of their first rows."""
    groups: list[tuple[int, Relation, Index]] = []
    for which in _of_each(rows.oid):
        oid = int(rows.oid[which[0]])
        if oid not in shapes:
            raise _undescribed(oid, int(rows.lsn[which[0]]))
        versions = shapes[oid]
        if len(versions) == 1:
            groups.append((int(which[0]), versions[0][1], which))
            continue
        bounds = np.searchsorted(rows.frame[which], [start for start, _ in versions[1:]])
        for (_, relation), part in zip(versions, np.split(which, bounds), strict=True):
            if len(part):
                groups.append((int(part[0]), relation, part))
    return [(relation, part) for _, relation, part in sorted(groups, key=lambda group: group[0])]


def _of_each(oid: Index) -> list[Index]:
    """The numbers of each table's rows, in order; by one sort, for there may be a thousand tables."""
    if not len(oid):
        return []
    if (oid == oid[0]).all():
        return [np.arange(len(oid))]
    order = np.argsort(oid, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(oid[order])) + 1)


def _batches(
    piece: Piece, rows: _Rows, groups: list[Group], contexts: Contexts, *, detail: bool
) -> list[Batch]:
    """A batch for each group; with many groups, tables of the same number of columns are read together."""
    if len(groups) == 1:
        return [_batch(piece, groups[0][0], rows, contexts, detail=detail)]
    if len(groups) <= _FEW:
        return [_batch(piece, relation, rows.pick(part), contexts, detail=detail) for relation, part in groups]
    widths: dict[int, list[int]] = {}
    for number, (relation, _) in enumerate(groups):
        widths.setdefault(len(relation.columns), []).append(number)
    made: dict[int, Batch] = {}
    for numbers in widths.values():
        alike = [groups[number] for number in numbers]
        made.update(zip(numbers, _alike(piece, rows, alike, contexts, detail=detail), strict=True))
    return [made[number] for number in range(len(groups))]


def _alike(
    piece: Piece, rows: _Rows, groups: list[Group], contexts: Contexts, *, detail: bool
) -> Iterator[Batch]:
    """Batches of tables that have the same number of columns: read as one table, then cut."""
    anybody = replace(groups[0][0], types=(0,) * len(groups[0][0].columns))
    together = rows.pick(np.concatenate([part for _, part in groups]))
    with suppress(CaptureError):  # what is wrong is said below, of the right table
        whole = _batch(piece, anybody, together, contexts, detail=detail).data
        if whole["_absent"].null_count == len(together):  # else the names in it are another table's
            end = 0
            for relation, part in groups:
                begin, end = end, end + len(part)
                names = relation.names_with_detail if detail else relation.names
                data = whole.slice(begin, len(part)).rename_columns(names)
                yield Batch(relation.qualified, relation.columns, data, relation.shape)
            return
    for relation, part in groups:
        yield _batch(piece, relation, rows.pick(part), contexts, detail=detail)


def _batch(piece: Piece, relation: Relation, rows: _Rows, contexts: Contexts, *, detail: bool) -> Batch:
    after, before = _images(piece, relation, rows)
    count = len(rows)
    void = pa.nulls(count, pa.string_view())
    arrays = [
        letters(_OPS[rows.kind]),
        pa.array(rows.lsn),
        pa.array(rows.ordinal.astype(np.int32)),
        pa.array(rows.xid),
        pa.array(rows.committed_at).view(pa.timestamp("us", "UTC")),
        *contexts.columns(rows.context),
        absent_names(after, relation, count),
    ]
    if detail:
        arrays.append(pa.array(piece.lsns(rows.frame)))
        arrays.append(old_kinds(piece.buffer, rows.at + 4, _has_old(piece, rows)))
    for images in (after, before):
        arrays += [_column(piece, image, void) for image in images] or [void] * len(relation.columns)
    names = relation.names_with_detail if detail else relation.names
    data = pa.Table.from_arrays(arrays, names=names)
    return Batch(relation.qualified, relation.columns, data, relation.shape)


def _column(piece: Piece, image: Image, void: Strings) -> Strings:
    return void if image.views is None else piece.buffer.strings(image.views, image.valid)


def _images(piece: Piece, relation: Relation, rows: _Rows) -> tuple[list[Image], list[Image]]:
    """Both images of each column; an empty list when no row has that image."""
    after: list[Image] = []
    before: list[Image] = []
    tag = rows.at + 4
    has_old = _has_old(piece, rows)
    has_new = (rows.kind == _INSERT) | (rows.kind == _UPDATE)
    if has_old.any():
        before, end = _read(piece, relation, tag, has_old)
        tag = np.where(has_old, end, tag)
    if has_new.any():
        after, _ = _read(piece, relation, tag, has_new)
    if after and before:
        fill_unchanged(after, before)
    return after, before


def _has_old(piece: Piece, rows: _Rows) -> Flags:
    has_old: Flags = (piece.buffer.bytes[rows.at + 4] != _NEW) & (rows.kind != _TRUNCATE)
    return has_old


def _read(piece: Piece, relation: Relation, tag: Offsets, has: Flags) -> tuple[list[Image], Offsets]:
    """The tuples that follow the tags of those rows that have one; NULLs for the others."""
    width = piece.buffer.u16(tag[has] + 1)
    if (width != len(relation.columns)).any():
        raise CaptureError(
            "A row of the stream does not have the columns that the stream declared.",
            entity=relation.qualified,
            safe="Nothing of this transaction was taken; the source still has it.",
            remedy="A defect of the reader, or of a proxy in between: report it with the server's version.",
        )
    return read_images(piece.buffer, np.where(has, tag + 3, piece.nulls_at), relation)


def _undescribed(oid: int, lsn: int) -> CaptureError:
    return CaptureError(
        f"The stream changed table OID {oid} without having described it.",
        position=format_lsn(lsn),
        safe="Nothing of this transaction was taken; the source still has it.",
        remedy="Start the stream again: the server describes each table anew on each connection.",
    )
