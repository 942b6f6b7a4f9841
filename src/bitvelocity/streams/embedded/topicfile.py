"""One topic: a SQLite file with its records, their offsets, and the places of its publishers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bitvelocity.errors import BusError, OffsetGoneError
from bitvelocity.streams.bus import FETCHED_SCHEMA, RECORD_SCHEMA, Partition, Place, Span, Topic
from bitvelocity.streams.placing import partition_of

from . import gone
from .blobs import Piece, decode, pieces_of, sealed, shaped, too_large
from .gone import Gone, Older
from .sqlite import Database, make

SCRIPT = """
create table topic (name text not null, partitions integer not null, retention_us integer, retention_bytes integer,
  compacted integer not null);
create table head (partition integer primary key, first integer not null, next integer not null);
create table batch (id integer primary key, partition integer not null, base integer not null, next integer not null,
  latest integer not null, size integer not null, records integer not null, earliest integer not null,
  compacted integer not null, crc integer not null, data blob not null);
create unique index batch_at on batch (partition, base, next, latest, size, compacted);
create table place (publisher text not null, partition integer not null, lsn integer not null, ordinal integer not null,
  step integer not null, primary key (publisher, partition)) without rowid;
""" + gone.SCRIPT

_READ_BYTES = 32 << 20
"""Compressed bytes that one read takes at the most, beyond its first piece."""

_SLEEP_S = (0.001, 0.005)
"""Between two looks for news: a few are quick, then it costs nothing worth naming."""

_INSERT = """insert into batch (partition, base, next, latest, size, records, earliest, compacted, crc, data)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_LISTED = """select id, base, next, size, compacted from batch
where partition = ? and base >= coalesce((select max(base) from batch where partition = ? and base <= ?), 0) and next > ?
order by base limit ?"""
_LISTED_PIECES = 1000


class Listed(NamedTuple):
    """A piece, as the index tells of it: known also when the piece itself cannot be read."""

    id: int
    base: int
    next: int
    size: int
    compacted: int


@dataclass(frozen=True, slots=True)
class Written:
    """What to write in one transaction: pieces, and for a publisher its places after them."""

    pieces: Sequence[Piece]
    publisher: str = ""
    places: Mapping[int, Place] | None = None


