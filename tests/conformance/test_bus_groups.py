"""What every engine of the bus must do for the members of a group."""

from __future__ import annotations

import json
import time
from functools import partial
from itertools import chain, repeat
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.buses import (
    PATIENCE_S,
    Running,
    again,
    assert_once,
    assert_ordered,
    column,
    new_topic,
    numbered,
    numbers,
    polled,
    total,
    whole,
)
from tests.conformance.test_bus import needs
from tests.forked import Talking

from bitvelocity.errors import BusError, BusLostError, FencedError, OffsetGoneError
from bitvelocity.streams import Bus, Fetched, Member, Partition


def table(got: list[Fetched]) -> pa.Table:
    return pa.concat_tables([one.records for one in got])


def await_shares(members: list[Member], *shares: int) -> list[Fetched]:
    """Poll until the members hold so many partitions each."""
    return polled(members, lambda _: sorted(len(member.assigned) for member in members) == sorted(shares))


def poll_on(member: Member, got: list[Fetched]) -> None:
    """Poll until it fails, or the patience is over."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        got += member.poll(0.2)


def test_a_poll_of_nothing_ends_in_time(bus: Bus) -> None:
    member = bus.member("g", [new_topic(bus)])
    polled([member], lambda _: bool(member.assigned))
    began = time.monotonic()
    assert list(member.poll(0.3)) == []
    assert 0.2 < time.monotonic() - began < PATIENCE_S
    member.close()


def test_groups_do_not_share(bus_engine: Running, bus: Bus) -> None:
    topic = new_topic(bus, 2)
    one, other = bus.member("one", [topic]), bus_engine.open().member("other", [topic])
    await_shares([one], len(bus.spans(topic)) if bus.abilities.replay else 1)
    await_shares([other], len(one.assigned))
    bus.append(topic, numbered(0, 50))
    for member in (one, other):
        got = polled([member], lambda got: total(got) >= 50)
        assert_once(table(got), range(50))
    one.close()
    other.close()


def test_a_group_goes_on_where_it_committed(bus_engine: Running, bus: Bus) -> None:
    topic = new_topic(bus)
    member = bus.member("g", [topic])
    member.poll(0)
    bus.append(topic, numbered(0, 20))
    done = polled([member], lambda got: total(got) >= 20)
    bus.append(topic, numbered(20, 40))
    held = polled([member], lambda got: total(got) >= 20, commit=False)
    assert_once(table(held), range(20, 40))
    if bus.abilities.replay:
        assert bus.committed("g", topic) == {0: done[-1].next}
        assert bus.committed("nobody", topic) == {}
    member.close()
    heir = bus_engine.open().member("g", [topic])
    assert_once(table(polled([heir], lambda got: total(got) >= 20)), range(20, 40))
    heir.close()


def test_several_topics_in_one_member(bus: Bus) -> None:
    topics = [new_topic(bus), new_topic(bus, 2)]
    member = bus.member("g", topics)
    member.poll(0)
    for topic in topics:
        bus.append(topic, numbered(0, 30))
    got = polled([member], lambda got: total(got) >= 60)
    for topic in topics:
        assert_once(table([one for one in got if one.partition.topic == topic]), range(30))
    member.close()


def test_a_start_of_ones_own_and_seek(bus: Bus) -> None:
    needs(bus, replay=True)
    topic = new_topic(bus)
    bus.append(topic, numbered(0, 30))
    offsets = column(whole(bus, topic, 30), "offset")
    asked: list[Partition] = []

    def start(partition: Partition) -> int | None:
        asked.append(partition)
        return int(offsets[10])

    member = bus.member("g", [topic], start=start)
    got = polled([member], lambda got: total(got) >= 20, commit=False)
    assert numbers(table(got)) == [*range(10, 30)]
    assert asked == [Partition(topic, 0)]
    member.seek(Partition(topic, 0), offsets[25])
    assert numbers(table(polled([member], lambda got: total(got) >= 5, commit=False))) == [*range(25, 30)]
    with pytest.raises(BusError):
        member.seek(Partition("not-ours", 0), 0)
    member.close()


def test_a_beginning_that_fails_is_tried_again(bus: Bus) -> None:
    """A sink may be away when it is asked where a partition begins."""
    needs(bus, replay=True)
    topic = new_topic(bus, 2)
    bus.append(topic, numbered(0, 30))
    away = chain([False, True, True], repeat(False))

    def start(_: Partition) -> int | None:
        if next(away):
            raise BusLostError("The sink is away.")
        return None

    member = bus.member("g", [topic], start=start)
    assert_once(table(polled([member], lambda got: total(got) >= 30)), range(30))
    member.close()


def test_a_partition_that_cannot_be_read_takes_nothing_from_others(bus_engine: Running, bus: Bus) -> None:
    """What was fetched before it is handed over, also when its error comes."""
    needs(bus, replay=True)
    if bus_engine.engine.forget is None:
        pytest.skip("there is no way to let go of records at once")
    topics = [new_topic(bus), new_topic(bus)]
    member = bus.member("g", topics)
    for topic in [*topics, *topics, *topics]:
        bus.append(topic, numbered(0, 10))
    polled([member], lambda got: total(got) >= 60)
    for gone, other in (topics, topics[::-1]):
        bus_engine.engine.forget(bus, Partition(gone, 0), 20)
        bus.append(other, numbered(0, 30))
        member.seek(Partition(gone, 0), 0)
        got: list[Fetched] = []
        with pytest.raises(OffsetGoneError):
            poll_on(member, got)
        member.seek(Partition(gone, 0), bus.spans(gone)[0].end)
        had = total(got)
        got += polled([member], lambda more, had=had: had + total(more) >= 30)  # type: ignore[misc]
        assert_once(table(got), range(30))
    member.close()


def test_partitions_are_shared_by_who_joins_and_leaves(bus_engine: Running, bus: Bus) -> None:
    needs(bus, partitions=True)
    topic = new_topic(bus, 4)
    one = bus.member("g", [topic])
    await_shares([one], 4)
    generations = one.assigned
    other = bus_engine.open().member("g", [topic])
    await_shares([one, other], 2, 2)
    assert not set(one.assigned) & set(other.assigned)
    assert all(other.assigned[partition] > generations[partition] for partition in other.assigned)
    bus.append(topic, numbered(0, 80, keys=16))
    got = polled([one, other], lambda got: total(got) >= 80)
    assert_once(table(got), range(80))
    assert_ordered(table(got))
    other.close()
    await_shares([one], 4)
    one.close()


def test_who_lost_a_partition_cannot_commit_it(bus_engine: Running, bus: Bus) -> None:
    needs(bus, partitions=True)
    topic = new_topic(bus, 2)
    bus.append(topic, numbered(0, 40, keys=16))
    one = bus.member("g", [topic])
    held = polled([one], lambda got: total(got) >= 40, commit=False)
    offsets = {fetched.partition: fetched.next for fetched in held}
    other = bus_engine.open().member("g", [topic])
    polled([one, other], lambda _: len(one.assigned) == 1 == len(other.assigned), commit=False)
    with pytest.raises(FencedError):
        one.commit(offsets)
    assert bus.committed("g", topic) == {}
    (lost,) = other.assigned
    mine = {partition: offset for partition, offset in offsets.items() if partition != lost}
    one.commit(mine)
    assert bus.committed("g", topic) == {partition.number: offset for partition, offset in mine.items()}
    other.commit({lost: offsets[lost]})
    assert bus.committed("g", topic) == {partition.number: offset for partition, offset in offsets.items()}
    one.close()
    other.close()


def test_a_reader_that_is_killed_is_followed(bus_engine: Running, bus: Bus) -> None:
    """Kill -9: what it committed does not come again, all else does, each partition in its order."""
    topic, victim = watched(bus_engine, bus, 1000, "commit")
    done: dict[int, int] = {}
    for _ in range(4):
        _, number, _, done[number] = json.loads(victim.stdout.readline())
    victim.kill()
    for line in victim.stdout:
        _, number, _, done[number] = json.loads(line)
    heir = bus.member("g", [topic])
    if not bus.abilities.replay:
        got = table(polled([heir], lambda got: total(got) >= 1000 - sum(done.values()) - 50))
        assert len(set(numbers(got))) == got.num_rows
    else:
        committed = bus.committed("g", topic)
        assert all(end <= committed[number] for number, end in done.items())
        held = whole(bus, topic, 1000).to_pylist()
        places = [(row["partition"], row["offset"]) for row in held]
        left = [(number, offset) for number, offset in places if offset >= committed.get(number, 0)]
        got = table(polled([heir], lambda got: total(got) >= len(left)))
        found = list(zip(column(got, "partition"), column(got, "offset"), strict=True))
        assert sorted(found) == sorted(left)
        assert_ordered(got)
    heir.close()


def watched(bus_engine: Running, bus: Bus, count: int, manner: str) -> tuple[str, Talking]:
    """A topic that a group knows, with so many records, and a process that reads it."""
    topic = new_topic(bus, 2)
    opener = bus.member("g", [topic])
    opener.poll(0)
    opener.close()
    bus.append(topic, numbered(0, count, keys=16))
    return topic, bus_engine.child("consume", topic, "g", manner)


def test_a_reader_that_holds_all_is_killed(bus_engine: Running, bus: Bus) -> None:
    """It had fetched everything and committed nothing: its follower gets everything."""
    topic, victim = watched(bus_engine, bus, 100, "hold")
    victim.stdout.readline()
    victim.kill()
    heir = bus.member("g", [topic])
    got = table(polled([heir], lambda got: len({n for one in got for n in numbers(one.records)}) >= 100))
    assert set(numbers(got)) == set(range(100))
    heir.close()


def test_a_record_is_handed_back(bus: Bus) -> None:
    needs(bus, acknowledges=True)
    topic = new_topic(bus)
    member = bus.member("g", [topic])
    member.poll(0)
    bus.append(topic, numbered(0, 3))
    got = polled([member], lambda got: total(got) >= 3, commit=False)
    rejected = got[0].records["offset"][0].as_py()
    number = numbers(got[0].records)[0]
    member.reject(got[0].partition, [rejected], again=True)
    member.commit({one.partition: one.next for one in got})
    came = polled([member], lambda got: total(got) >= 1)
    assert numbers(table(came)) == [number]
    deadline = time.monotonic() + PATIENCE_S
    bus.append(topic, numbered(3, 4))
    last = polled([member], lambda got: total(got) >= 1, commit=False)
    member.reject(last[0].partition, [last[0].records["offset"][0].as_py()], again=False)
    assert list(member.poll(0.3)) == []
    assert time.monotonic() < deadline
    member.close()


def test_readings_go_on_over_a_restart(bus_engine: Running, bus: Bus) -> None:
    """The server is stopped, and then killed, between two halves: nothing is lost, what was committed does not return."""
    topic = new_topic(bus)
    member = bus.member("g", [topic])
    member.poll(0)
    stops: list[Any] = [bus_engine.restart, bus_engine.kill]
    for number, stop in enumerate(stops):
        begin = number * 20
        bus.append(topic, numbered(begin, begin + 10))
        polled([member], lambda got: total(got) >= 10)
        stop()
        more = numbered(begin + 10, begin + 20)
        again(partial(bus.append, topic, more))
        assert set(numbers(more)) <= set(numbers(table(polled([member], partial(has, begin + 19)))))
    member.close()


def has(number: int, got: list[Fetched]) -> bool:
    return any(number in numbers(one.records) for one in got)
