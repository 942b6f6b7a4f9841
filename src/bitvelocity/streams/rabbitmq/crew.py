"""The members of a group and who of them reads what: queues that are exclusively one connection's, and die with it.

- A member is there as long as its queue is: a word to a queue that is gone comes back.
- A partition is read by whoever has its lease, a queue that only one connection can have.
- What is committed goes over the connection that holds the lease. A member that was cut off, whose leases others have
  taken, has no such connection any more: this is the fence.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pika

from ...errors import BusError
from ..bus import Partition
from ..groups import shared_out
from .address import Address
from .amqp import LOCKED, Amqp, Channel, Message
from .group import ARGUMENTS, Mark, encode_marks, group_stream
from .topics import declare_stream

PING_S = 0.5
"""How often a member looks whether the others live."""
RETRY_S = 0.1
"""How often it asks for a lease that another has not given up yet."""


class Crew:
    """One member's place in its group, over a connection of its own."""

    def __init__(self, address: Address, group: str, partitions: Sequence[Partition]) -> None:
        self.name = uuid.uuid4().hex
        self.held: frozenset[Partition] = frozenset()
        self._group = group
        self._partitions = partitions
        self._lock = threading.Lock()
        self._others: dict[str, tuple[set[str], set[Partition]]] = {}
        self._pinged = self._tried = 0.0
        self.amqp = Amqp(address, name=f"bitvelocity {group}")
        try:
            declare_stream(self.amqp, group_stream(group), ARGUMENTS)
            self._words = self._join()
            self._marks = self.amqp.channel(confirms=True)
            self._leases: Channel | None = None
            self._tell()
        except BaseException:
            self.amqp.close()
            raise

    def wanted(self) -> set[Partition]:
        """The partitions that should be ours, as far as we know who is there and who has what."""
        now = time.monotonic()
        if now - self._pinged >= PING_S:
            self._pinged = now
            self._ping()
        with self._lock:
            members: dict[str, Collection[str]] = {name: topics for name, (topics, _) in self._others.items()}
            owners: dict[Partition, str | None] = dict.fromkeys(self._partitions)
            for name, (topics, held) in self._others.items():
                owners |= dict.fromkeys((part for part in held if part.topic in topics), name)
        owners |= dict.fromkeys(self.held, self.name)
        members[self.name] = {partition.topic for partition in self._partitions}
        return {partition for partition, name in shared_out(members, owners).items() if name == self.name}

    def take(self, partitions: Collection[Partition]) -> list[Partition]:
        """Those of the partitions whose lease we could get."""
        now = time.monotonic()
        if not partitions or now - self._tried < RETRY_S:
            return []
        self._tried = now
        taken = [partition for partition in sorted(partitions) if self._lease(partition)]
        if taken:
            self.held = self.held.union(taken)  # the connection's thread tells of it meanwhile
            self._tell()
        if len(taken) == len(partitions):
            self._tried = 0.0
        return taken

    def give_up(self, partitions: Collection[Partition]) -> None:
        for partition in partitions:
            self._channel().ask("queue_delete", queue=self._queue(partition))
        self.held = self.held.difference(partitions)
        self._tell()

    def commit(self, marks: Mapping[Partition, Mark]) -> None:
        """Durable when it returns."""
        message = Message("", group_stream(self._group), _DURABLE, encode_marks(self.name, marks))
        nacked, _ = self._marks.publish([message])
        if nacked:
            raise BusError("RabbitMQ did not take the offsets.", entity=self._group, safe="Nothing was committed.")

    def close(self) -> None:
        if self.amqp.lost is None:
            with contextlib.suppress(BusError):
                self._tell(gone=True)
        self.amqp.close()

    def _join(self) -> Channel:
        """Our queue, which hears what is told to all and to us."""
        channel, queue = self.amqp.channel(), self._member(self.name)
        words = {"exchange": self._exchange, "exchange_type": "fanout", "durable": True}
        channel.ask("exchange_declare", **words)
        channel.ask("queue_declare", queue=queue, exclusive=True)
        channel.ask("queue_bind", queue=queue, exchange=self._exchange)
        channel.raw.add_on_return_callback(self._on_return)
        self.amqp.run(lambda: channel.raw.basic_consume(queue, self._on_word, auto_ack=True, exclusive=True))
        return channel

    def _tell(self, *, gone: bool = False) -> None:
        body = self._greeting(gone=gone)
        self.amqp.run(lambda: self._words.raw.basic_publish(self._exchange, "", body))

    def _ping(self) -> None:
        """A word to each of the others; one that comes back tells that its reader has gone."""
        with self._lock:
            others = list(self._others)
        body = self._greeting()

        def pinging() -> None:
            for name in others:
                self._words.raw.basic_publish("", self._member(name), body, mandatory=True)

        if others:
            self.amqp.run(pinging)

    def _greeting(self, *, gone: bool = False) -> bytes:
        topics = sorted({partition.topic for partition in self._partitions})
        held = [] if gone else sorted(self.held)
        return json.dumps({"name": self.name, "topics": topics, "held": held, "gone": gone}).encode()

    def _on_word(self, raw: Any, _method: Any, _properties: Any, body: bytes) -> None:
        """Somebody tells of itself; whoever is new is answered. In the connection's thread."""
        word = json.loads(body)
        if word["name"] == self.name:
            return
        with self._lock:
            known = word["name"] in self._others
            if word["gone"]:
                self._others.pop(word["name"], None)
                return
            self._others[word["name"]] = (set(word["topics"]), {Partition(*held) for held in word["held"]})
        if not known:
            raw.basic_publish("", self._member(word["name"]), self._greeting(), mandatory=True)

    def _on_return(self, _raw: Any, method: Any, _properties: Any, _body: bytes) -> None:
        with self._lock:
            self._others = {
                name: word for name, word in self._others.items() if self._member(name) != method.routing_key
            }

    def _lease(self, partition: Partition) -> bool:
        try:
            self._channel().ask("queue_declare", queue=self._queue(partition), exclusive=True)
        except BusError as refused:
            if refused.code == LOCKED:  # another connection has it
                return False
            raise
        return True

    def _channel(self) -> Channel:
        if self._leases is None or not self._leases.alive:
            self._leases = self.amqp.channel()
        return self._leases

    @property
    def _exchange(self) -> str:
        return f"bv-crew-{self._group}"

    def _member(self, name: str) -> str:
        return f"bv-member-{self._group}-{name}"

    def _queue(self, partition: Partition) -> str:
        return f"bv-lease-{self._group}-{partition.topic}-{partition.number}"


_DURABLE = pika.BasicProperties(delivery_mode=2, content_type="application/json")
