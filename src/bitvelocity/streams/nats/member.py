"""A member of a group: its leases in the group's document, its position in each partition with itself."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Mapping, Sequence
from functools import partial

import pyarrow as pa

from ...errors import BusError, FencedError
from ..bus import Fetched, Partition, Start
from ..polling import first_found
from ..refusals import has_left, not_ours
from . import groups, reading, stored
from .buckets import Bucket
from .line import Line
from .names import wake_of
from .waiting import every

LOOK_S = 0.25
"""How long an idle member waits for a call before it looks by itself: clients that are not ours call nobody."""


class NatsMember:
    """Polls only what it has leased; leases are looked after in `poll`."""

    def __init__(
        self, line: Line, bucket: Bucket, group: str, layouts: Mapping[str, stored.Layout],
        *, start: Start | None, lease: float,
    ) -> None:  # fmt: skip
        self._line, self._bucket, self._group, self._layouts = line, bucket, group, layouts
        self._start, self._lease = start, lease
        self._topics = {name: layout.partitions for name, layout in layouts.items()}
        self._name = uuid.uuid4().hex
        self._watch = groups.Watch(lease)
        self._assigned: dict[Partition, int] = {}
        self._next: dict[Partition, int] = {}
        self._fresh: set[Partition] = set()
        self._beaten = self._settled = 0.0
        self._closed = False
        self._bell = line.hang([bucket.subject(group), *self._wakes()])
        self._changed = line.hang([bucket.subject(group)])

    def poll(self, timeout: float = 1.0, *, limit: int = 10_000) -> Sequence[Fetched]:
        if self._closed:
            raise has_left(self._group)
        return first_found(
            lambda: self._look(limit), lambda rest: self._bell.wait(min(rest, LOOK_S, self._lease / 3)), timeout
        )

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        if self._closed:
            raise FencedError("The member has left its group.", entity=self._group)
        if offsets:
            moved = dict(offsets)
            change = partial(groups.commit, me=self._name, offsets=moved, ours=dict(self._assigned))
            self._line.run(self._bucket.change(self._group, change))

    def reject(self, partition: Partition, offsets: Sequence[int], *, again: bool) -> None:  # noqa: ARG002
        raise BusError(
            "The NATS transport hands no single records back.", entity=partition.topic,
            remedy="Ask its abilities first (`acknowledges`).",
        )  # fmt: skip

    def seek(self, partition: Partition, offset: int) -> None:
        if partition not in self._assigned:
            raise not_ours(partition)
        self._next[partition] = offset
        self._fresh.add(partition)

    @property
    def assigned(self) -> Mapping[Partition, int]:
        return dict(self._assigned)

    def close(self) -> None:
        if self._closed:
            return
        self._closed, self._assigned = True, {}
        self._bell.close()
        self._changed.close()
        with contextlib.suppress(BusError):  # then its lease runs out
            self._line.run(self._bucket.change(self._group, partial(groups.leave, me=self._name)))

    def _wakes(self) -> list[str]:
        return [
            wake_of(Partition(topic, number))
            for topic, count in self._topics.items()
            for number in range(count)
        ]

    def _look(self, limit: int) -> Sequence[Fetched]:
        self._settle()
        return self._fetch(limit)

    def _settle(self) -> None:
        """Look after the leases, and begin where partitions are new."""
        now = time.monotonic()
        beat = now - self._beaten >= self._lease / 3
        if not (beat or self._changed.wait(0) or now - self._settled >= LOOK_S):
            return
        change = partial(groups.settle, me=self._name, topics=self._topics, watch=self._watch, beat=beat)
        assigned = self._line.run(self._bucket.change(self._group, change))
        begun = {one: self._begin(one) for one, number in assigned.items() if self._assigned.get(one) != number}
        self._assigned = assigned  # not before all have begun: what fails is begun by the next poll
        self._beaten, self._settled = now if beat else self._beaten, now
        self._next = {one: begun[one] if one in begun else self._next[one] for one in assigned}
        self._fresh.update(begun)

    def _begin(self, partition: Partition) -> int:
        told = self._start(partition) if self._start else None
        if told is None:
            _, document = self._line.run(self._bucket.get(self._group))
            told = groups.committed(document, partition.topic).get(partition.number)
        if told is None:
            told = self._line.run(stored.span(self._line, self._layouts[partition.topic], partition)).first
        return told

    def _fetch(self, limit: int) -> list[Fetched]:
        """All partitions are asked at once, each for its share."""
        if not self._assigned:
            return []
        tables = self._line.run(self._read(max(1, limit // len(self._assigned))))
        fetched = []
        for partition, table in tables.items():
            if table.num_rows:
                fetched.append(Fetched(partition, table, self._assigned[partition]))
                self._next[partition] = fetched[-1].next
            self._fresh.discard(partition)
        return fetched

    async def _read(self, share: int) -> dict[Partition, pa.Table]:
        tables = await every(
            (
                reading.read(
                    self._line, self._layouts[partition.topic], partition, offset,
                    limit=share, fresh=partition in self._fresh,
                )
                for partition, offset in self._next.items()
            )
        )  # fmt: skip
        return dict(zip(self._next, tables, strict=True))
