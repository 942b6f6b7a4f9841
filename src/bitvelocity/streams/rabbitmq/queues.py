"""Topics as RabbitMQ's quorum queues: work that is handed out, acknowledged, tried again, and set apart.

| topic | in RabbitMQ |
|---|---|
| `orders` | an exchange (fanout) `orders`, what comes to it goes to the queue of each group |
| group `mail` | a quorum queue `orders.mail`, made by the first member of the group |
| before any group | a quorum queue `orders.unclaimed`; the first group that comes takes what is in it |
| set apart | the exchange and the quorum queue `orders.dead`, with RabbitMQ's `x-death` header |

A record is set apart when it is rejected, or was handed out more often than the delivery limit. It goes there with
at-least-once guarantee, so it may stand there twice, but is never lost between the two queues.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import pyarrow as pa

from ...errors import BusError
from ..bus import Abilities, Member, Partition, Published, Publisher, Span, Start, Topic
from ..refusals import closed
from .address import parse_address
from .amqp import DIFFERS, NOT_FOUND, Amqp, Channel, Message, patiently
from .queue_member import QueueMember, refused
from .queue_records import published
from .topics import (
    SETTLE_S,
    add_entry,
    entries,
    entry_of,
    held,
    is_there,
    listed,
    no_topic,
    note_group,
    same_topic,
)

ABILITIES = Abilities(
    replay=False, order="none", dedup=False, acknowledges=True, seek_time=False, retention=False, partitions=False
)
DELIVERY_LIMIT = 20
"""How often a record is handed out again at the most; the default of RabbitMQ 4, which 3.x does not have."""
FULL_S = 0.2
OWN = ("dead", "unclaimed")
"""Queues of the topic itself, whose names a group may not take."""


class RabbitQueues:
    """A bus over RabbitMQ's quorum queues (3.10 or newer).

    `address`: `amqp://user:password@host:5672/vhost`, or `amqps://`; `tls`: whom we trust. A record comes to each group at least once; a sink has to know
    what it has done, by the id of the event. `delivery_limit` holds for topics and groups that are made from now on;
    `settle` is how long their making takes to outlive a kill of the server (`SETTLE_S`), and is waited for once.
    """

    def __init__(
        self, address: str, *, user: str = "", password: str = "", tls: ssl.SSLContext | None = None,
        delivery_limit: int = DELIVERY_LIMIT, settle: float = SETTLE_S,
    ) -> None:  # fmt: skip
        self._address = parse_address(address, user=user, password=password, trust=tls)
        self._limit = delivery_limit
        self._settle = settle
        self._lock = threading.Lock()
        self._appending = threading.Lock()
        self._amqp: Amqp | None = None
        self._closed = False
        self._channel: Channel | None = None
        self._noted: set[str] = set()

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def ensure(self, topic: Topic) -> None:
        """Make the exchange, its queue for what comes before any group, and the one for what is set apart."""
        for wanted, what in (
            (topic.partitions != 1, "has one partition"),
            (topic.compacted, "is not compacted"),
            (topic.retention is not None or topic.retention_bytes is not None, "keeps records until they are done"),
        ):
            if wanted:
                raise refused(f"A queue {what}.", topic.name)
        patiently(lambda: self._ensure(topic))

    def _ensure(self, topic: Topic) -> None:
        amqp, wanted_entry = self._control(), entry_of(topic, "queue")
        held = listed(amqp, "queue").get(topic.name)
        fresh = held is None
        if held is None:
            add_entry(amqp, wanted_entry)
            held = entries(amqp, "queue")[topic.name]
        same_topic(held, wanted_entry)
        make_topic(amqp, topic.name, self._limit)
        if fresh:
            time.sleep(self._settle)

    def held(self, wanted: Topic) -> Topic | None:
        return patiently(lambda: held(self._control(), wanted, "queue", f"{wanted.name}.unclaimed"))

    def topics(self) -> Mapping[str, int]:
        held = patiently(lambda: listed(self._control(), "queue"))
        return {name: entry.partitions for name, entry in held.items()}

    def append(self, topic: str, records: pa.Table) -> Published:
        """Write them. A group's queue that is full is waited for."""
        rows = records.num_rows
        with self._appending:
            channel = self._writer()
            messages: Sequence[Message] = published(topic, records)
            pause = threading.Event()
            while messages:
                try:
                    messages, unrouted = channel.publish(messages)
                except BusError as error:
                    error.entity = topic
                    raise (no_topic(topic) if error.code == NOT_FOUND else error) from error
                if unrouted:
                    raise no_topic(topic)
                if messages:
                    pause.wait(FULL_S)
        return Published({Partition(topic, 0): 0}, rows)

    def read(self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0) -> pa.Table:  # noqa: ARG002
        raise refused("A queue cannot be read by offset: what was acknowledged is gone.", partition.topic)

    def spans(self, topic: str) -> Mapping[int, Span]:
        raise refused("A queue has no offsets.", topic)

    def seek_time(self, topic: str, at: datetime) -> Mapping[int, int]:  # noqa: ARG002 - the seam's
        raise refused("A queue cannot be read from a time on.", topic)

    def committed(self, group: str, topic: str) -> Mapping[int, int]:  # noqa: ARG002 - the seam's
        """A queue keeps no offsets: what is committed is gone from it."""
        return {}

    def waiting(self, group: str, topic: str) -> int:
        """How many records wait in the group's queue; those that a member has, and has not acknowledged, are not among them."""
        channel = self._control().channel()
        try:
            answer = channel.ask("queue_declare", queue=f"{topic}.{group}", passive=True)
            return int(answer.method.message_count)
        except BusError as error:
            raise (no_topic(topic) if error.code == NOT_FOUND else error) from error
        finally:
            channel.close()

    def publisher(self, name: str) -> Publisher:
        raise refused("Queues do not drop repeats, so that no publisher can write exactly once.", name)

    def member(self, group: str, topics: Sequence[str], *, start: Start | None = None) -> Member:
        """`start` is not asked: a queue goes on with what has not been acknowledged."""
        del start
        if group in OWN:
            raise BusError(
                f"A group named {group} would read the topic's own queue of that name.",
                safe="Nothing was read.", remedy="Give the group another name.", code="GroupName",
            )  # fmt: skip
        return patiently(lambda: QueueMember(self._address, group, topics, self._made))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            amqp, self._amqp, self._channel = self._amqp, None, None
        if amqp is not None:
            amqp.close()

    def _made(self, amqp: Amqp, topic: str, queue: str) -> None:
        """A group's queue is there, and bound."""
        fresh = not is_there(amqp, queue)
        channel = amqp.channel()
        try:
            channel.ask("exchange_declare", exchange=topic, passive=True)
            channel.ask("queue_declare", queue=queue, durable=True, arguments=work_queue(topic, self._limit))
            channel.ask("queue_bind", queue=queue, exchange=topic)
        except BusError as error:
            raise (no_topic(topic) if error.code == NOT_FOUND else error) from error
        finally:
            channel.close()
        self._note(amqp, topic, queue)
        if fresh:
            time.sleep(self._settle)

    def _note(self, amqp: Amqp, topic: str, queue: str) -> None:
        """For whoever looks how much waits. A catalogue that is away or may not be written keeps nobody from work: the next member notes it."""
        if queue not in self._noted:
            with suppress(BusError):
                note_group(amqp, topic, queue.removeprefix(f"{topic}."))
                self._noted.add(queue)

    def _control(self) -> Amqp:
        with self._lock:
            if self._closed:
                raise closed()
            if self._amqp is None or self._amqp.lost:
                self._amqp = Amqp(self._address)
            return self._amqp

    def _writer(self) -> Channel:
        amqp = self._control()
        if self._channel is None or self._channel.amqp is not amqp or not self._channel.alive:
            self._channel = amqp.channel(confirms=True)
        return self._channel


