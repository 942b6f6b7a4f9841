"""Records of a topic onto another transport: each once, also when it is killed and begun again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa

from ...errors import BusError
from ..bus import PLACED_SCHEMA, Bus, Partition, Publisher
from ..placing import located, partition_of, places_of
from .marks import marked
from .reading import come_to, filled

Rewrite = Callable[[pa.Table], pa.Table]
"""Gives fetched records another value, where that tells of offsets."""


class Copying:
    """Writes to one transport what another has.

    - With a place: by a publisher of the name that `writers` gives for the topic, so that it goes on there, and what comes
      again is dropped.
    - Without one: appended. Where to go on tells the last record's `bv-offset`.
    - Order: that of the partition. A record that another client has put where its key does not belong is an error.
    """

    def __init__(self, source: Bus, target: Bus, writers: Callable[[str], str]) -> None:
        self._source, self._target, self._writers = source, target, writers
        self._publishers: dict[str, Publisher] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for publisher in self._publishers.values():
            publisher.close()

    def copy(self, topic: str, rewrite: Rewrite | None = None) -> Iterator[tuple[Partition, int]]:
        """Write what the copy lacks of a topic that is there on both; a partition, and records read or passed, each time."""
        spans, counts = self._source.spans(topic), (self._source.topics()[topic], self._target.topics()[topic])
        if counts[0] != counts[1]:
            raise BusError(
                f"The topic has {counts[0]} partitions here and {counts[1]} there.", entity=topic, safe="Nothing was written to it.",
                remedy="Copy to a transport that does not have the topic, or delete it there.",
            )  # fmt: skip
        for number, span in spans.items():
            partition = Partition(topic, number)
            begin = max(span.first, come_to(self._target, partition))
            yield partition, begin - span.first
            for records in filled(self._source, partition, begin, span.end):
                self._check(partition, records, counts[0])
                self._write(topic, records if rewrite is None else rewrite(records))
                yield partition, records.num_rows

    def _check(self, partition: Partition, records: pa.Table, count: int) -> None:
        wrong = np.flatnonzero(partition_of(records["key"], count) != partition.number)
        if len(wrong):
            raise BusError(
                "A record stands in another partition than its key says: a client that divides keys otherwise has written it.",
                entity=partition.topic, position=f"partition {partition.number}, offset {records['offset'][int(wrong[0])]}",
                safe="All before it was copied.", remedy="Leave the topic out (--topic), and let its writer fill the new one.",
            )  # fmt: skip

    def _write(self, topic: str, records: pa.Table) -> None:
        """Neighbours of one kind at a time."""
        ours, written = located(records)[0], marked(records)
        bounds = [0, *(np.flatnonzero(np.diff(ours)) + 1).tolist(), len(ours)]
        for begin, end in pairwise(bounds):
            part = written.slice(begin, end - begin)
            if end > begin and ours[begin]:
                self._publish(topic, part, records.slice(begin, end - begin))
            elif end > begin:
                self._target.append(topic, part)

    def _publish(self, topic: str, part: pa.Table, records: pa.Table) -> None:
        name = self._writers(topic)
        if name not in self._publishers:
            self._publishers[name] = self._target.publisher(name)
        places = [pa.array(column) for column in places_of(records)]
        self._publishers[name].publish({topic: pa.Table.from_arrays([*part.columns, *places], schema=PLACED_SCHEMA)})
