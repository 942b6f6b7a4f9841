"""The engines of the bus that the suite runs over, and what its tests share.

An engine's owner adds one entry to `ENGINES`. Its `connect` is called in processes of their own as well, so that all it
gets is the address, a text. Its server comes from the session fixture named `server`, which skips by name where there is
none. What the engine cannot do, and does not declare, is a *gap*: the test's name with the reason, strict.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import pyarrow as pa
from tests.forked import Talking

from bitvelocity.errors import BusLostError
from bitvelocity.streams import PLACED_SCHEMA, RECORD_SCHEMA, Bus, Fetched, Member, Partition, Topic
from bitvelocity.streams.embedded import EmbeddedBus

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 40.0
"""Until a test gives up waiting for what must come."""
FENCED = 3
"""Exit code of a child that was fenced."""


class Server(Protocol):
    """One transport, which lives as long as the session. Started again it has its address and its data."""

    @property
    def address(self) -> str: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How the suite comes to one transport.

    `forget(bus, partition, offset)` lets go of the records below an offset, as retention would in time; it may keep some of
    them. `gaps`: name of a test, and why the engine fails it. `serverless`: no process but ours. `settles_s`: what was
    made so long ago outlives a kill.
    """

    connect: Callable[[str], Bus]
    server: str
    forget: Callable[[Bus, Partition, int], None] | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)
    serverless: bool = False
    settles_s: float = 0.0


class Folder:
    """The place of a transport without a server."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder)

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


def _embedded(address: str) -> Bus:
    return EmbeddedBus(Path(address))


def _kafka(address: str) -> Bus:
    from bitvelocity.streams.kafka import KafkaBus

    return KafkaBus(address)


def _records_deleted(bus: Bus, partition: Partition, offset: int) -> None:
    from bitvelocity.streams.kafka import KafkaBus

    assert isinstance(bus, KafkaBus)
    bus.forget(partition, offset)


def _nats(address: str) -> Bus:
    from bitvelocity.streams.nats import NatsBus

    return NatsBus(address, lease=2)


def _purged(bus: Bus, partition: Partition, offset: int) -> None:
    """Away with the messages before that record, as retention would have it."""
    from bitvelocity.streams.nats import NatsBus

    assert isinstance(bus, NatsBus)
    bus.forget(partition, offset)


def _embedded_forget(bus: Bus, partition: Partition, offset: int) -> None:
    from bitvelocity.streams.embedded.upkeep import forget

    assert isinstance(bus, EmbeddedBus)
    forget(bus.topic(partition.topic), partition.number, offset)


def _rabbitmq(address: str) -> Bus:
    from bitvelocity.streams.rabbitmq import RabbitStreams

    return RabbitStreams(address)


def _rabbitmq_queues(address: str) -> Bus:
    from bitvelocity.streams.rabbitmq import RabbitQueues

    return RabbitQueues(address, settle=0)


ENGINES: dict[str, Engine] = {
    "embedded": Engine(connect=_embedded, server="embedded_server", forget=_embedded_forget, serverless=True),
    "kafka": Engine(connect=_kafka, server="kafka_server", forget=_records_deleted),
    "nats": Engine(connect=_nats, server="nats_server", forget=_purged),
    "rabbitmq": Engine(
        connect=_rabbitmq,
        server="rabbitmq_server",
        gaps={
            "test_a_topic_is_made_once_and_keeps_its_partitions": "the bounds of a stream are changed by a policy only",
        },
    ),
    "rabbitmq-queues": Engine(connect=_rabbitmq_queues, server="rabbitmq_server", settles_s=1.2),
}

_numbers = count(1)


class Running:
    """An engine with its server, for one test."""

    def __init__(self, name: str, server: Server) -> None:
        self.name, self.server, self.engine = name, server, ENGINES[name]
        self._opened: list[Bus] = []
        self._children: list[Talking] = []

    def open(self) -> Bus:
        """A further connection, closed with the test."""
        self._opened.append(self.engine.connect(self.server.address))
        return self._opened[-1]

    def child(self, role: str, *words: str) -> Talking:
        """A role of `bus_child.py` in a process of its own, killed with the test."""
        return self.child_of("tests.conformance.bus_child", role, *words)

    def child_of(self, module: str, *words: str) -> Talking:
        """A program that works with this server."""
        self._children.append(Talking("-m", module, self.name, self.server.address, *words, cwd=ROOT))
        return self._children[-1]

    def restart(self) -> None:
        self.server.stop()
        self.server.start()

    def kill(self) -> None:
        """Kill -9, and start again."""
        time.sleep(self.engine.settles_s)
        self.server.kill()
        self.server.start()

    def close(self) -> None:
        for child in self._children:
            child.end()
        for bus in self._opened:
            bus.close()


def new_topic(bus: Bus, partitions: int = 1, **wanted: Any) -> str:
    """A topic of this test's own."""
    name = f"t{next(_numbers)}-{uuid4().hex[:8]}"
    bus.ensure(Topic(name=name, partitions=partitions if bus.abilities.partitions else 1, **wanted))
    return name


