"""What a topic has let go of: the places that its records had, so that they can be had again from where those lead."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from bitvelocity.streams.bus import FETCHED_SCHEMA, PLACED_SCHEMA, RECORD_SCHEMA, Place
from bitvelocity.streams.placing import located, parsed_bytes, place_bytes, with_places

from .blobs import PIECE_RECORDS, shaped

Older = Callable[[str, Place, Place], pa.Table | None]
"""Asked for records that a topic no longer keeps: `older(topic, first, last)`, with both of these places.

Answers with rows of `PLACED_SCHEMA`, in any order. Those that the topic never had are passed over; if one that it had is
missing, or for None, it is gone here too.
"""

SCRIPT = """
create table if not exists gone (partition integer not null, base integer not null, next integer not null,
  places blob not null, primary key (partition, base));
"""

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Gone:
    """Neighbouring records of a partition that went. `places`: a row of bytes each (`placing.place_bytes`)."""

    partition: int
    base: int
    places: Bytes

    @property
    def next(self) -> int:
        return self.base + len(self.places)


def going(partition: int, base: int, records: pa.Table) -> Gone | None:
    """What is to be known of records that go, offset upon offset; None: a publisher wrote not all of them."""
    ours, places = located(records)
    return Gone(partition, base, place_bytes(*places)) if records.num_rows and ours.all() else None


def joined(gone: Sequence[Gone]) -> Iterator[Gone]:
    """Neighbours as one, up to what is read at once. They are of one partition, in order."""
    group: list[Gone] = []
    for one in gone:
        if group and (group[-1].next != one.base or one.next - group[0].base > PIECE_RECORDS):
            yield _one(group)
            group = []
        group.append(one)
    if group:
        yield _one(group)


def _one(group: Sequence[Gone]) -> Gone:
    return Gone(group[0].partition, group[0].base, np.concatenate([one.places for one in group]))


def note(connection: sqlite3.Connection, gone: Sequence[Gone]) -> None:
    """Write down what went of one partition; a short last entry grows."""
    if not gone:
        return
    last = _read(connection, "partition = ? and next = ? order by base desc limit 1", gone[0].partition, gone[0].base)
    known = [last] if last and len(last.places) < PIECE_RECORDS // 2 else []
    rows = [(one.partition, one.base, one.next, _packed(one.places)) for one in joined([*known, *gone])]
    connection.executemany("insert or replace into gone values (?, ?, ?, ?)", rows)


def find(connection: sqlite3.Connection, partition: int, offset: int) -> Gone | None:
    """The entry that has an offset."""
    found = _read(connection, "partition = ? and base <= ? order by base desc limit 1", partition, offset)
    return found if found and offset < found.next else None


def restored(topic: str, gone: Gone, older: Older) -> pa.Table | None:
    """The records as they were read, if all are to be had."""
    ends = parsed_bytes(gone.places[[0, -1]])
    first, last = (Place(*(int(column[row]) for column in ends)) for row in (0, 1))
    answer = older(topic, first, last)
    if answer is None or answer.num_rows < len(gone.places):
        return None
    answer = shaped(answer, PLACED_SCHEMA)
    had = _words(place_bytes(*(answer[name].to_numpy() for name in ("lsn", "ordinal", "step"))))
    order, wanted = np.argsort(had, kind="stable"), _words(gone.places)
    at = np.minimum(np.searchsorted(had[order], wanted), len(had) - 1)
    if (had[order][at] != wanted).any():
        return None
    records = with_places(answer.take(order[at]))
    numbers = pa.repeat(pa.scalar(gone.partition, pa.int32()), records.num_rows)
    offsets = pa.array(np.arange(gone.base, gone.next))
    return pa.Table.from_arrays([numbers, offsets, *records.select(RECORD_SCHEMA.names).columns], schema=FETCHED_SCHEMA)


def _words(places: Bytes) -> npt.NDArray[np.bytes_]:
    """Each as one word that compares as its bytes do."""
    words: npt.NDArray[np.bytes_] = np.ascontiguousarray(places).view(f"S{places.shape[1]}").ravel()
    return words


def _read(connection: sqlite3.Connection, where: str, *values: int) -> Gone | None:
    row = connection.execute(f"select partition, base, next, places from gone where {where}", values).fetchone()
    return None if row is None else Gone(row[0], row[1], _unpacked(row[3], row[2] - row[1]))


def _packed(places: Bytes) -> bytes:
    """Byte by byte of all: most of these columns are nearly the same throughout."""
    return zlib.compress(np.ascontiguousarray(places.T).tobytes(), 1)


def _unpacked(data: bytes, records: int) -> Bytes:
    columns: Bytes = np.frombuffer(zlib.decompress(data), np.uint8).reshape(-1, records)
    return np.ascontiguousarray(columns.T)
