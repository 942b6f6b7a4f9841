"""The seam of the streams: topics of records, batch first, Arrow in and out.

A record is a row of `RECORD_SCHEMA`. Those that are read have, before these columns, `partition` and `offset`
(`FETCHED_SCHEMA`). Headers may repeat a name, and keep their order. `key` NULL: no key. `value` NULL: a tombstone.

Three objects, since three kinds of people come to a bus:

- `Bus`: one connection to one transport. Topics, plain appends, reads by offset.
- `Publisher`: writes a change stream exactly once. Each of its records has a *place*, `(lsn, ordinal, step)`; the
  transport itself keeps the highest place of each partition, so that a repeat after any crash is dropped.
- `Member`: one of the competing readers of a group. Partitions are given to it, and taken away from it.

Where a record goes is `partition_of` (murmur2 of the key, as Java's Kafka client does it) on every transport: a topic
moved from one to another keeps its order, and Python, Java and ours agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, Protocol

import pyarrow as pa

_RECORD: list[tuple[str, pa.DataType]] = [
    ("key", pa.binary()),
    ("value", pa.binary()),
    ("headers", pa.map_(pa.string(), pa.binary())),
    ("timestamp", pa.timestamp("us", "UTC")),
]
RECORD_SCHEMA: pa.Schema = pa.schema(_RECORD)
FETCHED_SCHEMA: pa.Schema = pa.schema([("partition", pa.int32()), ("offset", pa.int64()), *_RECORD])
PLACED_SCHEMA: pa.Schema = pa.schema(
    [*_RECORD, ("lsn", pa.int64()), ("ordinal", pa.int32()), ("step", pa.int8())]
)
"""What a `Publisher` takes: `changes.formats.RECORD_SCHEMA` without its topic. Rows are in order of their places."""

PLACE_HEADER = "bv-place"
"""Header with a record's place, as `place_text` writes it, on every record of a publisher."""


class Partition(NamedTuple):
    """One partition of a topic. A transport without partitions has number 0 only."""

    topic: str
    number: int


class Span(NamedTuple):
    """What a partition holds: offsets `first <= offset < end`. Offsets may have gaps; `end` is the next one to be given."""

    first: int
    end: int


class Place(NamedTuple):
    """Where a record stands in its source. A change may give several records: their `step` tells them apart."""

    lsn: int
    ordinal: int
    step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as it is wanted.

    - `retention`: records older than this may go; None keeps all.
    - `retention_bytes`: the oldest go when a partition holds more; None sets no bound.
    - `compacted`: only the last record of each key has to be kept; a tombstone ends its key.
    - `replicas`: copies, where the transport has several servers.
    - `packed`: records of one batch travel as one message where the transport would be slow otherwise (NATS); others
      than BitVelocity cannot read it then.
    """

    name: str
    partitions: int = 1
    retention: timedelta | None = None
    retention_bytes: int | None = None
    compacted: bool = False
    replicas: int = 1
    packed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What a transport can do. A route that needs more is refused when it is configured, not when it runs.

    - `replay`: records stay after they were read, and can be read again by offset.
    - `order`: within what records keep their order: a `key` (so a partition), a whole `topic`, or nothing.
    - `dedup`: a `Publisher` drops repeats and fences its predecessors.
    - `transactions`: one `publish` over several topics is seen whole or not at all.
    - `acknowledges`: single records can be handed back (`Member.reject`), and are delivered again or set apart.
    - `seek_time`, `compaction`, `retention`: as they say. `partitions`: more than one.
    - `timestamps`: of records, exact to this.
    """

    replay: bool = True
    order: Literal["key", "topic", "none"] = "key"
    dedup: bool = True
    transactions: bool = False
    acknowledges: bool = False
    seek_time: bool = True
    compaction: bool = False
    retention: bool = True
    partitions: bool = True
    timestamps: Literal["us", "ms"] = "us"


@dataclass(frozen=True, slots=True)
class Fetched:
    """Records of one partition, in order of their offsets. `generation` grows each time the partition changes hands."""

    partition: Partition
    records: pa.Table
    generation: int = 0

    @property
    def next(self) -> int:
        """The offset to go on from."""
        return int(self.records["offset"][-1].as_py()) + 1


@dataclass(frozen=True, slots=True)
class Published:
    """What a `publish` or an `append` did. `ends`: next offset of each partition it wrote to. `dropped`: repeats."""

    ends: Mapping[Partition, int]
    written: int
    dropped: int = 0


