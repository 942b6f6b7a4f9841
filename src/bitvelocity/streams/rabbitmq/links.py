"""The connections to the brokers of one RabbitMQ, each stream by the broker that leads it."""

from __future__ import annotations

import struct
import threading
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

import numpy as np

from ...errors import BusError, BusLostError
from ..refusals import closed
from .address import Address
from .connection import Connection
from .encoding import Binary, big_endian, join, lengths
from .flows import Producer
from .frames import Chunk, Command, Seek
from .topics import no_topic

WINDOW = 20_000
"""Records of a stream that may be unconfirmed; the server itself allows 50 000 of a connection."""
FRAME_HEAD = 64
CREDIT = 4
"""Chunks that the server may send before we have taken any: of about 1 MB at the most, mostly far smaller."""


@dataclass(slots=True)
class Links:
    """Connections that are opened when they are needed, and again after they were lost."""

    address: Address
    _open: dict[tuple[str, int], Connection] = field(default_factory=dict)
    _leaders: dict[str, tuple[str, int]] = field(default_factory=dict)
    _counts: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _closed: bool = False

    def any(self) -> Connection:
        """A connection to the broker that the address names."""
        return self._at((self.address.host, self.address.stream_port))

    def to(self, stream: str) -> Connection:
        """The connection to a stream's leader; to the address's broker where that cannot be reached from here."""
        with self._lock:
            leader = self._leaders.get(stream)
            if leader is None or (known := self._open.get(leader)) is None or known.lost:
                leader = self._leaders[stream] = self.any().leader(stream)
            try:
                return self._at(leader)
            except BusLostError:
                return self.any()

    def count(self, topic: str) -> int:
        """The partitions of a topic; an error if there is no such topic."""
        if not self.whole([topic]):
            raise no_topic(topic)
        return self._counts[topic]

    def whole(self, topics: Collection[str]) -> set[str]:
        """Those that are there. One that is being made, or whose maker was killed, is not: its first partition is bound last."""
        if unknown := [topic for topic in topics if topic not in self._counts]:
            found = self.any().partitions(unknown)
            self._counts |= {topic: len(streams) for topic, streams in found.items() if f"{topic}-0" in streams}
        return {topic for topic in topics if topic in self._counts}

    def close(self) -> None:
        with self._lock:
            self._closed = True
            connections = list(self._open.values())
            self._open.clear()
        for connection in connections:
            connection.close()

    def _at(self, place: tuple[str, int]) -> Connection:
        with self._lock:
            if self._closed:
                raise closed()
            found = self._open.get(place)
            if found is None or found.lost:
                found = self._open[place] = Connection(self.address, place)
            return found


def ends(connection: Connection, stream: str, seek: Seek) -> Chunk | None:
    """The first or the last chunk of a stream; None if it is empty."""
    subscription = connection.subscribe(stream, seek, credit=1)
    try:
        connection.barrier()
        return subscription.take(0)
    finally:
        subscription.close()


def chunks(connection: Connection, stream: str, offset: int) -> Iterator[Chunk]:
    """What a stream holds at this moment, from the chunk with an offset on. Nothing is guessed from a silence: what the
    server has to send comes before its answer to a later question."""
    subscription = connection.subscribe(stream, Seek.OFFSET, offset, credit=CREDIT)
    try:
        while True:
            connection.barrier()
            taken = 0
            while (chunk := subscription.take(0)) is not None:
                taken += 1
                yield chunk
            if not taken:
                return
            subscription.credit(taken)
    finally:
        if connection.lost is None:
            subscription.close()


def publish(producer: Producer, messages: Binary, first_id: int, *, topic: str) -> None:
    """Send messages, with ids from `first_id` on. They are durable once the producer has waited."""
    for data, count in _frames(producer, messages, first_id, topic):
        producer.send(data, count, window=WINDOW)


def _frames(producer: Producer, messages: Binary, first_id: int, topic: str) -> Iterator[tuple[bytes, int]]:
    """Frames as full as the server allows; each message has its id and its length before it."""
    room = producer.connection.frame_max - FRAME_HEAD
    sizes = lengths(messages)
    if len(sizes) and int(sizes.max()) + 12 > room:
        raise BusError(
            f"A record has {int(sizes.max())} bytes, and RabbitMQ takes {room} at most.",
            entity=topic,
            safe="Nothing of this partition was written.",
            remedy="Raise stream.frame_max in rabbitmq.conf, or send less.",
            code="RecordTooLarge",
        )
    ids = np.arange(first_id, first_id + len(sizes), dtype=np.uint64)
    content = join(big_endian(ids, ">u8"), big_endian(sizes, ">u4"), messages)
    stops = np.concatenate([[0], np.cumsum(sizes + 12)])
    body = memoryview(content.buffers()[2] or b"")[int(_first(content)) :]
    at = 0
    while at < len(sizes):
        to = int(np.searchsorted(stops, stops[at] + room, side="right")) - 1
        part = body[int(stops[at]) : int(stops[to])]
        head = struct.pack("!IHHBI", 9 + len(part), Command.PUBLISH, 1, producer.number, to - at)
        yield b"".join((head, part)), to - at
        at = to


def _first(content: Binary) -> int:
    """Where an array's bytes begin in its buffer."""
    offsets = content.buffers()[1]
    return int(np.frombuffer(offsets, np.int64)[content.offset]) if offsets else 0
