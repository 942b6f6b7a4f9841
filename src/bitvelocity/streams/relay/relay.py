"""From a source onto a bus, each change once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import pyarrow as pa

from bitvelocity.changes import MESSAGES, Batch, ChangeSet, Mark, Passing, Source, is_table, pass_by

from ..bus import Bus, Partition, Topic
from .boundaries import Boundary, last_boundary, messages_of

Encode = Callable[[Iterable[Batch]], Iterator[pa.Table]]
"""Batches to records: tables of `changes.formats.RECORD_SCHEMA`, of one topic each, in order."""
_WHOLE_EVERY = 1_000
"""Boundaries between two that name all partitions."""
_SILENCE_S = 1.0
"""How often a boundary tells that nothing happened."""


class Tailed(Source, Protocol):
    """A source that also says how far it is when nothing comes."""

    seen: int


class Relay:
    """Reads a source and publishes its change sets; the source may forget what is on the bus.

    - Once: the bus keeps the place of the last record in each partition, and drops what comes again after a crash.
      Who opens a relay of the same name makes its predecessor stop.
    - Whole: a boundary on the topic `boundaries` follows each set, when all of its records are durable. After a crash none
      is written before the source has repeated all that the predecessor published: it would name records above it.
    - Order: the source's, in each partition.

    Topics are made by `topic(name)` when their first record comes; that of the boundaries has one partition. `start`: the
    LSN at which the stream begins, if that is above the last boundary; -1: there is none, or a snapshot comes first.
    """

    def __init__(
        self,
        bus: Bus,
        encode: Encode,
        *,
        name: str,
        boundaries: str,
        topic: Callable[[str], Topic],
        start: int = -1,
        at: Passing = pass_by,
    ) -> None:
        self._bus, self._encode, self._topic, self._at = bus, encode, topic, at
        self._boundaries = boundaries
        bus.ensure(topic(boundaries))
        self._publisher = bus.publisher(name)
        prefix = boundaries.rpartition(".")[0] + "."
        self._known = {each: count for each, count in bus.topics().items() if each.startswith(prefix)}
        self._known.pop(boundaries, None)
        tops = {each: places for each in self._known if (places := self._publisher.places(each))}
        self._ends = self._present(tops)
        last = last_boundary(bus, boundaries)
        self._told = dict(last[1]) if last else {}
        self.last: Boundary | None = last[0] if last else None
        """The newest boundary on the bus."""
        self._after = max(start, self.last.lsn if self.last else -1)
        self._horizon = max((place.lsn for places in tops.values() for place in places.values()), default=-1)
        self._waiting: list[dict[str, Any]] = []
        self._rows = self._transactions = self._since_whole = 0
        self._spoke_at = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def begun(self) -> bool:
        """There is a boundary to go on from."""
        return self.last is not None

    def begin(self, source: Source) -> None:
        """Publish the tables as they stand, if the source has no position yet.

        A snapshot that a crash cut off is published again from its beginning; readers never see the part.
        """
        for change_set in source.snapshot():
            self._told, self._since_whole, self._after = dict(self._ends), 0, -1
            self._pass(source, change_set, snapshot=True)

    def step(self, source: Tailed, timeout: float) -> int:
        """Publish what committed since the last step, waiting up to `timeout` seconds for it; rows passed."""
        rows = sum(self._pass(source, change_set) for change_set in source.tail(timeout))
        self._tell_silence(source)
        return rows

    def close(self) -> None:
        """What is not published comes again."""
        self._publisher.close()

    def _pass(self, source: Source, change_set: ChangeSet, *, snapshot: bool = False) -> int:
        self._at("set taken")
        before = self._rows
        for records in self._encode(self._through(change_set)):
            self._publish(records)
            self._at("records published")
        mark = change_set.mark
        self._transactions += mark.transactions
        rows = self._rows - before
        if mark.lsn >= self._horizon:
            self._conclude(mark, snapshot=snapshot)
            source.confirm(mark.resume)
            self._at("confirmed")
        return rows

    def _conclude(self, mark: Mark, *, snapshot: bool = False) -> None:
        boundary = Boundary(
            lsn=mark.lsn,
            resume=mark.resume,
            after=self._after,
            committed_at=mark.committed_at,
            transactions=self._transactions,
            rows=self._rows,
            ends={each: end for each, end in self._ends.items() if self._told.get(each) != end},
            begins=None if self._since_whole % _WHOLE_EVERY else self._told,
            snapshot=snapshot,
            messages=self._waiting,
        )
        self._publisher.publish({self._boundaries: boundary.as_record()})
        self._at("boundary published")
        self._told, self._waiting = dict(self._ends), []
        self._rows = self._transactions = 0
        self._since_whole += 1
        self.last, self._after = boundary, mark.lsn
        self._spoke_at = time.monotonic()

    def _tell_silence(self, source: Tailed) -> None:
        """Readers learn how far nothing has happened, as they do from the source itself."""
        last = self.last
        if last is None or self._rows or self._waiting or source.seen <= last.resume or source.seen <= self._horizon:
            return
        if time.monotonic() - self._spoke_at > _SILENCE_S:
            self._conclude(Mark(last.lsn, source.seen, last.committed_at))

    def _through(self, change_set: ChangeSet) -> Iterator[Batch]:
        """What is to be encoded: all above the last boundary. Messages of our own stations ride on the next one."""
        for whole in change_set:
            batch = _above(whole, self._after)
            if batch.relation == MESSAGES:
                self._waiting += messages_of(batch)
                continue
            self._rows += batch.data.num_rows if is_table(batch.relation) else 0
            yield batch

    def _publish(self, records: pa.Table) -> None:
        if not records.num_rows:
            return
        name = str(records["topic"][0])
        if name not in self._known:
            wanted = self._topic(name)
            self._bus.ensure(wanted)
            self._known[name] = wanted.partitions
        self._ends.update(self._publisher.publish({name: records.drop_columns(["topic"])}).ends)

    def _present(self, topics: Iterable[str]) -> dict[Partition, int]:
        """The end of each partition of topics that have our records: others may stand beside them, dead letters too."""
        return {Partition(topic, number): span.end for topic in topics for number, span in self._bus.spans(topic).items()}


def _above(batch: Batch, lsn: int) -> Batch:
    """The rows above an LSN; they are in order. A source may repeat more than it was told to."""
    data = batch.data
    if not data.num_rows or data["_lsn"][0].as_py() > lsn:
        return batch
    return replace(batch, data=data.slice(int(np.searchsorted(data["_lsn"].to_numpy(), lsn, side="right"))))
