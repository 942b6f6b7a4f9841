"""How far a group is behind: in records and in seconds, under the same names on every transport."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bitvelocity.errors import OffsetGoneError

from .bus import Bus, Partition

NEVER = -1
"""In place of a lag: the group has never committed there. It is left out of sums."""

WHOLE = -1
"""In place of a partition's number: the whole topic. Its label is empty then."""

UNCLAIMED, DEAD = "unclaimed", "dead"
"""In place of a group: a queue for what came before any group, and one for what was set apart."""

RECORDS, SECONDS = "consumer_lag_records", "consumer_lag_seconds"
_ABOUT = {
    RECORDS: "Records that the group has not committed; of a queue, that it was not given; -1 where it never has.",
    SECONDS: "Age of the next record that the group has not committed; 0 when there is none, -1 where it never has committed.",
}

Sample = tuple[str, str, str, dict[str, str], float]
"""Name without its prefix, type, help, labels, value: as `status --prometheus` takes them."""


@dataclass(frozen=True, slots=True)
class Lag:
    """What one group has still to read of one partition."""

    group: str
    partition: Partition
    records: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Depth:
    """What waits in one queue of a topic. How long it has waited no transport tells without handing it out."""

    topic: str
    group: str
    records: int


def lags(
    bus: Bus, group: str, topics: Iterable[str], *, committed: Mapping[Partition, int] | None = None, now: datetime | None = None
) -> list[Lag]:
    """Of each partition of the topics, in order. Needs `replay`.

    `committed` are the next offsets of a group that keeps them itself; None asks the bus for them.

    Records are counted by offsets; where those have gaps (compaction, a transaction's marks) there may be fewer.
    """
    moment = now or datetime.now(UTC)
    found: list[Lag] = []
    for topic in topics:
        known = bus.committed(group, topic) if committed is None else {one.number: at for one, at in committed.items() if one.topic == topic}
        found += [_lag(bus, group, Partition(topic, n), committed=known.get(n), now=moment) for n in sorted(bus.spans(topic))]
    return found


def _lag(bus: Bus, group: str, partition: Partition, *, committed: int | None, now: datetime) -> Lag:
    if committed is None:
        return Lag(group, partition, NEVER, NEVER)
    while True:
        span = bus.spans(partition.topic)[partition.number]
        at = max(committed, span.first)
        if at >= span.end:
            return Lag(group, partition, 0, 0.0)
        try:
            unread = bus.read(partition, at, limit=1)
        except OffsetGoneError:  # it went between the two questions
            continue
        if not unread.num_rows:  # offsets without records
            return Lag(group, partition, 0, 0.0)
        stamp = unread["timestamp"][0].as_py()
        return Lag(group, partition, span.end - at, max(0.0, (now - stamp).total_seconds()) if stamp else 0.0)


def samples(found: Iterable[Lag], waiting: Iterable[Depth] = ()) -> Iterator[Sample]:
    """The lags, and what waits in queues, as metrics: name by name."""
    known = [(lag, {"group": lag.group, "topic": lag.partition.topic, "partition": _number(lag.partition)}) for lag in found]
    for lag, labels in known:
        yield RECORDS, "gauge", _ABOUT[RECORDS], labels, float(lag.records)
    for depth in waiting:
        labels = {"group": depth.group, "topic": depth.topic, "partition": "0"}
        yield RECORDS, "gauge", _ABOUT[RECORDS], labels, float(depth.records)
    for lag, labels in known:
        yield SECONDS, "gauge", _ABOUT[SECONDS], labels, float(lag.seconds)


def _number(partition: Partition) -> str:
    return "" if partition.number == WHOLE else str(partition.number)
