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
            if (records := decode([chunk])).num_rows:
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
        whole = self._left
        while not whole.num_rows:
            chunks = self._taken(limit, deadline)
            if not chunks:
                break
            whole, self._expected = decode(chunks, self._expected), max(self._expected, chunks[-1].end)
        table, self._left = whole.slice(0, limit), whole.slice(limit)
        if table.num_rows:
            self.offset = int(table["offset"][-1].as_py()) + 1
        return self._fetched(table)

    def close(self) -> None:
        if self.alive:
            self._subscription.close()

    def _taken(self, limit: int, deadline: float) -> list[Chunk]:
        """What has come, up to `limit` records; waits for the first chunk. The server begins with the whole one that holds
        an offset."""
        found: list[Chunk] = []
        rows, expected = 0, self._expected
        while rows < limit:
            chunk = self._subscription.take(0 if found else max(0.0, deadline - time.monotonic()))
            if chunk is None:
                break
            self._subscription.credit()
            if chunk.offset > expected:
                self._check_gap(expected, chunk.offset)
            rows += chunk.records
            expected = max(expected, chunk.end)
            found.append(chunk)
        return found

    def _check_gap(self, expected: int, found: int) -> None:
        """Offsets may have gaps; what was deleted is one at the beginning of the stream."""
        first = ends(self._connection, self._stream, Seek.FIRST)
        if first is None or first.offset > expected:
            raise gone(self.partition, expected, found)

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