def rows(values: Iterable[bytes | None], keys: Sequence[bytes | None] = (b"k",), at: int = 1_000_000) -> pa.Table:
    """Records with these values; the keys in turn, the timestamps a second apart."""
    made: list[dict[str, Any]] = [
        {"key": keys[n % len(keys)], "value": value, "headers": [], "timestamp": at + n * 1_000_000}
        for n, value in enumerate(values)
    ]
    return pa.Table.from_pylist(made, schema=RECORD_SCHEMA)


def numbered(begin: int, end: int, keys: int = 4) -> pa.Table:
    """Records whose values are numbers; each key has its own, in order."""
    spread = [b"key-%d" % number for number in range(keys)]
    return rows((b"%d" % number for number in range(begin, end)), spread[begin % keys :] + spread[: begin % keys])


def placed(begin: int, end: int, keys: int = 4) -> pa.Table:
    """The same with the number as the LSN of their place."""
    table = numbered(begin, end, keys)
    zeros = [0] * table.num_rows
    places: list[Any] = [pa.array(range(begin, end), pa.int64()), pa.array(zeros, pa.int32()), pa.array(zeros, pa.int8())]
    return pa.Table.from_arrays([*table.columns, *places], schema=PLACED_SCHEMA)


def column(table: pa.Table, name: str) -> list[Any]:
    return table[name].to_pylist()


def numbers(table: pa.Table) -> list[int]:
    return [int(value) for value in column(table, "value")]


def whole(bus: Bus, topic: str, expected: int) -> pa.Table:
    """All records of a topic: by offset where there is replay, else as a new group gets them until there are `expected`."""
    if bus.abilities.replay:
        parts = [_partition(bus, Partition(topic, number)) for number in sorted(bus.spans(topic))]
        return pa.concat_tables(parts)
    member = bus.member(uuid4().hex, [topic])
    got = polled([member], lambda got: total(got) >= expected)
    member.close()
    return pa.concat_tables([one.records for one in got])


def _partition(bus: Bus, partition: Partition) -> pa.Table:
    offset, end = bus.spans(partition.topic)[partition.number]
    parts = [bus.read(partition, end, timeout=0)]
    deadline = time.monotonic() + PATIENCE_S
    while offset < end:
        part = bus.read(partition, offset, timeout=5)
        parts.append(part)
        offset = int(part["offset"][-1].as_py()) + 1 if part.num_rows else offset
        assert time.monotonic() < deadline, f"{partition} gave nothing from {offset} on, and ends at {end}"
    return pa.concat_tables(parts)


def total(got: Sequence[Fetched]) -> int:
    return sum(one.records.num_rows for one in got)


def polled(
    members: Sequence[Member], done: Callable[[list[Fetched]], bool], *, commit: bool = True, limit: int = 10_000
) -> list[Fetched]:
    """Poll the members in turn, and commit, until it is done; a server that is away is waited for."""
    got: list[Fetched] = []
    deadline = time.monotonic() + PATIENCE_S
    while not done(got):
        assert time.monotonic() < deadline, f"after {PATIENCE_S:.0f} s there were {total(got)} records"
        for member in members:
            try:
                fetched = member.poll(0.05, limit=limit)
                got += fetched
                if commit and fetched:
                    member.commit({one.partition: one.next for one in fetched})
            except BusLostError:
                continue
    return got


def assert_ordered(got: pa.Table) -> None:
    """Within a key the numbers rise, by offset within its partition."""
    last: dict[Any, tuple[int, int]] = {}
    table = got.sort_by([("partition", "ascending"), ("offset", "ascending")])
    for key, number, offset in zip(column(table, "key"), numbers(table), column(table, "offset"), strict=True):
        assert last.get(key, (-1, -1)) < (number, offset), f"{key!r}: {number} at {offset} follows {last[key]}"
        last[key] = number, offset


def assert_once(got: pa.Table, expected: Iterable[int]) -> None:
    """Exactly these numbers, each once."""
    wrong = Counter(numbers(got))
    wrong.subtract(list(expected))
    assert not (odd := {number: times for number, times in wrong.items() if times}), f"missing < 0 < doubled: {odd}"


def again(call: Callable[[], Any]) -> Any:
    """Call until the server is there."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except BusLostError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
