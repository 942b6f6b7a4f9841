"""What a topic need not keep goes: the oldest by age and size, and in a compacted topic all but the last of each key."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from bitvelocity.errors import BusError
from bitvelocity.processes import locked
from bitvelocity.streams.bus import Partition, Topic

from .blobs import OFFSET_SCHEMA, PIECE_RECORDS, pieces_of, shaped
from .gone import Gone, going, note
from .sqlite import told
from .topicfile import Listed, TopicFile, insert, listed, opened

EVERY_S, EVERY_BYTES = 60.0, 32 << 20
"""A writer looks after its topic so often, or after so much."""

TOMBSTONES_STAY = timedelta(days=1)
"""So long a reader that began before can learn that a key has ended."""

_AT_ONCE = 500
"""Pieces that go in one transaction: others want to write, too."""

_AT_ONCE_BYTES = 32 << 20

_VACUUM_PAGES = 2000

Offsets = npt.NDArray[np.int64]


def look_after(topic: TopicFile, written: int) -> None:
    """Called after a write: do what is due. What goes wrong here is no failure of the write, and comes again."""
    topic.unkept += written
    now = time.monotonic()
    if now - topic.kept_at < EVERY_S and topic.unkept < EVERY_BYTES:
        return
    topic.kept_at, topic.unkept = now, 0
    try:
        keep(topic, datetime.now(UTC), half=True)
    except BusError:
        return


def keep(topic: TopicFile, now: datetime | None = None, *, half: bool = False) -> None:
    """Let go of what need not be kept. `half`: compact only when half of the topic has come since the last time."""
    wanted, now = topic.wanted(), now or datetime.now(UTC)
    if wanted.retention is None and wanted.retention_bytes is None and not wanted.compacted:
        return
    with _alone(topic) as mine:
        if not mine:
            return
        for number in range(topic.partitions):
            forget(topic, number, _bound(topic, number, wanted, now=now))
            if wanted.compacted and not (half and _mostly_compact(topic, number)):
                compact(topic, number, now - TOMBSTONES_STAY)


def forget(topic: TopicFile, number: int, below: int) -> None:
    """Let go of all pieces that end at or below an offset, a few at a time; the room goes back to the disk.

    The places of what goes stay, so that the records can be had again from where the publisher had them.
    """
    partition = Partition(topic.name, number)
    while True:
        pieces = _oldest(topic, number, below)
        if not pieces:
            return
        gone = [one for piece in pieces if (one := _going(topic, partition, piece)) is not None]
        with topic.database.writing() as connection:
            connection.executemany("delete from batch where id = ?", [(piece.id,) for piece in pieces])
            note(connection, gone)
            connection.execute("update head set first = max(first, ?) where partition = ?", [pieces[-1].next, number])
        _give_back(topic)


def _oldest(topic: TopicFile, number: int, below: int) -> list[Listed]:
    """Pieces that go in one transaction: few enough to be read before it."""
    statement = """select id, base, next, size, compacted from batch
    where partition = ? and next <= ? order by base limit ?"""
    with topic.database.reading() as connection:
        pieces = [Listed(*row) for row in connection.execute(statement, [number, below, _AT_ONCE])]
    sizes = np.cumsum([piece.size for piece in pieces])
    return pieces[: max(1, int(np.searchsorted(sizes, _AT_ONCE_BYTES)))]


def _going(topic: TopicFile, partition: Partition, piece: Listed) -> Gone | None:
    """What stays known of a piece; nothing if it was appended without places, compacted, or damaged."""
    try:
        with topic.database.reading() as connection:
            return None if piece.compacted else going(partition.number, piece.base, opened(connection, piece, partition))
    except BusError:
        return None


def compact(topic: TopicFile, number: int, ended: datetime) -> None:
    """Keep of each key the last record, and no tombstone from before `ended`. Records without a key stay.

    The last record of the partition stays too, so that whoever waits for the end finds it.
    """
    partition = Partition(topic.name, number)
    end = topic.spans()[number].end
    last = _last_of_each_key(topic, partition, end)
    ended_us = int(ended.timestamp() * 1_000_000)
    for pieces in _groups(topic, partition, end):
        _rewrite(topic, partition, pieces, last=last, ended_us=ended_us, end=end)
    _give_back(topic)


def _last_of_each_key(topic: TopicFile, partition: Partition, end: int) -> Offsets:
    """The offsets of the records that are the last of their keys, in order. Holds every key once."""
    known = pa.table({"key": pa.array([], pa.binary()), "offset": pa.array([], pa.int64())})
    for pieces in _groups(topic, partition, end):
        table = _read(topic, partition, pieces).select(["key", "offset"])
        table = table.filter(pc.is_valid(table["key"]))
        grouped = pa.concat_tables([known, table]).group_by("key").aggregate([("offset", "max")])
        known = grouped.rename_columns({"offset_max": "offset"}).select(["key", "offset"])
    return np.sort(known["offset"].to_numpy())


def _groups(topic: TopicFile, partition: Partition, end: int) -> Iterator[list[Listed]]:
    """Neighbouring pieces, about as many as make one again."""
    offset, group = 0, list[Listed]()
    while offset < end:
        with topic.database.reading() as connection:
            pieces = [piece for piece in listed(connection, partition, offset) if piece.next <= end]
        for piece in pieces:
            group.append(piece)
            if sum(one.next - one.base for one in group) >= PIECE_RECORDS:
                yield group
                group = []
        if not pieces:
            break
        offset = pieces[-1].next
    if group:
        yield group


def _read(topic: TopicFile, partition: Partition, pieces: Sequence[Listed]) -> pa.Table:
    with topic.database.reading() as connection:
        return pa.concat_tables([opened(connection, piece, partition) for piece in pieces])


def _rewrite(
    topic: TopicFile, partition: Partition, pieces: Sequence[Listed], *, last: Offsets, ended_us: int, end: int
) -> None:
    """Put what stays of some pieces in their place, in one transaction."""
    table = _read(topic, partition, pieces)
    kept = table.filter(_stays(table, last, ended_us=ended_us, end=end))
    if kept.num_rows == table.num_rows and len(pieces) == 1:
        return
    new = list(pieces_of(partition.number, shaped(kept, OFFSET_SCHEMA), archived=True))
    bounds = np.cumsum([piece.records for piece in new])[:-1]
    bases = [pieces[0].base, *(int(kept["offset"][int(row)].as_py()) for row in bounds), pieces[-1].next]
    ids = [(piece.id,) for piece in pieces]
    with topic.database.writing() as connection:
        if connection.executemany("delete from batch where id = ?", ids).rowcount != len(ids):
            raise BusError("Somebody else has let go of records meanwhile.", entity=topic.name)
        for piece, base, after in zip(new, bases[: len(new)], bases[1:], strict=bool(new)):
            insert(connection, piece, base, after, compacted=True)


def _stays(table: pa.Table, last: Offsets, *, ended_us: int, end: int) -> Any:
    offsets = table["offset"].to_numpy()
    at = np.minimum(np.searchsorted(last, offsets), max(0, len(last) - 1))
    is_last = last[at] == offsets if len(last) else np.zeros(len(offsets), bool)
    keyless = np.asarray(pc.is_null(table["key"]))
    ended = np.asarray(pc.is_null(table["value"])) & (table["timestamp"].cast(pa.int64()).to_numpy() < ended_us)
    return pa.array((keyless | is_last & ~ended) | (offsets == end - 1))


def _mostly_compact(topic: TopicFile, number: int) -> bool:
    statement = "select total(size), total(size * compacted) from batch where partition = ?"
    with topic.database.reading() as connection:
        size, compacted = connection.execute(statement, [number]).fetchone()
    return bool(compacted * 2 >= size)


def _bound(topic: TopicFile, number: int, wanted: Topic, *, now: datetime) -> int:
    """The offset below which nothing need be kept."""
    with topic.database.reading() as connection:
        bounds = [0]
        if wanted.retention is not None:
            bounds.append(_by_age(connection, number, int((now - wanted.retention).timestamp() * 1_000_000)))
        if wanted.retention_bytes is not None:
            bounds.append(_by_size(connection, number, wanted.retention_bytes))
    return max(bounds)


def _by_age(connection: sqlite3.Connection, number: int, before_us: int) -> int:
    young = connection.execute("select min(base) from batch where partition = ? and latest >= ?", [number, before_us])
    end = connection.execute("select next from head where partition = ?", [number]).fetchone()[0]
    found = young.fetchone()[0]
    return int(end if found is None else found)


def _by_size(connection: sqlite3.Connection, number: int, bound: int) -> int:
    """The newest piece stays, however large it is."""
    size, newer = 0, None
    for base, its in connection.execute("select base, size from batch where partition = ? order by base desc", [number]):
        size += its
        if newer is not None and size > bound:
            return int(newer)
        newer = base
    return 0


def _give_back(topic: TopicFile) -> None:
    with topic.database.bare() as connection:
        connection.executescript(f"pragma incremental_vacuum({_VACUUM_PAGES})")  # `execute` would free one page


@contextmanager
def _alone(topic: TopicFile) -> Iterator[bool]:
    """Whether nobody else looks after the topic now; who dies lets go of it."""
    with told(topic.name):
        handle = os.open(topic.file.with_name(f".{topic.file.stem}.keep"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield locked(handle)
    finally:
        os.close(handle)
