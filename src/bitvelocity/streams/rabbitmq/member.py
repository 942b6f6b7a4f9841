"""A member of a group on RabbitMQ's streams."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Collection, Mapping, Sequence

from ...errors import BusError, FencedError
from ..bus import Fetched, Partition, Start
from ..polling import first_found
from ..refusals import has_left, not_ours
from .address import Address
from .crew import Crew
from .cursor import Cursor, span, stream_of
from .group import Mark, committed_marks
from .links import Links

WATCH_S = 0.1
REFRESH_S = 60.0
"""How often a member that commits nothing writes its marks again, so that they stay in the group's stream."""


class StreamMember:
    """Reads the partitions whose leases it has. A connection that was lost is made anew by `poll`, and leases with it."""

    def __init__(self, address: Address, group: str, partitions: Sequence[Partition], *, start: Start | None) -> None:
        self._address, self._group, self._partitions, self._start = address, group, partitions, start
        self._links = Links(address)
        self._crew: Crew | None = Crew(address, group, partitions)
        self._marks: dict[Partition, Mark] = {}
        self._cursors: dict[Partition, Cursor] = {}
        self._next: dict[Partition, int] = {}
        self._news = threading.Event()
        self._written = time.monotonic()
        self._closed = False

    def poll(self, timeout: float = 1.0, *, limit: int = 10_000) -> Sequence[Fetched]:
        self._check_open()
        return first_found(lambda: self._look(limit), lambda rest: self._news.wait(min(rest, WATCH_S)), timeout)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if not offsets:
            return
        gone = [partition for partition in offsets if partition not in self._marks]
        if gone or self._closed or self._crew is None:
            raise FencedError(
                "The partition is not ours any more.", entity=_names(gone or offsets), safe="Nothing was committed.",
                remedy="Drop what was fetched of it; its new owner goes on from what is committed.",
            )  # fmt: skip
        marks = self._marks | {part: Mark(offset, self._marks[part].generation) for part, offset in offsets.items()}
        self._write(marks)

    def reject(self, partition: Partition, offsets: Sequence[int], *, again: bool) -> None:  # noqa: ARG002 - the seam's
        raise BusError(
            "A stream hands no single records back.", entity=partition.topic,
            remedy="Take the engine rabbitmq-queues for work that is acknowledged one by one.",
        )  # fmt: skip

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._marks:
            raise not_ours(partition)
        self._drop_cursors([partition])
        self._next[partition] = offset

    @property
    def assigned(self) -> Mapping[Partition, int]:
        return {partition: mark.generation for partition, mark in self._marks.items()}

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._marks.clear()
            if self._crew is not None:
                self._crew.close()
            self._links.close()

    def _check_open(self) -> None:
        if self._closed:
            raise has_left(self._group)

    def _look(self, limit: int) -> Sequence[Fetched]:
        self._news.clear()  # what comes from here on is seen by this look, or rings again
        self._settle()
        return self._fetch(limit)

    def _settle(self) -> None:
        """Give up what others should have, and take what should be ours and is free."""
        crew = self._connected()
        wanted = crew.wanted()
        if surplus := (set(self._marks) | crew.held) - wanted:
            self._drop(surplus)
            crew.give_up(surplus)
        if taken := crew.take(wanted - set(self._marks)):
            self._begin(taken)
        if self._marks and time.monotonic() - self._written > REFRESH_S:
            self._write(self._marks)

    def _connected(self) -> Crew:
        if self._crew is not None and self._crew.amqp.lost:
            self._crew.close()
            self._crew = None
            self._drop(list(self._marks))
        if self._crew is None:
            self._crew = Crew(self._address, self._group, self._partitions)
        return self._crew

    def _begin(self, taken: Sequence[Partition]) -> None:
        """Whoever had them can commit no more: what is committed now is all. Our generation goes in before we read."""
        try:
            held = committed_marks(self._links, self._group, taken)
            begun = {part: Mark(mark.offset, mark.generation + 1) for part in taken for mark in [held.get(part, Mark(-1, 0))]}
            self._write(self._marks | begun)
            for partition, mark in begun.items():
                self._next[partition] = self._first(partition, mark)
        except BaseException:
            self._drop(taken)
            if self._crew is not None:
                with contextlib.suppress(BusError):
                    self._crew.give_up(taken)
            raise

    def _first(self, partition: Partition, mark: Mark) -> int:
        told = self._start(partition) if self._start else None
        if told is None and mark.offset >= 0:
            told = mark.offset
        return span(self._links, stream_of(partition)).first if told is None else told

    def _write(self, marks: Mapping[Partition, Mark]) -> None:
        assert self._crew is not None
        self._crew.commit(marks)
        self._marks = dict(marks)
        self._written = time.monotonic()

    def _fetch(self, limit: int) -> list[Fetched]:
        """The partition that was served last is asked last, so that none starves."""
        fetched: list[Fetched] = []
        rows = 0
        for partition in list(self._next):
            try:
                table = self._cursor(partition).read(limit - rows, 0)
            except BusError:
                if fetched:
                    break  # it fails again; what comes before it is handed over first
                raise
            if table.num_rows:
                rows += table.num_rows
                fetched.append(Fetched(partition, table, self._marks[partition].generation))
                del self._next[partition]
                self._next[partition] = fetched[-1].next
            if rows >= limit:
                break
        return fetched

    def _cursor(self, partition: Partition) -> Cursor:
        known = self._cursors.get(partition)
        if known is None or not known.alive:
            known = Cursor(self._links, partition, self._next[partition], news=self._news)
            self._cursors[partition] = known
        return known

    def _drop(self, partitions: Collection[Partition]) -> None:
        self._drop_cursors(partitions)
        for partition in partitions:
            self._marks.pop(partition, None)
            self._next.pop(partition, None)

    def _drop_cursors(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            cursor = self._cursors.pop(partition, None)
            if cursor is not None:
                with contextlib.suppress(BusError):
                    cursor.close()


def _names(partitions: Collection[Partition]) -> str:
    return ", ".join(f"{topic}/{number}" for topic, number in sorted(partitions))
