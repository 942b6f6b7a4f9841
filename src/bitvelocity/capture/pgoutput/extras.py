"""What only some readers ask for: logical messages, transactions, and the detail of rows, as batches.

Messages are taken one by one: a transaction has one or two of them. Nothing here runs unless it was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, MESSAGES, SYSTEM_FIELDS, TRANSACTIONS, Batch

from .buffer import Buffer, Flags, Offsets, Strings, letters

_TRANSACTIONAL = 1
_WIDEST = 16
_ANY = "*"


@dataclass(frozen=True, slots=True)
class Wants:
    """What a reader asked for beside the rows: `messages` are prefixes, `*` stands for all."""

    messages: tuple[str, ...] = ()
    detail: bool = False


@dataclass(frozen=True, slots=True)
class Stand:
    """Where in the stream things stand, one item each. `at`: where the fields begin, or the LSNs."""

    at: Offsets
    lsn: Offsets
    ordinal: Offsets
    xid: Offsets
    committed_at: Offsets


def wanted(buffer: Buffer, flags_at: Offsets, prefixes: tuple[str, ...]) -> Flags:
    """Which of the messages, whose flags stand at `flags_at`, have one of the prefixes."""
    if _ANY in prefixes:
        return np.ones(len(flags_at), np.bool_)
    found = np.zeros(len(flags_at), np.bool_)
    for prefix in prefixes:
        whole = prefix.encode() + b"\0"
        found |= buffer.matches(flags_at + 9, whole[:_WIDEST])
    if any(len(prefix.encode()) >= _WIDEST for prefix in prefixes):
        names = {prefix.encode() for prefix in prefixes}
        for number in np.flatnonzero(found).tolist():
            found[number] = _prefix(buffer, int(flags_at[number])) in names
    return found


def _prefix(buffer: Buffer, flags_at: int) -> bytes:
    return bytes(buffer.raw[flags_at + 9 : buffer.raw.index(0, flags_at + 9)])


def message_batch(buffer: Buffer, stand: Stand, *, detail: bool) -> Batch:
    """The messages whose flags are at `stand.at`; with detail each has its own LSN as `_row_lsn`."""
    flags: Flags = buffer.bytes[stand.at] == _TRANSACTIONAL
    own_lsn = buffer.i64(stand.at + 1)
    prefixes, contents = [], []
    for at in stand.at.tolist():
        prefix = _prefix(buffer, at)
        begin = at + 14 + len(prefix)
        size = int.from_bytes(buffer.raw[begin - 4 : begin], "big")
        prefixes.append(prefix)
        contents.append("\\x" + bytes(buffer.raw[begin : begin + size]).hex())
    images = [
        pa.array(prefixes, pa.binary()).cast(pa.string()),
        pa.array(contents, pa.string()),
        letters(np.where(flags, ord("t"), ord("f")).astype(np.uint8)),
    ]
    where = Stand(own_lsn, np.where(flags, stand.lsn, own_lsn), stand.ordinal * flags, stand.xid * flags, stand.committed_at)  # fmt: skip
    batch = _batch(MESSAGES, ("prefix", "content", "transactional"), where, images, known=flags)
    if not detail:
        return batch
    return replace(batch, data=batch.data.add_column(len(SYSTEM_FIELDS), "_row_lsn", pa.array(own_lsn)))


def transaction_batch(stand: Stand, end_lsn: Offsets) -> Batch:
    """Transactions that begin at `stand.at` (an LSN) and end at `end_lsn`."""
    images = [pa.array(lsn).cast(pa.string()) for lsn in (end_lsn, stand.at)]
    return _batch(TRANSACTIONS, ("end_lsn", "begin_lsn"), stand, images, known=None)


def _batch(
    relation: str, columns: tuple[str, ...], stand: Stand, images: list[Strings], *, known: Flags | None
) -> Batch:
    """`known`: of which the commit time is known."""
    count = len(stand.lsn)
    void = pa.nulls(count, pa.string())
    op = letters(np.full(count, ord("m" if relation == MESSAGES else "x"), np.uint8))
    times = pa.array(stand.committed_at, mask=None if known is None else ~known)
    system = [
        op,
        pa.array(stand.lsn),
        pa.array(stand.ordinal.astype(np.int32)),
        pa.array(stand.xid),
        times.view(pa.timestamp("us", "UTC")),
    ]
    names = [name for name, _ in SYSTEM_FIELDS]
    names += [side + name for side in (AFTER, BEFORE) for name in columns]
    arrays = [*system, *[void] * (len(SYSTEM_FIELDS) - len(system)), *images, *[void] * len(columns)]
    return Batch(relation, columns, pa.Table.from_arrays(arrays, names=names))


def old_kinds(buffer: Buffer, tag: Offsets, has_old: Flags) -> Strings:
    """The column `_old`: the letter at `tag` where there is an old row."""
    return letters(buffer.bytes[tag] * has_old, has_old)
