"""Reading by offset: consumers of no group, kept for whoever goes on where the last call ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
from confluent_kafka import Consumer, KafkaError, TopicPartition

from ...errors import BusError, BusLostError, OffsetGoneError
from ..bus import FETCHED_SCHEMA, Partition, Span
from ..garbage import collection_paused
from ..refusals import closed
from .client import LOG, explained, failure
from .columns import Message, incoming
from .fetching import directly
from .topics import EARLIEST, LATEST, Topics

KEPT = 8
"""Consumers that wait for the next call."""


class Fetcher:
    """A consumer that reads what it is told to. Used by one thread at a time."""

    def __init__(self, config: Mapping[str, Any], *, tell_end: bool = False) -> None:
        self.down = False
        """All brokers were away, at some moment since the last record."""
        self.failed = False
        """It told of an error, and does not tell again."""
        settings = {**config, "enable.partition.eof": tell_end, "error_cb": self._note}
        if tell_end:
            settings["fetch.wait.max.ms"] = 5  # the broker tells of the end when it has waited for more
        with explained("be configured"):
            self.consumer = Consumer(settings, logger=LOG)

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.down = True

    def take(self, limit: int, timeout: float) -> list[Message]:
        """What is there, at once; else what comes first within the timeout."""
        with explained("read records"):
            messages: list[Message] = self.consumer.consume(1, max(0.0, timeout))
            if messages and limit > 1:
                with collection_paused():
                    messages += self.consumer.consume(limit - 1, 0)
        return messages

    def close(self) -> None:
        self.consumer.close()


class Readers:
    """Reads by offset for all threads of a bus."""

    def __init__(self, config: Mapping[str, Any], topics: Topics, *, direct: bool = True) -> None:
        self._config = {**config, "group.id": "bitvelocity-reads"}  # it never joins, and never commits
        self._topics = topics
        self._direct = directly(config, topics.leaders) if direct else None
        self._kept: dict[tuple[Partition, int], Fetcher] = {}
        self._lock = threading.Lock()
        self._closed = False

    def read(self, partition: Partition, offset: int, limit: int, timeout: float) -> pa.Table:
        """Up to `limit` records from an offset on; directly if all goes well, else by the client."""
        if self._direct is not None and (found := self._direct.read(partition, offset, limit, timeout)) is not None:
            return found
        with self._reader(partition, offset) as (reader, next_is):
            messages = reader.take(limit, timeout)
            records = self._records(reader, messages, partition, offset)
            if records:
                reader.down = False
                next_is(records[-1].offset() + 1)
                return incoming(records)
            if reader.down and not self._topics.reachable():
                raise lost(partition.topic)
            reader.down = False
        return FETCHED_SCHEMA.empty_table()

    def close(self) -> None:
        if self._direct is not None:
            self._direct.close()
        with self._lock:
            self._closed = True
            readers, self._kept = list(self._kept.values()), {}
        for reader in readers:
            reader.close()

    @contextmanager
    def _reader(self, partition: Partition, offset: int) -> Iterator[tuple[Fetcher, Callable[[int], None]]]:
        """A reader that stands there, given back with where it stands then; one that failed is not used again."""
        with self._lock:
            if self._closed:
                raise closed()
            reader = self._kept.pop((partition, offset), None)
        stands = offset
        if reader is None:
            reader = Fetcher(self._config)
            reader.consumer.assign([TopicPartition(*partition, offset)])

        def next_is(next_offset: int) -> None:
            nonlocal stands
            stands = next_offset

        try:
            yield reader, next_is
        except BaseException:
            reader.close()
            raise
        if (old := self._keep((partition, stands), reader)) is not None:
            old.close()

    def _keep(self, where: tuple[Partition, int], reader: Fetcher) -> Fetcher | None:
        """For whoever reads on from there; what is to be closed instead."""
        with self._lock:
            if self._closed or reader.failed:
                return reader
            old = self._kept.pop(where, None)
            self._kept[where] = reader
            if old is None and len(self._kept) > KEPT:
                old = self._kept.pop(next(iter(self._kept)))
            return old

    def _records(self, reader: Fetcher, messages: list[Message], partition: Partition, offset: int) -> list[Message]:
        wrong = next((message for message in messages if message.error()), None)
        if wrong is None:
            return messages
        good = [message for message in messages if not message.error()]
        if good:
            reader.failed = True
            return good
        raise mishap(wrong, partition, offset, self._topics)


def mishap(message: Message, partition: Partition, offset: int, topics: Topics) -> BusError:
    """What a message that is no record tells."""
    error = message.error()
    assert error is not None
    if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
        first = topics.offsets(partition.topic, EARLIEST)[partition.number]
        why = f"the first record that is kept has {first}" if offset < first else "it ends before, as one that was made anew"
        return OffsetGoneError(
            f"Partition {partition.number} has no offset {offset}: {why}.",
            entity=partition.topic,
            position=str(offset),
            safe="Nothing was passed over.",
            remedy="Read these records from bronze, or begin at the first that is kept (Bus.spans).",
        )
    return failure(error, "read records", entity=partition.topic)


def lost(topic: str | None = None) -> BusLostError:
    """No broker answers."""
    return BusLostError(
        "No broker of Kafka answers.",
        entity=topic,
        safe="What was acknowledged stays.",
        remedy="Nothing: it is tried again. See [streams.kafka] bootstrap if it never was reached.",
    )


def last_records(config: Mapping[str, Any], topics: Topics, topic: str, patience: float) -> Mapping[int, Span]:
    """The span of each partition, up to its last record: marks of transactions and what was aborted have offsets too.

    Transactions that are under way are waited for. (The broker acknowledges a commit before its marks are written.)
    """
    firsts, ends = topics.offsets(topic, EARLIEST), topics.offsets(topic, LATEST, committed=False)
    found = {number: Span(first, first) for number, first in firsts.items() if ends[number] <= first}
    back = 2
    reader = Fetcher({**config, "group.id": "bitvelocity-reads"}, tell_end=True)
    try:
        while left := firsts.keys() - found.keys():
            begins = {number: max(firsts[number], ends[number] - back) for number in left}
            seen = read_to_end(reader, topics, topic, begins=begins, ends=ends, patience=patience)
            for number, begin in begins.items():
                if number in seen or begin == firsts[number]:
                    end = seen[number][-1].offset() + 1 if number in seen else begin
                    found[number] = Span(firsts[number], end)
            back *= 16
    finally:
        reader.close()
    return dict(sorted(found.items()))


def read_to_end(
    reader: Fetcher,
    topics: Topics,
    topic: str,
    *,
    begins: Mapping[int, int],
    ends: Mapping[int, int],
    patience: float,
) -> Mapping[int, list[Message]]:
    """All committed records of partitions from some offsets to their ends."""
    waiting = {number for number, begin in begins.items() if begin < ends[number]}
    seen: dict[int, list[Message]] = {}
    if not waiting:
        return seen
    reader.consumer.assign([TopicPartition(topic, number, begins[number]) for number in waiting])
    deadline = time.monotonic() + patience
    while waiting:
        for message in reader.take(10_000, 0.5):
            number, error = message.partition(), message.error()
            if error is None:
                seen.setdefault(number, []).append(message)
            elif error.code() != KafkaError._PARTITION_EOF:
                raise mishap(message, Partition(topic, number), begins[number], topics)
            elif message.offset() >= ends[number]:
                waiting.discard(number)
        if waiting and time.monotonic() > deadline:
            raise lost(topic)
    return seen
