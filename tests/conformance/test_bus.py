"""What every engine of the bus must do with topics and records."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conformance.buses import (
    PATIENCE_S,
    Running,
    assert_once,
    assert_ordered,
    column,
    new_topic,
    numbered,
    numbers,
    polled,
    rows,
    total,
    whole,
)

from bitvelocity.errors import BusError, BusLostError, OffsetGoneError
from bitvelocity.streams import FETCHED_SCHEMA, RECORD_SCHEMA, Bus, Partition, Topic, partition_of

NAMES = st.text("abcXYZ019-_.", min_size=1, max_size=12).filter(lambda name: name[0].isalpha())
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "key": st.none() | st.binary(max_size=20),
            "value": st.none() | st.binary(max_size=200),
            "headers": st.lists(st.tuples(NAMES | st.just("twice"), st.binary(max_size=20)), max_size=4),
            "timestamp": st.integers(1_000, 4_102_444_800_000_000),
        }
    ),
    max_size=30,
)


def needs(bus: Bus, **abilities: Any) -> None:
    """Skip the test, unless the transport declares these."""
    for name, wanted in abilities.items():
        if getattr(bus.abilities, name) != wanted:
            pytest.skip(f"declares {name}={getattr(bus.abilities, name)}")


def micros(records: pa.Table) -> list[int]:
    stamps: list[Any] = records["timestamp"].cast(pa.int64()).to_pylist()
    return stamps


def test_records_come_back_as_they_were(bus: Bus) -> None:
    topic = new_topic(bus)
    exact = 1 if bus.abilities.timestamps == "us" else 1000
    before = 0

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(RECORDS)
    def round_trip(records: list[dict[str, Any]]) -> None:
        nonlocal before
        bus.append(topic, pa.Table.from_pylist(records, schema=RECORD_SCHEMA))
        got = whole(bus, topic, before + len(records))
        assert got.schema == FETCHED_SCHEMA
        mine = got.slice(before).to_pylist()
        before += len(records)
        for row, stamp, record in zip(mine, micros(got.slice(len(got) - len(records))), records, strict=True):
            assert (row["key"], row["value"], row["headers"] or []) == (record["key"], record["value"], record["headers"])
            assert stamp == record["timestamp"] // exact * exact

    if not bus.abilities.replay:
        pytest.skip("without replay: test_records_reach_a_group")
    round_trip()


def test_records_reach_a_group(bus: Bus) -> None:
    """The kinds of records once more, for transports that cannot read by offset."""
    topic = new_topic(bus)
    member = bus.member("g", [topic])
    member.poll(0)
    records: list[dict[str, Any]] = [
        {"key": b"k", "value": b"\x00\xff", "headers": [("a", b"1"), ("b", b"\xff"), ("a", b"2")], "timestamp": 1_000},
        {"key": None, "value": b"", "headers": [], "timestamp": 2_000},
        {"key": b"", "value": None, "headers": [], "timestamp": 3_000},
    ]
    bus.append(topic, pa.Table.from_pylist(records, schema=RECORD_SCHEMA))
    got = pa.concat_tables([one.records for one in polled([member], lambda got: total(got) >= 3)])
    assert got.schema == FETCHED_SCHEMA
    found = sorted(got.to_pylist(), key=lambda row: row["timestamp"])
    assert [row["headers"] or [] for row in found] == [record["headers"] for record in records]
    assert [(row["key"], row["value"]) for row in found] == [(record["key"], record["value"]) for record in records]
    assert sorted(micros(got)) == [1_000, 2_000, 3_000]
    member.close()


def test_keys_keep_their_order_and_go_where_java_puts_them(bus: Bus) -> None:
    topic = new_topic(bus, 3)
    for begin in range(0, 60, 12):
        bus.append(topic, numbered(begin, begin + 12))
    got = whole(bus, topic, 60)
    assert_once(got, range(60))
    if bus.abilities.order != "none":
        assert_ordered(got)
    if bus.abilities.partitions:
        assert column(got, "partition") == partition_of(got["key"], 3).tolist()


def test_offsets_rise_and_are_given_once(bus: Bus) -> None:
    needs(bus, replay=True)
    topic = new_topic(bus, 2)
    ends: dict[Partition, int] = {}
    for begin in range(0, 30, 10):
        published = bus.append(topic, numbered(begin, begin + 10))
        assert (published.written, published.dropped) == (10, 0)
        ends |= published.ends
    got = whole(bus, topic, 30)
    places = list(zip(column(got, "partition"), column(got, "offset"), strict=True))
    assert places == sorted(set(places))
    assert ends == {Partition(topic, number): span.end for number, span in bus.spans(topic).items() if span.end}
    assert all(offset < ends[Partition(topic, number)] for number, offset in places)


def test_threads_and_connections_write_and_read_at_once(bus_engine: Running, bus: Bus) -> None:
    topic = new_topic(bus, 2)
    other = bus_engine.open()

    def write(number: int) -> None:
        for begin in range(number * 100, number * 100 + 100, 20):
            (bus, other)[number % 2].append(topic, numbered(begin, begin + 20))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert_once(whole(bus, topic, 400), range(400))


def test_spans_tell_what_is_there(bus: Bus) -> None:
    needs(bus, replay=True)
    topic = new_topic(bus, 2)
    empty = bus.spans(topic)
    assert set(empty) == set(range(len(empty)))
    assert all(span.first == span.end for span in empty.values())
    bus.append(topic, rows([b"1", b"2"], [None]))
    span = bus.spans(topic)[0]
    assert column(whole(bus, topic, 2), "value") == [b"1", b"2"]
    assert bus.read(Partition(topic, 0), span.end, timeout=0).num_rows == 0


def test_a_read_begins_at_its_offset_and_ends_at_its_limit(bus: Bus) -> None:
    needs(bus, replay=True)
    topic = new_topic(bus)
    for begin in range(0, 100, 25):
        bus.append(topic, numbered(begin, begin + 25))
    offsets = column(whole(bus, topic, 100), "offset")
    got = bus.read(Partition(topic, 0), offsets[40], limit=10, timeout=PATIENCE_S)
    assert numbers(got)[0] == 40
    assert 1 <= got.num_rows <= 25


def test_a_read_waits_for_what_comes(bus_engine: Running, bus: Bus) -> None:
    needs(bus, replay=True)
    topic = new_topic(bus)
    end = bus.spans(topic)[0].end
    began = time.monotonic()
    assert bus.read(Partition(topic, 0), end, timeout=0.3).schema == FETCHED_SCHEMA
    assert 0.25 < time.monotonic() - began < PATIENCE_S
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(bus.read, Partition(topic, 0), end, timeout=3 * PATIENCE_S)
        bus_engine.open().append(topic, rows([b"news"]))
        assert column(reading.result(), "value") == [b"news"]
    assert time.monotonic() - began < PATIENCE_S


def test_seek_time_finds_the_first_at_or_after(bus: Bus) -> None:
    needs(bus, seek_time=True)
    topic = new_topic(bus, 2)
    empty = bus.seek_time(topic, datetime(2000, 1, 1, tzinfo=UTC))
    assert empty == {number: span.end for number, span in bus.spans(topic).items()}
    for begin in (0, 10):
        bus.append(topic, rows([b"%d" % n for n in range(begin, begin + 10)], [None], at=(begin + 1) * 1_000_000))
    offsets = column(whole(bus, topic, 20), "offset")
    origin = datetime(1970, 1, 1, tzinfo=UTC)
    for seconds, row in ((0, 0), (1, 0), (5, 4), (10.5, 10), (20, 19)):
        assert bus.seek_time(topic, origin + timedelta(seconds=seconds))[0] == offsets[row], f"at {seconds} s"
    assert bus.seek_time(topic, origin + timedelta(seconds=21))[0] == bus.spans(topic)[0].end


def test_what_is_no_longer_kept_is_an_error(bus_engine: Running, bus: Bus) -> None:
    needs(bus, replay=True)
    if not bus_engine.engine.forget:
        pytest.skip("cannot be made to forget")
    topic = new_topic(bus)
    for begin in range(0, 40, 10):
        bus.append(topic, numbered(begin, begin + 10))
    first = bus.spans(topic)[0].first
    bus_engine.engine.forget(bus, Partition(topic, 0), first + 20)
    span = bus.spans(topic)[0]
    assert first < span.first <= first + 20
    with pytest.raises(OffsetGoneError) as gone:
        bus.read(Partition(topic, 0), first, timeout=PATIENCE_S)
    assert gone.value.entity == topic
    assert str(span.first) in str(gone.value)
    left = numbers(whole(bus, topic, 0))
    assert left == [*range(40 - len(left), 40)]


def test_a_topic_is_made_once_and_keeps_its_partitions(bus_engine: Running, bus: Bus) -> None:
    name = new_topic(bus, 2)
    count = bus.topics()[name]
    wanted = Topic(name=name, partitions=count)
    bus.append(name, numbered(0, 3))
    bus_engine.open().ensure(wanted)
    if bus.abilities.retention:
        bus.ensure(replace(wanted, retention=timedelta(days=3), retention_bytes=1 << 30))
        bus.ensure(wanted)
    assert_once(whole(bus, name, 3), range(3))
    with pytest.raises(BusError) as refused:
        bus.ensure(replace(wanted, partitions=count + 1))
    assert refused.value.retry != "itself"
    assert bus_engine.open().topics()[name] == count


def test_a_topic_that_is_not_there(bus: Bus) -> None:
    calls: list[Any] = [
        lambda: bus.append("no-such-topic", numbered(0, 1)),
        lambda: bus.spans("no-such-topic"),
        lambda: bus.read(Partition("no-such-topic", 0), 0, timeout=0),
    ]
    for call in calls:
        with pytest.raises(BusError) as refused:
            call()
        assert not isinstance(refused.value, BusLostError)
    assert "no-such-topic" not in bus.topics()


def test_large_and_empty_records_do_no_harm(bus: Bus) -> None:
    """A record of 1 MB passes. One of 48 MB passes or is refused for good, and those around it are there."""
    topic = new_topic(bus)
    large = bytes(range(256)) * 4096
    sent: list[bytes | None] = [b"", None, large, b"after"]
    bus.append(topic, rows(sent))
    refusal = None
    try:
        bus.append(topic, rows([large * 48], [b"huge"]))
        sent.append(large * 48)
    except BusError as refused:
        refusal = refused
    assert refusal is None or (refusal.retry != "itself" and refusal.entity == topic), refusal
    bus.append(topic, rows([b"last"]))
    values = column(whole(bus, topic, len(sent) + 1), "value")
    expected = [*sent, b"last"]
    if bus.abilities.order == "none":
        values.sort(key=repr)
        expected.sort(key=repr)
    assert [value if value is None else (len(value), value[:9]) for value in values] == [
        value if value is None else (len(value), value[:9]) for value in expected
    ]


def test_a_writer_that_is_faster_loses_nothing(bus: Bus) -> None:
    """30 MB before anybody reads; then a reader takes them in its own steps."""
    topic = new_topic(bus)
    member = bus.member("slow", [topic])
    member.poll(0)
    table = rows([b"%d" % n + b" " * 990 for n in range(3000)])
    for _ in range(10):
        bus.append(topic, table)
    got = polled([member], lambda got: total(got) >= 30_000, limit=2000)
    assert total(got) == 30_000
    assert max(one.records.num_rows for one in got) <= 2000 + 3000
    if bus.abilities.order != "none":
        assert numbers(pa.concat_tables([one.records for one in got])) == [*range(3000)] * 10
    member.close()


def test_a_compacted_topic_keeps_the_last_of_each_key(bus: Bus) -> None:
    needs(bus, compaction=True)
    topic = new_topic(bus, compacted=True)
    bus.append(topic, numbered(0, 40))
    last = dict(zip(column(numbered(0, 40), "key"), range(40), strict=True))
    got = whole(bus, topic, 40)
    assert_ordered(got)
    assert dict(zip(column(got, "key"), numbers(got), strict=True)) == last


def test_what_is_not_declared_is_refused_when_it_is_asked_for(bus: Bus) -> None:
    topic = new_topic(bus)
    bus.append(topic, numbered(0, 1))
    abilities = bus.abilities
    calls: list[Any] = []
    member = bus.member("g", [topic])
    if not abilities.replay:
        calls.append(lambda: bus.read(Partition(topic, 0), 0, timeout=0))
    if not abilities.seek_time:
        calls.append(lambda: bus.seek_time(topic, datetime(2000, 1, 1, tzinfo=UTC)))
    if not abilities.dedup:
        calls.append(lambda: bus.publisher("p"))
    if not abilities.acknowledges:
        calls.append(lambda: member.reject(Partition(topic, 0), [0], again=True))
    if not abilities.compaction:
        calls.append(lambda: bus.ensure(Topic(name=f"{topic}-c", compacted=True)))
    if not abilities.retention:
        calls.append(lambda: bus.ensure(Topic(name=f"{topic}-r", retention=timedelta(days=1))))
    if not abilities.partitions:
        calls.append(lambda: bus.ensure(Topic(name=f"{topic}-p", partitions=2)))
    for call in calls:
        with pytest.raises(BusError) as refused:
            call()
        assert refused.value.retry != "itself", refused.value
    member.close()


def test_a_topic_is_told_as_it_is_held(bus: Bus) -> None:
    """What was wanted at its making, whatever is asked for now; nothing is made by asking."""
    other = {"compacted": True} if bus.abilities.compaction else {}
    keeps = timedelta(hours=3) if bus.abilities.retention and not other else None
    wanted = Topic(name=f"held-{uuid4().hex[:8]}", partitions=3 if bus.abilities.partitions else 1, retention=keeps, **other)
    assert bus.held(wanted) is None
    assert wanted.name not in bus.topics()
    bus.ensure(wanted)
    assert bus.held(wanted) == wanted
    assert bus.held(Topic(name=wanted.name)) == wanted


def test_a_bus_is_closed_while_others_read(bus_engine: Running) -> None:
    """Whoever waits is not left waiting: it gets what there is, or an error."""
    buses = [bus_engine.open() for _ in range(3)]
    needs(buses[0], replay=True)
    topic = new_topic(buses[0])

    def reading(bus: Bus) -> None:
        for _ in range(int(PATIENCE_S / 0.3)):
            bus.read(Partition(topic, 0), 0, timeout=0.3)

    with ThreadPoolExecutor(6) as threads:
        waiting = [threads.submit(reading, bus) for bus in buses for _ in range(2)]
        for bus in buses:
            bus.read(Partition(topic, 0), 0, timeout=0.1)
            bus.close()
        for one in waiting:
            assert isinstance(one.exception(PATIENCE_S), BusError)