def work_queue(topic: str, limit: int) -> dict[str, Any]:
    """Arguments of a queue whose records are set apart rather than lost; so it has to refuse when it is full, not to drop."""
    return {
        "x-queue-type": "quorum", "x-delivery-limit": limit, "x-overflow": "reject-publish",
        "x-dead-letter-exchange": f"{topic}.dead", "x-dead-letter-strategy": "at-least-once",
    }  # fmt: skip


def make_topic(amqp: Amqp, topic: str, limit: int) -> None:
    """Exchanges and queues of a topic. Again is harmless."""
    channel = amqp.channel()
    try:
        channel.ask("exchange_declare", exchange=f"{topic}.dead", exchange_type="fanout", durable=True)
        channel.ask("queue_declare", queue=f"{topic}.dead", durable=True, arguments={"x-queue-type": "quorum"})
        channel.ask("queue_bind", queue=f"{topic}.dead", exchange=f"{topic}.dead")
        channel.ask("exchange_declare", exchange=f"{topic}.unclaimed", exchange_type="fanout", durable=True)
        channel.ask("queue_declare", queue=f"{topic}.unclaimed", durable=True, arguments=work_queue(topic, limit))
        channel.ask("queue_bind", queue=f"{topic}.unclaimed", exchange=f"{topic}.unclaimed")
        words = {"exchange_type": "fanout", "arguments": {"alternate-exchange": f"{topic}.unclaimed"}}
        channel.ask("exchange_declare", exchange=topic, durable=True, **words)
    except BusError as error:
        if error.code == DIFFERS:
            raise BusError(
                f"A queue or exchange of that name is there already, and is another: {error.what}", entity=topic,
                remedy="Give the topic another name, or delete what has its name.", code="TopicDiffers",
            ) from error  # fmt: skip
        raise
    finally:
        channel.close()
