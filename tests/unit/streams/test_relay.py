"""A source's change sets over a bus: once, whole, in order, whoever breaks off where."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import (
    AFTER,
    BEFORE,
    MESSAGES,
    SYSTEM_FIELDS,
    Batch,
    ChangeSet,
    Mark,
    MemoryChangeSet,
    is_table,
)
from bitvelocity.changes.formats import RECORD_SCHEMA
from bitvelocity.errors import BusError, FencedError
from bitvelocity.streams import Bus, Partition, Topic
from bitvelocity.streams.embedded import EmbeddedBus
from bitvelocity.streams.placing import places_of
from bitvelocity.streams.relay import BusSource, Relay, Undecodable

BOUNDARIES = "shop.boundaries"
Row = dict[str, Any]


def batch(relation: str, rows: list[Row]) -> Batch:
    columns = ("id", "text")
    system = [pa.array([row.get(name) for row in rows], kind) for name, kind in SYSTEM_FIELDS]
    images = [pa.array([row.get(image + name) for row in rows], pa.string()) for image in (AFTER, BEFORE) for name in columns]
    names = [*(name for name, _ in SYSTEM_FIELDS), *(image + name for image in (AFTER, BEFORE) for name in columns)]
    return Batch(relation, columns, pa.Table.from_arrays([*system, *images], names=names))


def change(lsn: int, ordinal: int, key: int) -> Row:
    return {"_op": "c", "_lsn": lsn, "_ordinal": ordinal, "_xid": lsn, "_committed_at": 1_700_000_000_000_000 + lsn,
            AFTER + "id": str(key), AFTER + "text": f"{lsn}/{ordinal}"}  # fmt: skip


def change_set(lsn: int, sizes: dict[str, int]) -> MemoryChangeSet:
    ordinals = itertools.count()
    batches = [
        batch(relation, [change(lsn, ordinal, lsn * 7 + ordinal) for ordinal in itertools.islice(ordinals, size)])
        for relation, size in sizes.items()
    ]
    return MemoryChangeSet(tuple(batches), Mark(lsn, lsn + 5, 1_700_000_000_000_000 + lsn, 1, sum(sizes.values())))


def encode(batches: Iterable[Batch]) -> Iterator[pa.Table]:
    for one in batches:
        rows = one.data.set_column(4, "_committed_at", one.data["_committed_at"].cast(pa.int64())).to_pylist()
        yield pa.Table.from_pylist(
            [
                {"topic": f"shop.{one.relation}", "key": row[AFTER + "id"].encode(), "value": json.dumps(row).encode(),
                 "headers": None, "timestamp": row["_committed_at"], "lsn": row["_lsn"], "ordinal": row["_ordinal"], "step": 0}
                for row in rows
            ],
            schema=RECORD_SCHEMA,
        )  # fmt: skip


def decode(topic: str, records: pa.Table) -> tuple[list[Batch], Undecodable | None]:
    values = [(value or b"").decode() for value in records["value"].to_pylist()]
    good = sorted((json.loads(value) for value in values if value != "spoilt"), key=itemgetter("_lsn", "_ordinal"))
    bad = [at for at, value in enumerate(values) if value == "spoilt"]
    refused = Undecodable(topic, records.take(bad), ("spoilt",) * len(bad), ("x",) * len(bad)) if bad else None
    return ([batch(topic.partition(".")[2], good)] if good else []), refused


class Memory:
    """A source that repeats what was not confirmed."""

    def __init__(self, sets: list[MemoryChangeSet], first: list[MemoryChangeSet] | None = None) -> None:
        self.sets, self.first = sets, first or []
        self.confirmed = self.seen = 0

    def snapshot(self) -> Iterator[ChangeSet]:
        if not self.confirmed:
            yield from self.first

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        for one in [one for one in self.sets if one.mark.resume > self.confirmed]:
            yield one
            self.seen = max(self.seen, one.mark.resume)

    def confirm(self, lsn: int) -> None:
        self.confirmed = max(self.confirmed, lsn)

    def close(self) -> None: ...


class Lake:
    """What a sink has: rows and the position of its last commit."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.messages: list[str] = []
        self.marks: list[Mark] = []

    @property
    def position(self) -> int:
        return self.marks[-1].lsn if self.marks else -1

    def take(self, change_set: ChangeSet) -> None:
        staged: list[Batch] = list(change_set)
        for one in staged:
            if is_table(one.relation):
                self.rows.setdefault(one.relation, []).extend(one.data.to_pylist())
            else:
                self.messages += [str(said) for said in one.data[AFTER + "content"].to_pylist()]
        self.marks.append(change_set.mark)


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[EmbeddedBus]:
    bus = EmbeddedBus(tmp_path / "bus")
    yield bus
    bus.close()


