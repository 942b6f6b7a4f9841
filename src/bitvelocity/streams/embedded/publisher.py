"""A publisher of the embedded transport: records and their places in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pyarrow as pa

from bitvelocity.streams.bus import PLACED_SCHEMA, Partition, Place, Published
from bitvelocity.streams.placing import above, check_order, with_places
from bitvelocity.streams.refusals import another_publisher, spoilt

from .blobs import shaped
from .groupfile import GroupFile
from .steps import Step
from .topicfile import TopicFile, Written
from .upkeep import look_after


class Home(Protocol):
    """What a publisher asks its bus for."""

    def topic(self, name: str) -> TopicFile: ...

    def at(self, step: Step) -> None: ...

    @property
    def groups(self) -> GroupFile: ...


class EmbeddedPublisher:
    """Writes a topic's records and places in one transaction; topics one after the other."""

    def __init__(self, home: Home, name: str, epoch: int) -> None:
        self._home, self._name, self._epoch = home, name, epoch
        self._places: dict[str, dict[int, Place]] = {}
        self._spoilt = False

    def publish(self, batches: Mapping[str, pa.Table]) -> Published:
        topics = {name: self._home.topic(name) for name in batches}
        for name, table in batches.items():
            check_order(name, table)
        ends: dict[Partition, int] = {}
        written = 0
        self._refuse_spoilt()
        self._spoilt = True
        for name, table in batches.items():
            rows, topic_ends = self._write(topics[name], table)
            written += rows
            ends |= {Partition(name, number): end for number, end in topic_ends.items()}
        self._spoilt = False
        return Published(ends, written, sum(table.num_rows for table in batches.values()) - written)

    def _write(self, topic: TopicFile, table: pa.Table) -> tuple[int, dict[int, int]]:
        places = dict(self.places(topic.name))
        fresh: list[tuple[int, pa.Table]] = []
        for number, part in topic.by_partition(shaped(table, PLACED_SCHEMA)):
            rest = above(part, places.get(number))
            if rest.num_rows:
                places[number] = Place(*(rest[name][-1].as_py() for name in ("lsn", "ordinal", "step")))
                fresh.append((number, with_places(rest)))
        if not fresh:
            self._check_epoch()
            return 0, {}
        pieces = topic.pieces(fresh)
        self._home.at(Step.CUT)
        with topic.database.writing() as connection:
            self._check_epoch()
            ends = topic.write(connection, Written(pieces, self._name, places))
            self._home.at(Step.WRITTEN)
        self._home.at(Step.COMMITTED)
        self._places[topic.name] = places
        look_after(topic, sum(len(piece.data) for piece in pieces))
        return sum(part.num_rows for _, part in fresh), ends

    def places(self, topic: str) -> Mapping[int, Place]:
        """Asked under the writer's lock once: a predecessor that was about to write has written, or cannot any more."""
        if topic not in self._places:
            file = self._home.topic(topic)
            with file.database.writing() as connection:
                self._check_epoch()
                self._places[topic] = file.places(connection, self._name)
        return dict(self._places[topic])

    def _check_epoch(self) -> None:
        if self._home.groups.epoch(self._name) != self._epoch:
            raise another_publisher(self._name, "Nothing of this call was written to the topic that it had come to.")

    def _refuse_spoilt(self) -> None:
        if self._spoilt:
            raise spoilt(self._name)

    def close(self) -> None:
        """Its name stays free for whoever opens it next."""
        self._spoilt = True
