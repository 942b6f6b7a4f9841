"""Topics as RabbitMQ's super streams: logs that are read again by offset, at the speed of batches."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...errors import BusError, BusLostError
from ..bus import Abilities, Member, Partition, Published, Publisher, Span, Start, Topic
from ..placing import partition_of
from ..refusals import closed
from .address import parse_address
from .amqp import Amqp, patiently
from .cursor import Cursor, span, stream_of
from .encoding import encode
from .flows import Producer
from .frames import Seek
from .group import committed_marks
from .links import Links, publish
from .member import StreamMember
from .publisher import StreamPublisher
from .topics import (
    add_entry,
    entries,
    entry_of,
    held,
    listed,
    make_super_stream,
    partitions_differ,
    same_topic,
)

ABILITIES = Abilities(timestamps="ms")
CURSORS = 32
"""Positions that are held open for whoever reads on."""
SKEW = timedelta(minutes=1)
"""By so much a record may be younger than the server's clock said when it was appended."""


class RabbitStreams:
    """A bus over RabbitMQ's streams (3.9 or newer, with the plugin `rabbitmq_stream`).

    `address`: `amqp://user:password@host:5672/vhost?stream_port=5552`, or `amqps://`; `tls`: whom we trust. `Topic.packed` changes nothing here: records
    are encoded by column, and stay readable by every client of streams.
    """

    def __init__(
        self, address: str, *, user: str = "", password: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self._address = parse_address(address, user=user, password=password, trust=tls)
        self._links = Links(self._address)
        self._lock = threading.Lock()
        self._appending = threading.Lock()
        self._amqp: Amqp | None = None
        self._closed = False
        self._producers: dict[str, Producer] = {}
        self._cursors: dict[tuple[Partition, int], Cursor] = {}

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def ensure(self, topic: Topic) -> None:
        """Make the super stream. Bounds of one that is there can be changed by a policy of RabbitMQ only."""
        if topic.compacted:
            raise BusError(
                "RabbitMQ's streams are not compacted.", entity=topic.name, safe="Nothing was made.",
                remedy="Make the topic without `compacted`, or take a transport that compacts.",
            )  # fmt: skip
        patiently(lambda: self._ensure(topic))

    def _ensure(self, topic: Topic) -> None:
        wanted, amqp = entry_of(topic, "stream"), self._control()
        held = listed(amqp, "stream").get(topic.name)
        if held is None:
            there = self._links.any().partitions([topic.name])[topic.name]
            if there and len(there) != topic.partitions:
                raise partitions_differ(topic.name, len(there), topic.partitions)
            add_entry(amqp, wanted)  # before it is made: whoever is killed now, or comes at the same time, goes on with it
            held = entries(amqp, "stream")[topic.name]
            if there:
                return
        same_topic(held, wanted)
        make_super_stream(amqp, held)

    def held(self, wanted: Topic) -> Topic | None:
        """As the catalogue has it; a policy may say otherwise."""
        return patiently(lambda: held(self._control(), wanted, "stream", f"{wanted.name}-0"))

    def topics(self) -> Mapping[str, int]:
        held = patiently(lambda: listed(self._control(), "stream"))
        whole = self._links.whole(held)
        return {name: entry.partitions for name, entry in held.items() if name in whole}

    def append(self, topic: str, records: pa.Table) -> Published:
        parts = _by_partition(topic, records, self._links.count(topic))
        with self._appending:
            try:
                producers = {part: self._producer(stream_of(part)) for part in parts}
                for part, rows in parts.items():
                    publish(producers[part], encode(rows), 1, topic=topic)
                for producer in producers.values():
                    producer.wait()
            except BusError:
                self._drop_producers()
                raise
        ends = {part: span(self._links, stream_of(part)).end for part in parts}
        return Published(ends, records.num_rows)

    def read(
        self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0
    ) -> pa.Table:
        self._links.count(partition.topic)
        with self._lock:
            cursor = self._cursors.pop((partition, offset), None)
        if cursor is None or not cursor.alive:
            cursor = Cursor(self._links, partition, offset)
        try:
            table = cursor.read(limit, timeout)
        except BusError:
            with contextlib.suppress(BusError):
                cursor.close()
            raise
        self._keep(cursor)
        return table

    def spans(self, topic: str) -> Mapping[int, Span]:
        count = self._links.count(topic)
        return {number: span(self._links, stream_of(Partition(topic, number))) for number in range(count)}

    def seek_time(self, topic: str, at: datetime) -> Mapping[int, int]:
        """Chunks are found by the time at which they were appended, and then read for the time of their records.

        A record that claims to be more than a minute younger than its appending is found only from a time that lies in
        the future.
        """
        moment = int((at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
        return {
            number: self._since(Partition(topic, number), held, moment) for number, held in self.spans(topic).items()
        }

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        parts = [Partition(topic, number) for number in range(self._links.count(topic))]
        held = committed_marks(self._links, group, parts)
        return {part.number: mark.offset for part, mark in held.items() if mark.offset >= 0}

    def publisher(self, name: str) -> Publisher:
        return patiently(lambda: StreamPublisher(self._address, self._control(), name))

    def member(self, group: str, topics: Sequence[str], *, start: Start | None = None) -> Member:
        parts = [Partition(topic, number) for topic in topics for number in range(self._links.count(topic))]
        return patiently(lambda: StreamMember(self._address, group, parts, start=start))

    def close(self) -> None:
        self._links.close()
        with self._lock:
            self._closed = True
            amqp, self._amqp = self._amqp, None
        if amqp is not None:
            amqp.close()

    def _control(self) -> Amqp:
        with self._lock:
            if self._closed:
                raise closed()
            if self._amqp is None or self._amqp.lost:
                self._amqp = Amqp(self._address)
            return self._amqp

    def _producer(self, stream: str) -> Producer:
        known = self._producers.get(stream)
        if known is None or known.connection.lost:
            known = self._producers[stream] = self._links.to(stream).producer(stream)
        return known

    def _drop_producers(self) -> None:
        """What is left open has a number of its connection, of which there are few."""
        producers, self._producers = list(self._producers.values()), {}
        for producer in producers:
            with contextlib.suppress(BusError):
                producer.close()

    def _keep(self, cursor: Cursor) -> None:
        """For whoever reads on from there; the one that was not asked for the longest is given up."""
        with self._lock:
            dropped = [self._cursors.pop((cursor.partition, cursor.offset), None)]
            self._cursors[(cursor.partition, cursor.offset)] = cursor
            if len(self._cursors) > CURSORS:
                dropped.append(self._cursors.pop(next(iter(self._cursors))))
        for one in dropped:
            if one is not None:
                with contextlib.suppress(BusLostError):
                    one.close()

    def _since(self, partition: Partition, held: Span, moment: int) -> int:
        offset = self._chunk_of(partition, moment) if moment < time.time_ns() // 1000 else held.first
        while offset is not None and offset < held.end:
            table = self.read(partition, offset, timeout=5.0)
            if not table.num_rows:
                break
            stamps: Any = table["timestamp"].cast(pa.int64())
            late = np.flatnonzero(np.asarray(pc.fill_null(stamps, 0)) >= moment)
            if len(late):
                return int(table["offset"][int(late[0])].as_py())
            offset = int(table["offset"][-1].as_py()) + 1
        return held.end

    def _chunk_of(self, partition: Partition, moment: int) -> int | None:
        """The first chunk that may hold a record of that time."""
        stream = stream_of(partition)
        connection = self._links.to(stream)
        since = moment // 1000 - int(SKEW / timedelta(milliseconds=1))
        subscription = connection.subscribe(stream, Seek.TIMESTAMP, since, credit=1)
        try:
            connection.barrier()
            chunk = subscription.take(0)
        finally:
            subscription.close()
        return chunk.offset if chunk else None


def _by_partition(topic: str, records: pa.Table, count: int) -> Mapping[Partition, pa.Table]:
    if count == 1:
        return {Partition(topic, 0): records} if records.num_rows else {}
    numbers = partition_of(records["key"], count)
    return {
        Partition(topic, int(number)): records.take(np.flatnonzero(numbers == number))
        for number in np.unique(numbers)
    }