class TopicFile:
    """A topic that is there. Offsets are given inside the transaction that writes their records."""

    def __init__(self, file: Path, name: str) -> None:
        self.name, self.file = name, file
        self.database = Database(file, name)
        self.kept_at, self.unkept = time.monotonic(), 0  # upkeep's: when it last looked, and bytes since
        self._restored: dict[int, tuple[Gone, pa.Table]] = {}
        try:
            self._renew()
            self.partitions = self.wanted().partitions
        except BaseException:
            self.database.close()
            raise

    def _renew(self) -> None:
        """A file of an earlier version has no list of what went."""
        with self.database.reading() as connection:
            if connection.execute("select 1 from sqlite_master where name = 'gone'").fetchone():
                return
        with self.database.writing() as connection:
            connection.execute(gone.SCRIPT)

    def wanted(self) -> Topic:
        """How it was last wanted."""
        with self.database.reading() as connection:
            _, partitions, retention, size, compacted = connection.execute("select * from topic").fetchone()
        kept = None if retention is None else timedelta(microseconds=retention)
        return Topic(name=self.name, partitions=partitions, retention=kept, retention_bytes=size, compacted=bool(compacted))

    def change(self, topic: Topic) -> None:
        """Keep it as it is wanted from now on."""
        with self.database.writing() as connection:
            statement = "update topic set retention_us = ?, retention_bytes = ?, compacted = ?"
            connection.execute(statement, _kept(topic))

    def write(self, connection: sqlite3.Connection, written: Written) -> dict[int, int]:
        """Give the pieces their offsets, and write them; the next offset of each partition afterwards."""
        ends: dict[int, int] = {}
        for piece in written.pieces:
            if piece.partition not in ends:
                ends[piece.partition] = _head(connection, piece.partition).end
            base = ends[piece.partition]
            ends[piece.partition] = base + piece.records
            insert(connection, piece, base, ends[piece.partition])
        connection.executemany("update head set next = ? where partition = ?", [(e, p) for p, e in ends.items()])
        if written.places:
            rows = [(written.publisher, number, *place) for number, place in written.places.items()]
            connection.executemany("insert or replace into place values (?, ?, ?, ?, ?)", rows)
        return ends

    def places(self, connection: sqlite3.Connection, publisher: str) -> dict[int, Place]:
        rows = connection.execute("select partition, lsn, ordinal, step from place where publisher = ?", [publisher])
        return {number: Place(*place) for number, *place in rows}

    def spans(self) -> dict[int, Span]:
        with self.database.reading() as connection:
            return _heads(connection)

    def check(self, numbers: Collection[int]) -> None:
        """Raise unless it has all these partitions."""
        for number in numbers:
            if not 0 <= number < self.partitions:
                what = f"The topic has no partition {number}; its partitions are 0 to {self.partitions - 1}."
                raise BusError(what, entity=self.name)

    def cut(self, records: pa.Table) -> list[Piece]:
        """Rows of `RECORD_SCHEMA` as pieces, by partition, each in its order."""
        return self.pieces(self.by_partition(shaped(records, RECORD_SCHEMA)))

    def pieces(self, parts: Iterable[tuple[int, pa.Table]]) -> list[Piece]:
        """Records of partitions, cut to what is stored in one row."""
        pieces = [piece for number, part in parts for piece in pieces_of(number, part)]
        if any(map(too_large, pieces)):
            raise BusError("A record is larger than 900 MB.", entity=self.name, safe="Nothing of this call was written.")
        return pieces

    def by_partition(self, records: pa.Table) -> Iterator[tuple[int, pa.Table]]:
        """Each partition with its rows, in their order. Rows without a timestamp get the time that it is."""
        at = records.schema.get_field_index("timestamp")
        if records["timestamp"].null_count:
            now = pa.scalar(time.time_ns() // 1000, RECORD_SCHEMA.field("timestamp").type)
            filled = pc.fill_null(records["timestamp"], now)
            records = records.set_column(at, "timestamp", filled)
        if self.partitions == 1 or not records.num_rows:
            yield 0, records
            return
        numbers = partition_of(records["key"], self.partitions)
        order = np.argsort(numbers, kind="stable")
        held, begins = np.unique(numbers[order], return_index=True)
        by_number = records.take(order)
        for number, begin, end in zip(held, begins, [*begins[1:], len(order)], strict=True):
            yield int(number), by_number.slice(begin, end - begin)

    def read(self, number: int, offset: int, limit: int, *, older: Older | None = None) -> pa.Table:
        """What is there now from `offset` on; empty when nothing is."""
        partition = Partition(self.name, number)
        with self.database.reading() as connection:
            head = _head(connection, number)
            tables = self._pieces(connection, partition, offset, limit=limit) if head.first <= offset < head.end else []
            went = gone.find(connection, number, offset) if offset < head.first and older else None
        if offset < head.first:
            found = self._restore(went, older) if went and older else None
            if found is None:
                raise self._not_kept(partition, offset, head.first)
            return _from(found, offset).slice(0, limit)
        return pa.concat_tables(tables).slice(0, limit) if tables else FETCHED_SCHEMA.empty_table()

    def _pieces(self, connection: sqlite3.Connection, partition: Partition, offset: int, *, limit: int) -> list[pa.Table]:
        tables: list[pa.Table] = []
        rows = size = 0
        for piece in listed(connection, partition, offset):
            if tables and size + piece.size > _READ_BYTES:
                break
            try:
                tables.append(_from(opened(connection, piece, partition), offset))
            except BusError:
                if rows:
                    break  # what comes before it is whole, and is handed over first
                raise
            rows, size = rows + tables[-1].num_rows, size + piece.size
            if rows >= limit:
                break
        return tables

    def _restore(self, went: Gone, older: Older) -> pa.Table | None:
        """Records that went, had again. A partition's last answer is kept: it is read in parts, one after the other."""
        last, found = self._restored.get(went.partition, (None, None))
        if last is not None and (last.base, last.next) == (went.base, went.next):
            return found
        found = gone.restored(self.name, went, older)
        if found is not None:
            self._restored[went.partition] = went, found
        return found

    def _not_kept(self, partition: Partition, offset: int, first: int) -> OffsetGoneError:
        return OffsetGoneError(
            f"The records below offset {first} are no longer kept.", entity=self.name,
            position=f"partition {partition.number}, offset {offset}", safe=f"From offset {first} on all are there.",
            remedy=f"Read from offset {first}, or fill the gap from bronze.",
        )  # fmt: skip

    def seek_time(self, at_us: int) -> dict[int, int]:
        statement = """select id, base, next, size, compacted from batch
        where partition = ? and latest >= ? order by base limit 1"""
        found: dict[int, int] = {}
        with self.database.reading() as connection:
            for number, span in _heads(connection).items():
                found[number] = span.end
                for row in connection.execute(statement, [number, at_us]).fetchall():
                    table = opened(connection, Listed(*row), Partition(self.name, number))
                    late = table["timestamp"].cast(pa.int64()).to_numpy() >= at_us
                    found[number] = int(table["offset"][int(np.flatnonzero(late)[0])].as_py())
        return found

    def await_news(self, ends: Mapping[int, int], deadline: float) -> bool:
        """Wait until one of these partitions has something at or above its offset; False when the time is over."""
        began = time.monotonic()
        with self.database.bare() as connection:
            while True:
                if any(end > ends.get(number, end) for number, end in connection.execute("select partition, next from head")):
                    return True
                now = time.monotonic()
                if now >= deadline:
                    return False
                time.sleep(min(_SLEEP_S[now - began > 1], deadline - now))


def make_topic(file: Path, topic: Topic) -> None:
    """Make the file of a topic, unless it is there."""
    row = (topic.name, topic.partitions, *_kept(topic))
    heads: list[tuple[object, ...]] = [(number,) for number in range(topic.partitions)]
    rows: dict[str, list[tuple[object, ...]]] = {
        "insert into topic values (?, ?, ?, ?, ?)": [row],
        "insert into head values (?, 0, 0)": heads,
    }
    make(file, SCRIPT, rows)


def listed(connection: sqlite3.Connection, partition: Partition, offset: int) -> list[Listed]:
    """The next pieces of a partition that have records from `offset` on."""
    values = [partition.number, partition.number, offset, offset, _LISTED_PIECES]
    try:
        return [Listed(*row) for row in connection.execute(_LISTED, values)]
    except sqlite3.DatabaseError as error:
        what = f"The list of what the topic holds is damaged: {error}."
        raise _damaged(what, partition, offset, remedy="Restore the file; what was in it may be in bronze.") from error


def opened(connection: sqlite3.Connection, piece: Listed, partition: Partition) -> pa.Table:
    """A stored piece as rows of `FETCHED_SCHEMA`, if it is what was written."""
    remedy = f"Read on from offset {piece.next}; what was in them may be in bronze, or in the source."
    try:
        crc, data = connection.execute("select crc, data from batch where id = ?", [piece.id]).fetchone()
    except sqlite3.DatabaseError as error:
        what = f"Records {piece.base} to {piece.next - 1} are damaged: {error}."
        raise _damaged(what, partition, piece.base, remedy=remedy) from error
    if sealed(crc32(data), partition.number, piece.base, next=piece.next) != crc:
        what = f"Records {piece.base} to {piece.next - 1} are damaged: their checksum does not agree."
        raise _damaged(what, partition, piece.base, remedy=remedy)
    return decode(data, partition, piece.base, compacted=bool(piece.compacted))


def _damaged(what: str, partition: Partition, offset: int, *, remedy: str) -> BusError:
    return BusError(
        what, entity=partition.topic, position=f"partition {partition.number}, offset {offset}",
        safe="All records before and after them.", remedy=remedy,
    )  # fmt: skip


def insert(connection: sqlite3.Connection, piece: Piece, base: int, end: int, *, compacted: bool = False) -> None:
    """Store a piece as what there is from `base` up to `end`."""
    crc = sealed(piece.crc, piece.partition, base, next=end)
    about = (piece.partition, base, end, piece.latest, len(piece.data), piece.records, piece.earliest)
    connection.execute(_INSERT, (*about, int(compacted), crc, piece.data))


def _from(table: pa.Table, offset: int) -> pa.Table:
    offsets = table["offset"].to_numpy()
    return table.slice(int(np.searchsorted(offsets, offset)))


def _kept(topic: Topic) -> tuple[int | None, int | None, int]:
    retention = None if topic.retention is None else topic.retention // timedelta(microseconds=1)
    return retention, topic.retention_bytes, int(topic.compacted)


def _head(connection: sqlite3.Connection, number: int) -> Span:
    return Span(*connection.execute("select first, next from head where partition = ?", [number]).fetchone())


def _heads(connection: sqlite3.Connection) -> dict[int, Span]:
    rows: list[tuple[Any, ...]] = connection.execute("select partition, first, next from head").fetchall()
    return {number: Span(first, end) for number, first, end in rows}
