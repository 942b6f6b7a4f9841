"""A publisher on Kafka: one transaction for each `publish`, with the places of its partitions among its records.

The places lie in a compacted topic of ours, written in the same transaction as the records that they tell of. So they
outlive retention and compaction of the topics themselves, marks of transactions do not matter, and they are true after
any crash: whoever opens the name again first ends what its predecessor left open (`init_transactions`), then reads them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from confluent_kafka import KafkaError, KafkaException, Producer

from ...errors import BusError, FencedError
from ..bus import Partition, Place, Published, Topic
from ..placing import above, check_order, parse_place, partition_of, place_text, with_places
from .client import LOG, explained, failure, unsure
from .producing import Feeder, last_of
from .reading import Fetcher, read_to_end
from .topics import EARLIEST, LATEST, Described, Topics

PLACES = Topic(name="__bitvelocity-places", partitions=4, compacted=True)
TRANSACTION_S = 60.0
"""The broker ends a transaction by itself whose publisher says nothing for so long."""
ASKED_AGAIN_S = 0.02


Chosen = tuple[pa.Table, npt.NDArray[np.int32]]
"""Rows to be written, and the partition of each."""


class KafkaPublisher:
    """The writer of a name. Steps of `publish`:

    1. find the partitions, and drop what stands at or below their places;
    2. begin a transaction and give the records, and after them the new places;
    3. wait until all are acknowledged; 4. commit.
    """

    def __init__(
        self, name: str, topics: Topics, *, producer: Mapping[str, Any], consumer: Mapping[str, Any], patience: float
    ) -> None:
        self._name, self._topics, self._patience = name, topics, patience
        self._known: dict[str, Described] = {}
        self._usable = True
        own = {
            "transactional.id": name,
            "transaction.timeout.ms": int(TRANSACTION_S * 1000),
            "message.timeout.ms": int(min(patience, TRANSACTION_S) * 1000),
        }
        with explained("open a publisher", entity=name):
            self._producer = Producer({**producer, **own}, logger=LOG)
            self._producer.init_transactions(patience)
        self._places = _read_places(topics, consumer, patience)

    def publish(self, batches: Mapping[str, pa.Table]) -> Published:
        """Write tables of `PLACED_SCHEMA`, by topic: all of them, or none."""
        if not self._usable:
            raise BusError("This publisher has failed.", entity=self._name, remedy="Close it and open another.")
        self._look_up(batches)
        chosen = {name: self._choose(name, table) for name, table in batches.items()}
        chosen = {name: choice for name, choice in chosen.items() if len(choice[0])}
        written = sum(len(table) for table, _ in chosen.values())
        dropped = sum(len(table) for table in batches.values()) - written
        if not written:
            return Published({}, 0, dropped)
        self._usable = False
        ends = self._write(chosen)
        self._usable = True
        return Published(ends, written, dropped)

    def places(self, topic: str) -> Mapping[int, Place]:
        """The highest place of each partition that has one."""
        self._look_up([topic])
        found = {number: self._place(topic, number) for number in range(self._known[topic].partitions)}
        return {number: place for number, place in found.items() if place is not None}

    def close(self) -> None:
        """Let go of the connection. What is under way is ended by whoever opens the name again."""
        self._usable = False
        with contextlib.suppress(KafkaException):
            self._producer.purge()
            self._producer.flush(0)

    def _look_up(self, names: Iterable[str]) -> None:
        new = [name for name in names if name not in self._known]
        if new:
            self._known.update(self._topics.look_up(new))

    def _place(self, topic: str, number: int) -> Place | None:
        topic_id, place = self._places.get((topic, number), ("", None))
        return place if topic_id == self._known[topic].id else None

    def _choose(self, topic: str, table: pa.Table) -> Chosen:
        """The rows that stand above the places of their partitions, in their order."""
        check_order(topic, table)
        partitions = partition_of(table["key"], self._known[topic].partitions)
        places = {number: self._place(topic, number) for number in np.unique(partitions).tolist()}
        highest = max((place for place in places.values() if place is not None), default=None)
        if highest is None or len(above(table, highest)) == len(table):
            return table, partitions
        kept = []
        for number, place in places.items():
            rows = np.flatnonzero(partitions == number)
            left = len(above(table.select(["lsn", "ordinal", "step"]).take(rows), place))
            kept.append(rows[len(rows) - left :])
        rows = np.sort(np.concatenate(kept))
        return table.take(rows), partitions[rows]

    def _write(self, chosen: Mapping[str, Chosen]) -> Mapping[Partition, int]:
        feeder = Feeder(self._producer, self._patience)
        places: dict[tuple[str, int], tuple[str, Place]] = {}
        try:
            with explained("publish", entity=self._name), self._reasoned():
                self._producer.begin_transaction()
                for topic, (table, partitions) in chosen.items():
                    feeder.give(topic, with_places(table), partitions)
                    places.update(self._note(topic, table, partitions))
                feeder.flush()
                ends = dict(feeder.ends)
                self._producer.commit_transaction(self._patience)
        except BusError:
            with contextlib.suppress(KafkaException):
                self._producer.purge()
                self._producer.abort_transaction(1.0)
            raise
        self._places.update(places)
        return {partition: end for partition, end in ends.items() if partition.topic in chosen}

    @contextlib.contextmanager
    def _reasoned(self) -> Iterator[None]:
        """A producer that has ended says so and not why; the next call about a transaction does: it was fenced, mostly.

        Where it ends between two reports of records, the client's own wrapper fails over it, with a SystemError. And a
        commit that meets a successor who opens the name is answered by the broker with an error that it has no name for.
        """
        try:
            yield
        except (KafkaException, SystemError) as error:
            code = None if isinstance(error, SystemError) else error.args[0].code()
            if code in (None, KafkaError._FATAL):
                self._producer.begin_transaction()
            if code == KafkaError.UNKNOWN:
                raise self._outcome(error) from error
            raise

    def _outcome(self, unknown: Exception) -> BusError:
        """What an error without a name was: being fenced, or else nobody knows what became of the transaction.

        An abort tells. It may come in the same moment as the commit and be answered without a name, too: the client lets it
        be asked again. Taken for an answer, that would let a predecessor open the name anew, and fence its successor.
        """
        deadline = time.monotonic() + self._patience
        while True:
            try:
                self._producer.abort_transaction(self._patience)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN and time.monotonic() < deadline:
                    time.sleep(ASKED_AGAIN_S)
                    continue
                found = failure(error, "publish", entity=self._name)
                if isinstance(found, FencedError):
                    return found
            return unsure(f"Kafka cannot publish: {unknown}.", entity=self._name)

    def _note(
        self, topic: str, table: pa.Table, partitions: npt.NDArray[np.int32]
    ) -> Mapping[tuple[str, int], tuple[str, Place]]:
        """Write the new place of each partition into the transaction."""
        known, found = self._known[topic], {}
        for number, row in last_of(partitions).items():
            last = [table[name].slice(row, 1).to_numpy() for name in ("lsn", "ordinal", "step")]
            text = f"{known.id} {place_text(*last)[0].as_py()}"
            key = f"{topic} {number}".encode()
            self._producer.produce(PLACES.name, text.encode(), key, _home(topic))
            found[topic, number] = (known.id, Place(*(int(part[0]) for part in last)))
        return found


def _home(topic: str) -> int:
    """The partition of the places of a topic."""
    return int(partition_of(pa.array([topic.encode()], pa.binary()), PLACES.partitions)[0])


def _read_places(
    topics: Topics, consumer: Mapping[str, Any], patience: float
) -> dict[tuple[str, int], tuple[str, Place]]:
    """All places, each with the id of its topic; waits for transactions of others that are under way."""
    begins = topics.offsets(PLACES.name, EARLIEST)
    ends = topics.offsets(PLACES.name, LATEST, committed=False)
    reader = Fetcher({**consumer, "group.id": "bitvelocity-places"}, tell_end=True)
    try:
        seen = read_to_end(reader, topics, PLACES.name, begins=begins, ends=ends, patience=patience + TRANSACTION_S)
    finally:
        reader.close()
    found = {}
    for message in (message for messages in seen.values() for message in messages):
        topic, _, number = (message.key() or b"").decode().rpartition(" ")
        topic_id, _, place = (message.value() or b"").decode().partition(" ")
        found[topic, int(number)] = (topic_id, parse_place(place))
    return found
