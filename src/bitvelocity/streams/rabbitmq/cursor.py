"""Reading a stream from an offset on, chunk by chunk, as records."""

from __future__ import annotations

import threading
import time

import numpy as np
import pyarrow as pa

from ...errors import OffsetGoneError
from ..bus import FETCHED_SCHEMA, RECORD_SCHEMA, Partition, Span
from .connection import Connection
from .decoding import FENCE, decode
from .frames import Chunk, Seek
from .links import CREDIT, Links, chunks, ends

LOOK_BACK = 100
OFFSET_SCHEMA = pa.schema([("offset", pa.int64()), *RECORD_SCHEMA])


def stream_of(partition: Partition) -> str:
    """The stream of a partition, named as all clients of super streams name it."""
    return f"{partition.topic}-{partition.number}"


def span(links: Links, stream: str) -> Span:
    """What a stream holds. One that is empty has had nothing: its youngest segment is never deleted."""
    connection = links.to(stream)
    first, last = ends(connection, stream, Seek.FIRST), ends(connection, stream, Seek.LAST)
    if first is None or last is None:
        return Span(0, 0)
    if FENCE.encode() in bytes(last.data[-1024:]):
        return Span(first.offset, _end_without_fences(links, stream, first.offset, last.offset))
    return Span(first.offset, last.end)


def _end_without_fences(links: Links, stream: str, first: int, last: int) -> int:
    """The offset after the last record: whoever reads up to the end must not wait for a fence, which is none."""
    lower, step = last, LOOK_BACK
    while True:
        end = first
        for chunk in chunks(links.to(stream), stream, lower):
            if (records := decode(chunk)).num_rows:
                end = int(records["offset"][-1].as_py()) + 1
        if end > first or lower == first:
            return end
        lower, step = max(first, lower - step), step * 8



class Cursor:
    """A subscription and what has come of it. `offset` is where the next `read` goes on."""

    def __init__(
        self, links: Links, partition: Partition, offset: int, *, news: threading.Event | None = None
    ) -> None:
        self.partition = partition
        self.offset = offset
        self._links = links
        self._stream = stream_of(partition)
        self._left = pa.table([[]] * len(OFFSET_SCHEMA), schema=OFFSET_SCHEMA)
        self._expected = offset
        self._connection: Connection = links.to(self._stream)
        self._subscription = self._connection.subscribe(self._stream, Seek.OFFSET, offset, credit=CREDIT, news=news)

    @property
    def alive(self) -> bool:
        return self._connection.lost is None

    def read(self, limit: int, timeout: float) -> pa.Table:
        """Up to `limit` records of `FETCHED_SCHEMA`; waits for the first of them."""
        deadline = time.monotonic() + timeout
        found, rows = [self._left], self._left.num_rows
        while rows < limit:
            chunk = self._subscription.take(0 if rows else max(0.0, deadline - time.monotonic()))
            if chunk is None:
                break
            self._subscription.credit()
            if (table := self._taken(chunk)).num_rows:
                found.append(table)
                rows += table.num_rows
        whole = pa.concat_tables(found)
        table, self._left = whole.slice(0, limit), whole.slice(limit)
        if table.num_rows:
            self.offset = int(table["offset"][-1].as_py()) + 1
        return self._fetched(table)

    def close(self) -> None:
        if self.alive:
            self._subscription.close()

    def _taken(self, chunk: Chunk) -> pa.Table:
        """A chunk's records from the expected offset on. The server begins with the whole chunk that holds an offset."""
        if chunk.offset > self._expected:
            self._check_gap(chunk.offset)
        table, expected = decode(chunk), self._expected
        self._expected = max(expected, chunk.end)
        if chunk.offset < expected:
            table = table.slice(int(np.searchsorted(table["offset"].to_numpy(), expected)))
        return table

    def _check_gap(self, found: int) -> None:
        """Offsets may have gaps; what was deleted is one at the beginning of the stream."""
        first = ends(self._connection, self._stream, Seek.FIRST)
        if first is None or first.offset > self._expected:
            raise gone(self.partition, self._expected, found)

    def _fetched(self, table: pa.Table) -> pa.Table:
        number = pa.array(np.full(table.num_rows, self.partition.number, np.int32))
        return pa.table([number, *table.columns], schema=FETCHED_SCHEMA)


def gone(partition: Partition, offset: int, first: int) -> OffsetGoneError:
    return OffsetGoneError(
        f"Record {offset} is no longer kept; the first is {first}.",
        entity=f"{partition.topic}/{partition.number}",
        position=str(offset),
        safe="Nothing was passed over in silence.",
        remedy="Take what is missing from bronze, or begin at the first that is kept.",
    )
