"""The bus over a folder of SQLite files."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from urllib.parse import quote, unquote

import numpy as np
import pyarrow as pa

from bitvelocity.errors import BusError
from bitvelocity.streams.bus import FETCHED_SCHEMA, Abilities, Partition, Published, Span, Start, Topic
from bitvelocity.streams.refusals import closed

from .appending import Appends
from .gone import Older
from .groupfile import GroupFile
from .member import EmbeddedMember
from .publisher import EmbeddedPublisher
from .sqlite import told
from .steps import At, nothing
from .topicfile import TopicFile, make_topic

ABILITIES = Abilities(compaction=True)
_LONGEST_NAME = 200


class EmbeddedBus:
    """Topics in a folder; every process of this machine that opens the folder is on the same bus.

    - `older`: asked for records that a topic no longer keeps.
    - `lease`: a member that does not poll for so long may lose its partitions. One whose process dies loses them at once.
    - `at`: called when a step is done.
    """

    def __init__(
        self, folder: Path, *, older: Older | None = None, lease: timedelta = timedelta(seconds=30), at: At = nothing
    ) -> None:
        self.older, self.at = older, at
        self._lease_s = lease.total_seconds()
        self._folder = folder / "topics"
        with told(str(folder)):
            self._folder.mkdir(parents=True, exist_ok=True)
            self.groups = GroupFile(folder)
        self._topics: dict[str, tuple[TopicFile, Appends]] = {}
        self._lock = Lock()
        self._closed = False

    @property
    def abilities(self) -> Abilities:
        return ABILITIES

    def ensure(self, topic: Topic) -> None:
        if topic.partitions < 1:
            raise BusError("A topic has at least one partition.", entity=topic.name)
        file = self._file(topic.name)
        if not file.exists():
            with told(topic.name):
                make_topic(file, topic)
        found = self.topic(topic.name)
        if found.partitions != topic.partitions:
            raise BusError(
                f"The topic has {found.partitions} partitions, and {topic.partitions} are wanted.", entity=topic.name,
                safe="Nothing was changed.", remedy="Make a topic of another name: the order of keys would break.",
            )  # fmt: skip
        if found.wanted() != topic:
            found.change(topic)

    def held(self, wanted: Topic) -> Topic | None:
        if not self._file(wanted.name).exists():
            return None
        return replace(self.topic(wanted.name).wanted(), replicas=wanted.replicas, packed=wanted.packed)

    def topics(self) -> Mapping[str, int]:
        names = sorted(unquote(file.stem) for file in self._folder.glob("*.db"))
        return {name: self.topic(name).partitions for name in names}

    def append(self, topic: str, records: pa.Table) -> Published:
        return self._found(topic)[1].append(records)

    def read(
        self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0
    ) -> pa.Table:
        topic = self.topic(partition.topic)
        topic.check([partition.number])
        deadline = time.monotonic() + timeout
        while True:
            found = topic.read(partition.number, offset, limit, older=self.older)
            if found.num_rows or not topic.await_news({partition.number: offset}, deadline):
                return found if found.num_rows else FETCHED_SCHEMA.empty_table()

    def spans(self, topic: str) -> Mapping[int, Span]:
        return self.topic(topic).spans()

    def seek_time(self, topic: str, at: datetime) -> Mapping[int, int]:
        if at.tzinfo is None:
            raise BusError("The time has no zone.", entity=topic, remedy="Give it as UTC.")
        return self.topic(topic).seek_time(int(np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us").astype(int)))

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        return self.groups.committed(group, self.topic(topic).name)

    def publisher(self, name: str) -> EmbeddedPublisher:
        return EmbeddedPublisher(self, name, self.groups.next_epoch(name))

    def member(self, group: str, topics: Sequence[str], *, start: Start | None = None) -> EmbeddedMember:
        with told(group):
            seat, leave = self.groups.sit(group, {name: self.topic(name).partitions for name in topics}, self._lease_s)
        return EmbeddedMember(self, seat, leave, start=start)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            topics = list(self._topics.values())
        for topic, _ in topics:
            topic.database.close()
        self.groups.close()

    def topic(self, name: str) -> TopicFile:
        """The topic's file. An error when there is none."""
        return self._found(name)[0]

    def _found(self, name: str) -> tuple[TopicFile, Appends]:
        with self._lock:
            if self._closed:
                raise closed()
            if name not in self._topics:
                file = self._file(name)
                if not file.exists():
                    raise BusError("There is no such topic.", entity=name, remedy="Make it with `ensure`.")
                topic = TopicFile(file, name)
                self._topics[name] = topic, Appends(topic, self.at)
            return self._topics[name]

    def _file(self, name: str) -> Path:
        file = quote(name, safe="")
        if not name or len(os.fsencode(file)) > _LONGEST_NAME:
            raise BusError("A topic's name is not empty, and not longer than a file's name may be.", entity=name)
        return self._folder / f"{file}.db"
