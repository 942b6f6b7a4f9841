"""The topics that are there: neither of RabbitMQ's protocols can list them, so a stream, `bv-topics`, tells."""

from __future__ import annotations

import json
import queue
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pika

from ...errors import BusError, BusLostError
from ..bus import Topic
from .amqp import DIFFERS, LOOK_S, NOT_FOUND, PATIENCE, Amqp, Channel, Message

_Arrived = queue.SimpleQueue[tuple[int, dict[str, Any]]]
CATALOGUE = "bv-topics"
SETTLE_S = 1.2
"""RabbitMQ tells that a quorum queue, or its first stream, is made a second before that outlives a kill: it keeps the
names of its Raft servers in a file that it writes when nobody used it for half a second. Killed before, it knows a queue
for ever that it cannot find, and with the first stream all others."""
EMPTY_S = 3.0
"""A catalogue that sends nothing for so long is empty."""
SEGMENT = 500_000_000
"""Bytes of a segment, RabbitMQ's default. Retention deletes whole segments."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One topic of the catalogue. The first entry of a name is the one that holds."""

    kind: str
    name: str
    partitions: int
    age: str
    size: int


def entry_of(topic: Topic, kind: str) -> Entry:
    age = f"{max(1, int(topic.retention.total_seconds()))}s" if topic.retention else ""
    return Entry(kind, topic.name, topic.partitions, age, topic.retention_bytes or 0)


