"""The bus over NATS JetStream."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from ...errors import BusError
from ..bus import RECORD_SCHEMA, Abilities, Partition, Published, Span, Start, Topic
from ..placing import partition_of
from . import groups, reading, stored, writing
from .buckets import Bucket
from .client import Login
from .line import Line
from .member import LOOK_S, NatsMember
from .names import GROUPS, NOBODY, PUBLISHERS, check_topic, stream_of, wake_of
from .publisher import NatsPublisher, take_over
from .refusals import RefusedError, failed, no_topic
from .stored import Layout
from .waiting import every
from .writing import MARKED, Batch

Given = TypeVar("Given")
ABILITIES = Abilities(compaction=False, transactions=False)


class NatsBus:
    """Topics on a NATS server of version 2.12 or newer, with JetStream.

    `servers`: addresses, tried in order; `nats://host`, or `tls://host`. `login`: who we are, unless that is in the address.
    `tls`: whom we trust; with it, or `tls://`, nothing is said without TLS. `replicas`: of the buckets in which groups and
    publishers are kept. `lease`: after so many seconds without a sign of life a member loses its partitions.
    """

    def __init__(
        self, servers: str | Sequence[str], *, login: Login | None = None, tls: ssl.SSLContext | None = None, replicas: int = 1,
        lease: float = 10.0,
    ) -> None:  # fmt: skip
        listed = servers.split(",") if isinstance(servers, str) else list(servers)
        self._line = Line(listed, login=login or Login(), tls=tls)
        self._groups = Bucket(self._line, GROUPS, replicas=replicas)
        self._publishers = Bucket(self._line, PUBLISHERS, replicas=replicas)
        self._lease = lease
        self._layouts: dict[str, Layout] = {}
        self._guard = threading.Lock()

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def ensure(self, topic: Topic) -> None:
        check_topic(topic.name)
        if topic.compacted:
            raise BusError(
                "NATS keeps the last message of a subject, not of a key: it cannot compact a topic.",
                entity=topic.name, safe="Nothing was made.",
                remedy="Give the topic a `retention`, or put it on Kafka or the embedded transport.",
            )  # fmt: skip
        self._line.run(self._ensure(topic))

    def held(self, wanted: Topic) -> Topic | None:
        return self._line.run(stored.held(self._line, wanted))

    def topics(self) -> Mapping[str, int]:
        return self._line.run(self._topics())

    def append(self, topic: str, records: pa.Table) -> Published:
        layout = self._layout(topic)
        greatest = self._line.run(self._line.greatest())
        ready = [
            (Partition(topic, number), list(writing.cut(layout, part, greatest)))
            for number, part in _by_partition(layout, records.cast(RECORD_SCHEMA))
        ]
        return Published(self._line.run(self._append(layout, ready)), records.num_rows)

    def read(
        self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0
    ) -> pa.Table:
        layout = self._layout(partition.topic)
        _check_partition(layout, partition)
        work = reading.read
        table = self._line.run(work(self._line, layout, partition, offset, limit=limit, fresh=True))
        if table.num_rows or timeout <= 0:
            return table
        deadline = time.monotonic() + timeout
        bell = self._line.hang([wake_of(partition)])
        try:
            while not table.num_rows and (left := deadline - time.monotonic()) > 0:
                bell.wait(min(left, LOOK_S))
                table = self._line.run(work(self._line, layout, partition, offset, limit=limit, fresh=False))
        finally:
            bell.close()
        return table

    def spans(self, topic: str) -> Mapping[int, Span]:
        layout = self._layout(topic)
        return dict(
            enumerate(self._line.run(_each(layout, lambda part: stored.span(self._line, layout, part))))
        )

    def seek_time(self, topic: str, at: datetime) -> Mapping[int, int]:
        layout = self._layout(topic)
        stamp = pa.scalar(at, pa.timestamp("us", "UTC")).cast(pa.int64()).as_py()
        found = self._line.run(_each(layout, lambda part: reading.first_since(self._line, layout, part, stamp)))
        return dict(enumerate(found))

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        return groups.committed(self._line.run(self._groups.get(group))[1], topic)

    def publisher(self, name: str) -> NatsPublisher:
        generation = self._line.run(take_over(self._line, self._publishers, name, self._found))
        return NatsPublisher(
            self._line, self._publishers, name, generation, layout=self._layout, parts=_by_partition
        )

    def member(self, group: str, topics: Sequence[str], *, start: Start | None = None) -> NatsMember:
        layouts = {topic: self._layout(topic) for topic in topics}
        return NatsMember(self._line, self._groups, group, layouts, start=start, lease=self._lease)

    def forget(self, partition: Partition, offset: int) -> None:
        """Let go of the records before an offset at once, where retention would take its time."""
        layout = self._layout(partition.topic)
        self._line.run(reading.forget(self._line, layout, partition, offset))

    def close(self) -> None:
        self._line.close()

    def _layout(self, topic: str) -> Layout:
        """How the topic lies; that never changes, so it is asked once."""
        with self._guard:
            if topic not in self._layouts:
                found = self._line.run(self._found(topic))
                if found is None:
                    raise no_topic(topic)
                self._layouts[topic] = found
            return self._layouts[topic]

    async def _found(self, topic: str) -> Layout | None:
        check_topic(topic)
        info = await stored.stream(self._line, Partition(topic, 0))
        if info is None:
            return None
        facts = info["config"].get("metadata", {})
        if facts.get("bv-topic") != topic:
            raise BusError(
                f"There is a stream {stream_of(Partition(topic, 0))} that is not ours.", entity=topic,
                safe="It was not touched.", remedy="Choose another name for the topic.",
            )  # fmt: skip
        return Layout(topic, int(facts["bv-partitions"]), facts["bv-packed"] == "true")

    async def _ensure(self, topic: Topic) -> None:
        found = await self._found(topic.name)
        if found is not None and (found.partitions, found.packed) != (topic.partitions, topic.packed):
            raise BusError(
                f"The topic has {found.partitions} partitions and is {'' if found.packed else 'not '}packed; "
                "neither can change: keys would leave their order, and offsets their meaning.",
                entity=topic.name, safe="It is as it was.",
                remedy="Make a topic of another name, and let readers go over to it when they have read this one.",
            )  # fmt: skip
        for number in reversed(range(topic.partitions)):  # the first one tells of the topic: it comes last
            await self._ensure_stream(topic, number)

    async def _ensure_stream(self, topic: Topic, number: int) -> None:
        wanted = stored.config_of(topic, number)
        try:
            info = await stored.stream(self._line, Partition(topic.name, number))
            if info is None:
                await self._line.api(f"STREAM.CREATE.{wanted['name']}", **wanted)
            elif (config := {**info["config"], **_changeable(wanted, info["config"])}) != info["config"]:
                await self._line.api(f"STREAM.UPDATE.{wanted['name']}", **config)
        except RefusedError as refused:
            raise failed(refused, topic.name) from refused

    async def _topics(self) -> dict[str, int]:
        found: dict[str, int] = {}
        seen, total = 0, 1
        while seen < total:
            said = await self._line.api("STREAM.LIST", offset=seen)
            streams = said.get("streams") or []
            seen, total = seen + max(1, len(streams)), said["total"]
            for facts in (one["config"].get("metadata", {}) for one in streams):
                if facts.get("bv-partition") == "0":
                    found[facts["bv-topic"]] = int(facts["bv-partitions"])
        return found

    async def _append(self, layout: Layout, ready: list[tuple[Partition, list[Batch]]]) -> dict[Partition, int]:
        lasts = await every(self._write(partition, batches) for partition, batches in ready)
        await self._line.tell(wake_of(partition) for partition, _ in ready)
        return {
            partition: layout.after(last, batches[-1].last_rows)
            for (partition, batches), last in zip(ready, lasts, strict=True)
        }

    async def _write(self, partition: Partition, batches: Sequence[Batch]) -> int:
        """One batch after the other: when one fails, none comes after it."""
        last = 0
        for batch in batches:
            marked = batch.rows >= MARKED or batch.packed
            try:
                last = await writing.write(self._line, partition, batch, writer=NOBODY if marked else None)
            except RefusedError as refused:
                raise failed(refused, partition.topic) from refused
        return last


async def _each(layout: Layout, work: Callable[[Partition], Awaitable[Given]]) -> list[Given]:
    return await every(work(Partition(layout.topic, number)) for number in range(layout.partitions))


def _by_partition(layout: Layout, table: pa.Table) -> list[tuple[int, pa.Table]]:
    """The rows of each partition that has any, in their order."""
    if layout.partitions == 1 or not table.num_rows:
        return [(0, table)] if table.num_rows else []
    numbers = partition_of(table["key"], layout.partitions)
    return [(int(number), table.take(np.flatnonzero(numbers == number))) for number in np.unique(numbers)]


def _changeable(wanted: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """What is brought to what is wanted; copies never become fewer: somebody had a reason for them."""
    bounds = {name: wanted[name] for name in ("max_age", "max_bytes", "duplicate_window")}
    return {**bounds, "num_replicas": max(wanted["num_replicas"], now["num_replicas"])}


def _check_partition(layout: Layout, partition: Partition) -> None:
    if not 0 <= partition.number < layout.partitions:
        raise BusError(f"The topic has no partition {partition.number}.", entity=layout.topic)
