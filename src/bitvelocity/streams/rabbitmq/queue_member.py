"""A member of a group on RabbitMQ's queues: one of those among whom a queue hands out its records."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import BusError, FencedError
from ..bus import Fetched, Partition
from ..refusals import has_left
from .address import Address
from .amqp import Amqp, Channel
from .queue_records import fetched

PREFETCH = 2000
"""Records of a topic that a member may have without having acknowledged them."""

Make = Callable[[Amqp, str, str], None]
"""Makes the queue of a group, for a topic."""


class QueueMember:
    """Has records until it commits or rejects them; those of a member that is gone are handed out again.

    Offsets number what this member was given, per topic, from 1 on; they go on over a lost connection, but what was given
    before can be committed no more: it comes again.
    """

    def __init__(self, address: Address, group: str, topics: Sequence[str], make: Make) -> None:
        self._address, self._group, self._topics, self._make = address, group, topics, make
        self._news = threading.Condition()
        self._inlets: dict[str, Inlet] = {}
        self._amqp: Amqp | None = None
        self._generation = 0
        self._given: dict[str, int] = dict.fromkeys(topics, 0)
        self._closed = False
        self._connect()

    def poll(self, timeout: float = 1.0, *, limit: int = 10_000) -> Sequence[Fetched]:
        self._check_open()
        if not self._alive():
            self._connect()
        deadline = time.monotonic() + timeout
        with self._news:
            while not any(inlet.arrived for inlet in self._inlets.values()):
                left = deadline - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    break
                if not self._alive():
                    break
            return self._taken(limit)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Acknowledge all that was given below these offsets."""
        inlets = [(self._inlet(partition, [offset - 1]), offset) for partition, offset in offsets.items()]
        for inlet, offset in inlets:
            inlet.acknowledge(offset)
        for inlet, _ in inlets:
            inlet.settle()

    def reject(self, partition: Partition, offsets: Sequence[int], *, again: bool) -> None:
        inlet = self._inlet(partition, offsets)
        inlet.reject(offsets, again=again)
        inlet.settle()

    def seek(self, partition: Partition, offset: int) -> None:
        raise refused(f"A queue cannot go to record {offset}: what was acknowledged is gone.", partition.topic)

    @property
    def assigned(self) -> Mapping[Partition, int]:
        return {Partition(topic, 0): self._generation for topic in self._inlets}

    def close(self) -> None:
        """What was not committed is handed out again, to others, at once."""
        self._closed = True
        self._inlets.clear()
        if self._amqp is not None:
            self._amqp.close()

    def _check_open(self) -> None:
        if self._closed:
            raise has_left(self._group)

    def _alive(self) -> bool:
        """A server that has just come back may end single channels: it had not found their queues yet."""
        return self._amqp is not None and not self._amqp.lost and all(inlet.alive for inlet in self._inlets.values())

    def _connect(self) -> None:
        """A new connection; what was given over the old one is handed out again."""
        if self._amqp is not None:
            self._given = {topic: inlet.given for topic, inlet in self._inlets.items()} or self._given
            self._amqp.close()
            self._inlets = {}
        amqp = self._amqp = Amqp(self._address, name=f"bitvelocity {self._group}")
        try:
            self._inlets = {topic: self._open(amqp, topic) for topic in self._topics}
        except BaseException:
            amqp.close()
            raise
        self._generation += 1

    def _open(self, amqp: Amqp, topic: str) -> Inlet:
        queue = f"{topic}.{self._group}"
        self._make(amqp, topic, queue)
        return Inlet(amqp.channel(), [queue, f"{topic}.unclaimed"], self._news, self._given[topic])

    def _taken(self, limit: int) -> list[Fetched]:
        found = []
        for topic, inlet in self._inlets.items():
            deliveries = inlet.take(limit)
            if deliveries:
                found.append(Fetched(Partition(topic, 0), fetched(deliveries), self._generation))
                limit -= len(deliveries)
            if limit <= 0:
                break
        return found

    def _inlet(self, partition: Partition, offsets: Sequence[int]) -> Inlet:
        """What a partition's records come through; those of an earlier connection are not ours any more."""
        inlet = self._inlets.get(partition.topic)
        if self._amqp is not None and self._amqp.lost and not self._closed:
            raise self._amqp.lost
        if inlet is None or partition.number or any(offset < inlet.first - 1 or offset > inlet.given for offset in offsets):
            raise FencedError(
                "These records were not given to this member, or are not its own any more.", entity=partition.topic,
                safe="Nothing was acknowledged; they are handed out again.", remedy="Go on with the next poll.",
            )  # fmt: skip
        return inlet


class Inlet:
    """The deliveries of one topic over one channel, numbered on from what was given before."""

    def __init__(self, channel: Channel, queues: Sequence[str], news: threading.Condition, given: int) -> None:
        self.first = given + 1
        self.given = given
        self.arrived: deque[tuple[int, Any, bytes]] = deque()
        self._before = given
        self._channel = channel
        self._news = news
        self._open: dict[int, None] = {}

        channel.ask("basic_qos", prefetch_count=PREFETCH)
        for queue in queues:
            channel.ask("basic_consume", queue=queue, on_message_callback=self._on_message)

    @property
    def alive(self) -> bool:
        return self._channel.alive

    def take(self, limit: int) -> list[tuple[int, Any, bytes]]:
        """Up to `limit` of what has arrived."""
        found = [self.arrived.popleft() for _ in range(min(limit, len(self.arrived)))]
        if found:
            self.given = found[-1][0]
            self._open |= dict.fromkeys(offset for offset, _, _ in found)
        return found

    def acknowledge(self, end: int) -> None:
        """All that was given below `end`. At once, unless some of it was rejected before: a channel has its own order."""
        below = [offset for offset in self._open if offset < end]
        for offset in below:
            del self._open[offset]
        if below:
            tag = below[-1] - self._before
            self._channel.amqp.run(lambda: self._channel.raw.basic_ack(tag, multiple=True))

    def reject(self, offsets: Sequence[int], *, again: bool) -> None:
        tags = [offset - self._before for offset in offsets if self._open.pop(offset, 0) is None]

        def rejecting() -> None:
            for tag in tags:
                self._channel.raw.basic_reject(tag, requeue=again)

        self._channel.amqp.run(rejecting)

    def settle(self) -> None:
        """Return when the broker has taken what was said: a question on the same channel is answered after it."""
        self._channel.ask("basic_qos", prefetch_count=PREFETCH)

    def _on_message(self, _raw: Any, method: Any, properties: Any, body: bytes) -> None:
        with self._news:
            self.arrived.append((self._before + method.delivery_tag, properties, body))
            self._news.notify_all()


def refused(what: str, entity: str) -> BusError:
    return BusError(what, entity=entity, safe="Nothing was done.", remedy="Ask the bus for its abilities first.")