def stream_arguments(entry: Entry) -> dict[str, Any]:
    """The arguments of a topic's streams. Segments are small enough that a bound in bytes is kept to about an eighth."""
    arguments: dict[str, Any] = {"x-queue-type": "stream"}
    if entry.age:
        arguments["x-max-age"] = entry.age
    if entry.size:
        arguments["x-max-length-bytes"] = entry.size
        arguments["x-stream-max-segment-size-bytes"] = min(SEGMENT, max(100_000, entry.size // 8))
    return arguments


def listed(amqp: Amqp, kind: str) -> Mapping[str, Entry]:
    """The catalogue, for a look that leaves nothing behind.

    It is read up to the beginning of its last chunk. Whoever adds an entry writes a mark behind it before it tells of it
    (`entries`), so no entry that somebody was told of stands further back. Of several brokers the one that is asked tells what it has.
    """
    return _of_kind(_words(amqp), kind)


def _words(amqp: Amqp) -> list[dict[str, Any]]:
    if not is_there(amqp, CATALOGUE):
        return []
    channel = amqp.channel()
    try:
        return _read_to_last(channel)
    except queue.Empty:  # nothing was ever written in it: its maker was killed
        return _marked(amqp)
    finally:
        channel.close()


def entries(amqp: Amqp, kind: str) -> Mapping[str, Entry]:
    """The catalogue, for those who add to it. A mark is written behind it and it is read up to that: a stream does not
    tell where it ends."""
    _make_catalogue(amqp)
    return _of_kind(_marked(amqp), kind)


def _marked(amqp: Amqp) -> list[dict[str, Any]]:
    channel = amqp.channel(confirms=True)
    try:
        mark = uuid.uuid4().hex
        _write(channel, {"mark": mark})
        return _read_to_mark(channel, mark)
    finally:
        channel.close()


def _make_catalogue(amqp: Amqp) -> None:
    if not is_there(amqp, CATALOGUE):
        declare_stream(amqp, CATALOGUE, {})
        time.sleep(SETTLE_S)


def _of_kind(words: Iterable[Mapping[str, Any]], kind: str) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    for word in words:
        if word.get("kind") == kind:
            found.setdefault(word["name"], Entry(**word))
    return found


def add_entry(amqp: Amqp, entry: Entry) -> None:
    """Before anybody tells of it: read the `entries`, which writes the mark behind it."""
    _make_catalogue(amqp)
    channel = amqp.channel(confirms=True)
    try:
        _write(channel, {name: getattr(entry, name) for name in Entry.__slots__})
    finally:
        channel.close()


def groups(amqp: Amqp) -> Mapping[str, Sequence[str]]:
    """The groups of each topic of queues, for a look that leaves nothing behind; one whose queue was deleted since is among them."""
    return _groups(_words(amqp))


def note_group(amqp: Amqp, topic: str, group: str) -> None:
    """Once. A topic that is not in the catalogue, since another program made it, gets no group there."""
    words = _words(amqp)
    if topic not in _of_kind(words, "queue") or group in _groups(words).get(topic, ()):
        return
    channel = amqp.channel(confirms=True)
    try:
        _write(channel, {"kind": "group", "topic": topic, "name": group})
        _write(channel, {"mark": uuid.uuid4().hex})
    finally:
        channel.close()


def _groups(words: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    found: dict[str, dict[str, None]] = {}
    for word in words:
        if word.get("kind") == "group":
            found.setdefault(word["topic"], {})[word["name"]] = None
    return {topic: list(names) for topic, names in found.items()}


def same_topic(held: Entry, wanted: Entry) -> None:
    """Refuse what a topic that is there cannot become."""
    if held.partitions != wanted.partitions:
        raise partitions_differ(wanted.name, held.partitions, wanted.partitions)
    if (held.age, held.size) != (wanted.age, wanted.size):
        raise BusError(
            f"The topic keeps records for {held.age or 'ever'} and {held.size or 'any number of'} bytes;"
            " RabbitMQ does not let a client change that.",
            entity=wanted.name,
            safe="Nothing was changed.",
            remedy="Ask for what it has, and set other bounds by a policy: rabbitmqctl set_policy --apply-to queues.",
            code="TopicDiffers",
        )


def partitions_differ(name: str, has: int, wanted: int) -> BusError:
    return BusError(
        f"The topic has {has} partitions, and {wanted} are asked for: another number would break the order of keys.",
        entity=name,
        safe="Nothing was changed.",
        remedy="Keep the number, or make a topic of another name and move to it.",
        code="TopicDiffers",
    )


def no_topic(topic: str) -> BusError:
    return BusError(
        "There is no such topic.", entity=topic, safe="Nothing was done.", remedy="Make it first (`ensure`).",
        code="TopicMissing",
    )  # fmt: skip


def held(amqp: Amqp, wanted: Topic, kind: str, queue: str) -> Topic | None:
    """The topic as the catalogue has it; None when that or its `queue` is not there. Makes nothing."""
    if not is_there(amqp, CATALOGUE) or not is_there(amqp, queue):
        return None
    entry = listed(amqp, kind).get(wanted.name)
    if entry is None:
        return None
    keeps = timedelta(seconds=int(entry.age[:-1])) if entry.age else None
    return replace(
        wanted, partitions=entry.partitions, retention=keeps, retention_bytes=entry.size or None, compacted=False
    )


def make_super_stream(amqp: Amqp, entry: Entry) -> None:
    """Streams `<topic>-<n>` behind an exchange, as all clients look for them. Again is harmless.

    The first is bound last: a topic that has it has all, and one whose maker was killed before is taken for none.
    """
    channel = amqp.channel()
    try:
        for number in range(entry.partitions):
            name = f"{entry.name}-{number}"
            channel.ask("queue_declare", queue=name, durable=True, arguments=stream_arguments(entry))
        exchange = {"exchange_type": "direct", "durable": True, "arguments": {"x-super-stream": True}}
        channel.ask("exchange_declare", exchange=entry.name, **exchange)
        for number in reversed(range(entry.partitions)):
            words = {"exchange": entry.name, "queue": f"{entry.name}-{number}", "routing_key": str(number)}
            channel.ask("queue_bind", **words, arguments={"x-stream-partition-order": number})
    except BusError as error:
        if error.code == DIFFERS:
            raise BusError(
                f"A queue or exchange of that name is there already, and is another: {error.what}",
                entity=entry.name,
                remedy="Give the topic another name, or delete what has its name.",
                code="TopicDiffers",
            ) from error
        raise
    finally:
        channel.close()


def is_there(amqp: Amqp, queue: str) -> bool:
    """A queue or stream of that name."""
    channel = amqp.channel()
    try:
        channel.ask("queue_declare", queue=queue, passive=True)
    except BusError as error:
        if error.code != NOT_FOUND:
            raise
        return False
    finally:
        channel.close()
    return True


def declare_stream(amqp: Amqp, name: str, arguments: Mapping[str, Any]) -> None:
    """A stream of our own, beside the topics."""
    channel = amqp.channel()
    try:
        channel.ask("queue_declare", queue=name, durable=True, arguments={"x-queue-type": "stream", **arguments})
    finally:
        channel.close()


def _write(channel: Channel, word: Mapping[str, Any]) -> None:
    properties = pika.BasicProperties(delivery_mode=2, content_type="application/json")
    nacked, _ = channel.publish([Message("", CATALOGUE, properties, json.dumps(word).encode())])
    if nacked:
        raise BusError("RabbitMQ did not take an entry of the catalogue.", entity=CATALOGUE)


def _read_to_mark(channel: Channel, mark: str) -> list[dict[str, Any]]:
    arrived = _consumed(channel, "first")
    words: list[dict[str, Any]] = []
    while not words or words[-1].get("mark") != mark:
        words.append(_next(channel, arrived)[1])
    return words


def _read_to_last(channel: Channel) -> list[dict[str, Any]]:
    last = _within(channel, _consumed(channel, "last"), EMPTY_S)[0]
    arrived = _consumed(channel, "first")
    words: list[dict[str, Any]] = []
    at = -1
    while at < last:
        at, word = _next(channel, arrived)
        words.append(word)
    return words


def _consumed(channel: Channel, begin: str) -> _Arrived:
    """Offsets and words of the catalogue as they come, from its `first` chunk on or from its `last`."""
    arrived: _Arrived = queue.SimpleQueue()

    def on_message(raw: Any, method: Any, properties: Any, body: bytes) -> None:
        raw.basic_ack(method.delivery_tag)
        arrived.put((int(properties.headers["x-stream-offset"]), json.loads(body)))

    def consume() -> None:
        channel.raw.basic_qos(prefetch_count=1000)
        channel.raw.basic_consume(CATALOGUE, on_message, arguments={"x-stream-offset": begin})

    channel.amqp.run(consume)
    return arrived


def _next(channel: Channel, arrived: _Arrived) -> tuple[int, dict[str, Any]]:
    try:
        return _within(channel, arrived, PATIENCE)
    except queue.Empty:
        raise BusLostError("RabbitMQ did not send the catalogue of the topics.", entity=CATALOGUE) from None


def _within(channel: Channel, arrived: _Arrived, patience: float) -> tuple[int, dict[str, Any]]:
    """What comes next; `queue.Empty` if nothing does."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return arrived.get(timeout=LOOK_S)
        except queue.Empty:
            channel.check()
            if time.monotonic() > deadline:
                raise
