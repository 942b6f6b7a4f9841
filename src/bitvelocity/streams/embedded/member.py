"""A member of a group on the embedded transport."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import pyarrow as pa

from bitvelocity.errors import BusError, FencedError
from bitvelocity.streams.bus import Fetched, Partition, Start
from bitvelocity.streams.polling import first_found
from bitvelocity.streams.refusals import has_left, not_ours

from .gone import Older
from .groupfile import GroupFile, Seat
from .steps import Step
from .topicfile import TopicFile

WATCH_S = 0.25
"""How often a member looks whether the others live."""


class Room(Protocol):
    """What a member asks its bus for."""

    @property
    def groups(self) -> GroupFile: ...

    @property
    def older(self) -> Older | None: ...

    def topic(self, name: str) -> TopicFile: ...

    def at(self, step: Step) -> None: ...


class EmbeddedMember:
    """Reads the partitions that it has leased."""

    def __init__(self, room: Room, seat: Seat, leave: Callable[[], None], *, start: Start | None) -> None:
        self._room, self._seat, self._leave, self._start = room, seat, leave, start
        self._assigned: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._round = -1
        self._watched = 0.0
        self._closed = False

    def poll(self, timeout: float = 1.0, *, limit: int = 10_000) -> Sequence[Fetched]:
        if self._closed:
            raise has_left(self._seat.group)
        return first_found(lambda: self._look(limit), lambda rest: self._await_news(min(rest, WATCH_S)), timeout)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._closed:
            raise FencedError("The member has left its group.", entity=self._seat.group)
        if offsets:
            self._room.groups.commit(self._seat, offsets, self._assigned)
            self._room.at(Step.OFFSETS)

    def reject(self, partition: Partition, offsets: Sequence[int], *, again: bool) -> None:  # noqa: ARG002 - the seam's
        raise refused("hands no single records back", partition.topic)

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._assigned:
            raise not_ours(partition)
        self._next[partition] = offset

    @property
    def assigned(self) -> Mapping[Partition, int]:
        return dict(self._assigned)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._assigned = {}
            self._leave()

    def _look(self, limit: int) -> Sequence[Fetched]:
        self._settle()
        return self._fetch(limit)

    def _settle(self) -> None:
        """Look after leases, when something changed or it is time to."""
        now = time.monotonic()
        watch = now - self._watched >= min(WATCH_S, self._seat.lease_s / 3)
        if not watch and self._room.groups.round(self._seat.group) == self._round:
            return
        assigned = self._room.groups.settle(self._seat, watch=watch)
        for partition, generation in assigned.items():
            if self._assigned.get(partition) != generation:
                self._next[partition] = self._begin(partition)
                self._room.at(Step.LEASED)
        self._assigned = assigned  # not before all have begun: what fails is begun by the next poll
        self._round = self._room.groups.round(self._seat.group)
        self._watched = now if watch else self._watched

    def _begin(self, partition: Partition) -> int:
        told = self._start(partition) if self._start else None
        if told is None:
            told = self._room.groups.committed(self._seat.group, partition.topic).get(partition.number)
        return self._room.topic(partition.topic).spans()[partition.number].first if told is None else told

    def _fetch(self, limit: int) -> list[Fetched]:
        """The partition that was served last is asked last, so that none starves."""
        fetched: list[Fetched] = []
        for partition in sorted(self._assigned, key=list(self._next).index):
            try:
                table = self._read(partition, limit - sum(one.records.num_rows for one in fetched))
            except BusError:
                if fetched:
                    break  # it fails again; what comes before it is handed over first
                raise
            if table.num_rows:
                fetched.append(Fetched(partition, table, self._assigned[partition]))
                del self._next[partition]
                self._next[partition] = fetched[-1].next
            if sum(one.records.num_rows for one in fetched) >= limit:
                break
        return fetched

    def _read(self, partition: Partition, limit: int) -> pa.Table:
        topic = self._room.topic(partition.topic)
        return topic.read(partition.number, self._next[partition], limit, older=self._room.older)

    def _await_news(self, seconds: float) -> None:
        """Until something may have come, or the group may have changed."""
        deadline = time.monotonic() + seconds
        by_topic: dict[str, dict[int, int]] = {}
        for topic, number in self._assigned:
            by_topic.setdefault(topic, {})[number] = self._next[Partition(topic, number)]
        if len(by_topic) == 1:
            ((topic, ends),) = by_topic.items()
            self._room.topic(topic).await_news(ends, deadline)
            return
        pause = min(seconds, 0.002)
        while time.monotonic() < deadline:
            if any(self._room.topic(topic).await_news(ends, 0) for topic, ends in by_topic.items()):
                return
            time.sleep(pause)


def refused(what: str, entity: str) -> BusError:
    """A verb that the embedded transport does not have."""
    return BusError(f"The embedded transport {what}.", entity=entity, remedy="Ask its abilities first.")