Start = Callable[[Partition], int | None]
"""Asked whenever a partition is given to a member: the offset to begin at. None: what the group has committed, else the
first that is there. A sink that keeps its offsets in its own commit answers from there."""


class Bus(Protocol):
    """A connection to one transport. May be used from several threads; publishers and members may not.

    All errors are `BusError`; one whose `retry` is `itself` passes by (`BusLostError`: no server, no majority), and then
    nothing of the call is known to have happened or not: a `Publisher` finds out when it is opened again.
    """

    @property
    def abilities(self) -> Abilities: ...

    def ensure(self, topic: Topic) -> None:
        """Make the topic, or bring it to what is wanted.

        Its number of partitions never changes: that would break the order of keys. Asking for another is an error.
        """
        ...

    def held(self, wanted: Topic) -> Topic | None:
        """What `ensure` would find: the topic as it is; None when it is not there. Changes nothing.

        What the transport does not tell (RabbitMQ's policies, most of them their replicas) is as it is wanted.
        """
        ...

    def topics(self) -> Mapping[str, int]:
        """Names of the topics that are there, each with its number of partitions."""
        ...

    def append(self, topic: str, records: pa.Table) -> Published:
        """Write rows of `RECORD_SCHEMA` in their order. When it returns, all of them are durable.

        A call that fails may have written some of them. Waits while the transport cannot take more.
        """
        ...

    def read(
        self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0
    ) -> pa.Table:
        """Up to about `limit` records from `offset` on, of `FETCHED_SCHEMA`; empty if none came within `timeout` seconds.

        An offset below the first that is kept is an error (`OffsetGoneError`): nothing is passed over in silence.
        """
        ...

    def spans(self, topic: str) -> Mapping[int, Span]:
        """First and end offset of each partition. What was appended before the call is in it."""
        ...

    def seek_time(self, topic: str, at: datetime) -> Mapping[int, int]:
        """For each partition the offset of the first record with a timestamp at or after `at`; its end if there is none."""
        ...

    def committed(self, group: str, topic: str) -> Mapping[int, int]:
        """The next offset of the group in each partition for which it has committed one."""
        ...

    def publisher(self, name: str) -> Publisher:
        """The writer of that name, from now on; one that was opened before can write no more."""
        ...

    def member(self, group: str, topics: Sequence[str], *, start: Start | None = None) -> Member:
        """Take part in a group: each partition of the topics is read by one member at a time."""
        ...

    def close(self) -> None: ...


class Publisher(Protocol):
    """Writes each place once per topic and partition, whoever is killed when.

    - Repeats: records whose place is at or below the partition's highest are dropped.
    - Order: calls must come in order of their places; within a call each table is in order.
    - Fencing: a predecessor of the same name gets `FencedError`, and none of its records come after ours.
    - Done: when `publish` returns, every record is durable. After an error close it and open another.
    """

    def publish(self, batches: Mapping[str, pa.Table]) -> Published:
        """Write tables of `PLACED_SCHEMA`, by topic. Topics must exist."""
        ...

    def places(self, topic: str) -> Mapping[int, Place]:
        """The highest place of each partition that has one."""
        ...

    def close(self) -> None: ...


class Member(Protocol):
    """One reader of a group.

    - Order: records of a partition come in order of offset, from `start` on, without a gap.
    - Repeats: what was not committed comes again, to whoever has the partition then.
    - Rebalance: happens inside `poll` and nowhere else. What was fetched of a partition that is gone must not be committed:
      `commit` raises `FencedError` for it, and commits nothing of that call.
    """

    def poll(self, timeout: float = 1.0, *, limit: int = 10_000) -> Sequence[Fetched]:
        """What is there, up to about `limit` records in all; waits up to `timeout` seconds for the first."""
        ...

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Next offsets. On a transport that `acknowledges`: all records below them that this member was given are done."""
        ...

    def reject(self, partition: Partition, offsets: Sequence[int], *, again: bool) -> None:
        """Hand single records back: to be delivered again (so often as the topic allows), or set apart at once.

        Only where `acknowledges`; elsewhere a `BusError` that is never retried.
        """
        ...

    def seek(self, partition: Partition, offset: int) -> None:
        """Go on from there with the next `poll`. The partition must be assigned."""
        ...

    @property
    def assigned(self) -> Mapping[Partition, int]:
        """The partitions that are ours now, each with its generation."""
        ...

    def close(self) -> None:
        """Leave the group at once, so that others take over without waiting for a timeout."""
        ...