def relay(bus: Bus, partitions: int = 1, *, at: Callable[[str], None] = lambda _: None, start: int = -1) -> Relay:
    return Relay(
        bus, encode, name="shop", boundaries=BOUNDARIES, topic=lambda name: Topic(name=name, partitions=1 if name == BOUNDARIES else partitions), start=start, at=at
    )


def drain(bus: Bus, lake: Lake, notes: Path | None = None, stop_after: int = 1_000) -> None:
    source = BusSource(bus, decode, boundaries=BOUNDARIES, position=lake.position, notes=notes)
    for number, one in enumerate(itertools.chain(source.snapshot(), source.tail(0.0))):
        lake.take(one)
        if number == stop_after:
            return  # killed before it could confirm
        source.confirm(one.mark.resume)


def places(rows: list[Row]) -> list[tuple[int, int]]:
    return [(row["_lsn"], row["_ordinal"]) for row in rows]


def expected(sets: list[MemoryChangeSet], relation: str) -> list[tuple[int, int]]:
    return [place for one in sets for each in one if each.relation == relation for place in places(each.data.to_pylist())]


SETS = [change_set(lsn, {"orders": lsn % 4, "items": lsn % 7}) for lsn in range(10, 400, 10)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_what_goes_in_comes_out(bus: EmbeddedBus, partitions: int) -> None:
    first = change_set(5, {"orders": 50, "items": 70})
    lake, source = Lake(), Memory(SETS, [first])
    with relay(bus, partitions) as going:
        going.begin(source)
        going.step(source, 0.0)
    drain(bus, lake)
    for relation in ("orders", "items"):
        assert places(lake.rows[relation]) == expected([first, *SETS], relation)
    assert lake.marks[0] == first.mark
    assert lake.marks[-1].lsn == SETS[-1].mark.lsn
    assert source.confirmed == SETS[-1].mark.resume


class Halting(EmbeddedBus):
    """Gives few records at a time, as a broker may."""

    def read(self, partition: Partition, offset: int, *, limit: int = 10_000, timeout: float = 1.0) -> pa.Table:
        return super().read(partition, offset, limit=min(limit, 3), timeout=timeout).slice(0, 3)


class KilledError(Exception):
    """As a kill would end it."""


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_or_doubled_whoever_breaks_off_where(bus: EmbeddedBus, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)

    def strike(_: str) -> None:
        if dice.random() < 0.03:
            raise KilledError

    lake, source = Lake(), Memory(SETS, [change_set(5, {"orders": 30, "items": 41})])
    notes = tmp_path / "notes.json" if seed % 2 else None
    for _ in range(100):
        try:
            going = relay(bus, 1 + seed % 3, at=strike)
            source.confirmed = source.confirmed - dice.choice([0, 0, 30]) if going.begun else 0
            if not going.begun:
                source.first = [change_set(source.first[0].mark.lsn + 1, {"orders": 30, "items": 41})]  # of a new slot
                going.begin(source)
            going.step(source, 0.0)
        except KilledError:
            pass
        drain(bus, lake, notes, stop_after=dice.randrange(4))
        if lake.position == SETS[-1].mark.lsn and source.confirmed == SETS[-1].mark.resume:
            break
    sets = [*source.first, *SETS]
    for relation in ("orders", "items"):
        assert places(lake.rows[relation]) == expected(sets, relation)
    assert [mark.lsn for mark in lake.marks] == sorted({mark.lsn for mark in lake.marks})


def test_a_second_relay_makes_the_first_one_stop(bus: EmbeddedBus) -> None:
    lake, source = Lake(), Memory(SETS)
    zombie = relay(bus, start=0)
    with relay(bus, start=0) as going:
        going.step(Memory(SETS[:5]), 0.0)
        with pytest.raises(FencedError):
            zombie.step(source, 0.0)
    lake.marks.append(Mark(0, 0))
    drain(bus, lake)
    assert places(lake.rows["orders"]) == expected(SETS[:5], "orders")


def test_messages_ride_on_the_boundary_and_silence_is_told(bus: EmbeddedBus) -> None:
    said = {"_op": "m", "_lsn": 20, "_ordinal": 3, "_xid": 4, "_committed_at": 1_700_000_000_000_000}
    fields = [*SYSTEM_FIELDS, *((AFTER + name, pa.string()) for name in ("prefix", "content", "transactional"))]
    row = {**said, AFTER + "prefix": "bv.ddl", AFTER + "content": "\\x7b7d", AFTER + "transactional": "t"}
    table = pa.Table.from_arrays([pa.array([row.get(name)], kind) for name, kind in fields], names=[name for name, _ in fields])
    told = Batch(MESSAGES, ("prefix", "content", "transactional"), table)
    source = Memory([MemoryChangeSet((told,), Mark(20, 25, 1, 1))])
    lake = Lake()
    with relay(bus, start=0) as going:
        going.step(source, 0.0)
        source.seen = 90
        going._spoke_at = -10.0
        going.step(source, 0.0)
    lake.marks.append(Mark(0, 0))
    taking = BusSource(bus, decode, boundaries=BOUNDARIES, position=0)
    for one in taking.tail(0.0):
        (batch,) = one
        assert batch.data.equals(table)
        assert one.mark.lsn == 20
    assert taking.seen == 90
    assert taking.level


def test_a_lake_that_stands_elsewhere_is_refused(bus: EmbeddedBus) -> None:
    with relay(bus, start=100) as going:
        going.step(Memory([change_set(110, {"orders": 1})]), 0.0)
    for position in (-1, 50):
        source = BusSource(bus, decode, boundaries=BOUNDARIES, position=position)
        with pytest.raises(BusError, match="go on behind 0/64"):
            next(source.tail(0.0))
    lake = Lake()
    lake.marks.append(Mark(100, 105))
    drain(bus, lake)
    assert lake.position == 110


@pytest.mark.parametrize("partitions", [1, 2])
def test_records_of_others_are_told_and_can_be_set_apart(bus: EmbeddedBus, partitions: int) -> None:
    with relay(bus, partitions, start=0) as going:
        going.step(Memory(SETS[:3]), 0.0)
        foreign = pa.Table.from_pylist([{"value": b"foreign"}], schema=pa.schema(list(RECORD_SCHEMA)[1:5]))
        bus.append("shop.orders", foreign)
        going.step(Memory(SETS[:6]), 0.0)
    lake = Lake()
    lake.marks.append(Mark(0, 0))
    with pytest.raises(BusError, match="1 records cannot be read: It has no place") as caught:
        drain(bus, lake)
    assert caught.value.entity == "shop.orders"
    assert lake.position == 0
    kept: list[Undecodable] = []
    source = BusSource(bus, decode, boundaries=BOUNDARIES, position=0, refuse=kept.append)
    for one in source.tail(0.0):
        lake.take(one)
    assert places(lake.rows["orders"]) == expected(SETS[:6], "orders")
    assert [one.records["value"].to_pylist() for one in kept] == [[b"foreign"]]


@pytest.mark.parametrize("partitions", [1, 2])
def test_a_record_that_is_missing_is_found_by_the_count(bus: EmbeddedBus, partitions: int) -> None:
    def forgetful(batches: Iterable[Batch]) -> Iterator[pa.Table]:
        for records in encode(batches):
            yield records.slice(1)

    with Relay(bus, forgetful, name="shop", boundaries=BOUNDARIES, topic=lambda name: Topic(name=name, partitions=1 if name == BOUNDARIES else partitions), start=0) as going:
        going.step(Memory(SETS[:6]), 0.0)
    lake = Lake()
    lake.marks.append(Mark(0, 0))
    with pytest.raises(BusError, match="of a set that was published with"):
        drain(bus, lake)
    assert lake.position == 0


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_records_of_one_change_are_never_parted(bus: EmbeddedBus, partitions: int) -> None:
    """A changed key is a delete of one key and a create of another: in two partitions, and read in whatever pieces."""

    def halved(batches: Iterable[Batch]) -> Iterator[pa.Table]:
        for records in encode(batches):
            rows = records.to_pylist()
            both = [{**row, "step": step, "key": row["key"] + bytes([step])} for row in rows for step in (0, 2)]
            yield pa.Table.from_pylist(both, schema=RECORD_SCHEMA)

    def joined(topic: str, records: pa.Table) -> tuple[list[Batch], Undecodable | None]:
        places = list(zip(*places_of(records), strict=True))
        order = sorted(range(len(places)), key=places.__getitem__)
        where = [places[row][:2] for row in order]
        assert len(where) % 2 == 0
        assert where[::2] == where[1::2]
        return decode(topic, records.take(order[::2]))

    with Relay(bus, halved, name="shop", boundaries=BOUNDARIES, topic=lambda name: Topic(name=name, partitions=1 if name == BOUNDARIES else partitions), start=0) as going:
        going.step(Memory(SETS[:8]), 0.0)
    lake = Lake()
    lake.marks.append(Mark(0, 0))
    halting = Halting(bus._folder.parent)
    for one in BusSource(halting, joined, boundaries=BOUNDARIES, position=0).tail(0.0):
        lake.take(one)
    halting.close()
    assert places(lake.rows["orders"]) == expected(SETS[:8], "orders")


def test_a_relay_goes_on_from_the_newest_boundary_however_few_it_is_given(bus: EmbeddedBus) -> None:
    halting = Halting(bus._folder.parent)
    lake, source = Lake(), Memory(SETS[:8])
    lake.marks.append(Mark(0, 0))
    with relay(halting, start=0) as going:
        going.step(source, 0.0)
    with relay(halting, start=0) as going:
        assert going.last is not None
        assert going.last.lsn == SETS[7].mark.lsn
        source.sets = SETS
        going.step(source, 0.0)
    drain(halting, lake)
    halting.close()
    assert places(lake.rows["orders"]) == expected(SETS, "orders")
