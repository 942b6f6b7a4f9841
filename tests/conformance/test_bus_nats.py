"""What is particular to NATS: what plain clients see, packed topics, what no header may do, and what a mark is for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from tests.conformance.buses import (
    PATIENCE_S,
    assert_once,
    assert_ordered,
    column,
    new_topic,
    numbered,
    numbers,
    placed,
    polled,
    rows,
    total,
    whole,
)

from bitvelocity.errors import BusError, BusLostError, FencedError
from bitvelocity.streams import RECORD_SCHEMA, Partition, Topic, partition_of
from bitvelocity.streams.nats import NatsBus
from bitvelocity.streams.servers import Launch, LocalServer, NatsServer, Ports

nats = pytest.importorskip("nats")


@pytest.fixture
def bus(nats_server: LocalServer) -> Iterator[NatsBus]:
    bus = NatsBus(nats_server.address, lease=2)
    yield bus
    bus.close()


def with_client(address: str, work: Callable[[Any], Awaitable[Any]]) -> Any:
    """What a client that knows nothing of us does."""

    async def connected() -> Any:
        client = await nats.connect(address)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(connected())


def records(*made: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([{"timestamp": 1_000, **one} for one in made], schema=RECORD_SCHEMA)


def test_a_plain_client_reads_what_the_bus_wrote(bus: NatsBus, nats_server: LocalServer) -> None:
    """Key, value, order and CloudEvents, by a consumer of the stock client; and the bus reads what that one writes."""
    topic = new_topic(bus)
    event: list[tuple[str, bytes]] = [("ce_id", b"16/3"), ("ce_type", b"order.placed"), ("content-type", b"avro/binary"), ("bv-user", b"u")]
    bus.append(topic, records({"key": b"7", "value": b"\x00\x01", "headers": event}, {"key": b"7", "value": None}))
    bus.publisher("p").publish({topic: placed(1, 30)})

    async def consume(client: Any) -> list[Any]:
        context = client.jetstream()
        subscription = await context.pull_subscribe(f"{topic}.0", stream=f"{topic}-0")
        messages: list[Any] = await subscription.fetch(31, timeout=5)
        await context.publish(f"{topic}.0", b"from afar", headers={"ce-id": "17", "Status": "204"})
        return messages

    first, second, *rest = with_client(nats_server.address, consume)
    assert first.data == b"\x00\x01"
    told = {"bv-key": "7", "ce-id": "16/3", "ce-type": "order.placed", "content-type": "avro/binary", "bv-user": "u"}
    assert told.items() <= first.headers.items()
    assert "bv-headers" not in first.headers
    assert (second.data, second.headers["bv-tombstone"]) == (b"", "true")
    assert [int(message.data) for message in rest] == [*range(1, 30)]
    assert all(len(message.headers["bv-place"]) == 26 for message in rest)
    got = whole(bus, topic, 32).to_pylist()
    assert got[0]["headers"] == event
    assert (got[-1]["key"], got[-1]["value"], got[-1]["headers"]) == (None, b"from afar", [("ce_id", b"17"), ("Status", b"204")])


def test_no_header_of_a_record_is_an_order_to_the_server(bus: NatsBus) -> None:
    """`Nats-Rollup` would delete what was there before; a line break would end the header."""
    topic = new_topic(bus)
    evil: list[tuple[str, bytes]] = [
        ("Nats-Rollup", b"all"), ("nats-ttl", b"1s"), ("x", b"1\r\nNats-Rollup: all"), ("bv-key", b"other"),
        ("ce-id", b"1"), ("A", b"1"), ("a", b"2"), (" b ", b" c "), ("", b""), ("\u00e9", "\u00e9".encode()),
    ]  # fmt: skip
    bus.append(topic, rows([b"before"]))
    bus.append(topic, records({"key": b"k\r\n", "value": b"v", "headers": evil}))
    before, after = whole(bus, topic, 2).to_pylist()
    assert before["value"] == b"before"
    assert (after["key"], after["headers"]) == (b"k\r\n", evil)


@pytest.mark.parametrize("packed", [False, True])
def test_what_is_missing_in_a_record_stays_missing_but_its_time(bus: NatsBus, packed: bool) -> None:
    topic = new_topic(bus, packed=packed)
    made: dict[str, Any] = {"key": None, "value": None, "headers": None, "timestamp": None}
    bus.append(topic, records({**made, "headers": [("a", None), ("a", b"")]}, made, {**made, "key": b"", "value": b""}))
    first, second, third = whole(bus, topic, 3).to_pylist()
    assert first["headers"] == [("a", None), ("a", b"")]
    assert (second["key"], second["value"], second["headers"] or []) == (None, None, [])
    assert (third["key"], third["value"]) == (b"", b"")
    assert datetime.now(UTC) - first["timestamp"] < timedelta(minutes=5)


def test_a_packed_topic_does_all_of_it_with_few_messages(bus: NatsBus, nats_server: LocalServer) -> None:
    topic = new_topic(bus, 2, packed=True)
    for begin in range(1, 4000, 1000):
        bus.publisher("p").publish({topic: placed(begin, begin + 1000)})
    assert bus.publisher("p").publish({topic: placed(3001, 4001)}).dropped == 1000
    bus.append(topic, numbered(4001, 5001))
    got = whole(bus, topic, 5000)
    assert_once(got, range(1, 5001))
    assert_ordered(got)
    assert column(got, "partition") == partition_of(got["key"], 2).tolist()
    middle = got.filter(pa.array([number == 2500 for number in numbers(got)])).to_pylist()[0]
    assert middle["headers"][-1][0] == "bv-place"
    part = bus.read(Partition(topic, middle["partition"]), middle["offset"], timeout=PATIENCE_S)
    assert numbers(part)[0] == 2500
    found = bus.seek_time(topic, middle["timestamp"])
    assert found[middle["partition"]] <= middle["offset"]
    member = bus.member("g", [topic])
    polled([member], lambda got: total(got) >= 5000, limit=700)
    member.close()
    assert bus.committed("g", topic) == {number: span.end for number, span in bus.spans(topic).items()}

    async def count(client: Any) -> int:
        return sum([(await client.jetstream().stream_info(f"{topic}-{number}")).state.messages for number in (0, 1)])

    assert with_client(nats_server.address, count) < 40
    with pytest.raises(BusError, match="packed"):
        bus.ensure(Topic(name=topic, partitions=2))


def test_times_that_do_not_rise_are_found_exactly(bus: NatsBus) -> None:
    """By marks where there are any, and record by record where there are none."""
    topic = new_topic(bus)
    stamps = [5, 3, 9, 1, 12, 2, *[4] * 30, 20, *[6] * 1000, 15, 30]
    table = rows([b"%d" % stamp for stamp in stamps])
    table = table.set_column(3, "timestamp", pa.array([stamp * 1_000_000 for stamp in stamps]).cast(pa.timestamp("us", "UTC")))
    for begin, end in ((0, 3), (3, 6), (6, 40), (40, len(stamps))):
        bus.append(topic, table.slice(begin, end - begin))
    offsets = column(whole(bus, topic, len(stamps)), "offset")
    for at in (0, 5, 6, 10, 13, 21, 30):
        row = next(row for row, stamp in enumerate(stamps) if stamp >= at)
        assert bus.seek_time(topic, datetime.fromtimestamp(at, UTC))[0] == offsets[row], at
    assert bus.seek_time(topic, datetime.fromtimestamp(31, UTC))[0] == bus.spans(topic)[0].end


def test_places_outlive_plain_writers_and_retention(bus: NatsBus) -> None:
    topic = new_topic(bus)
    first = bus.publisher("p")
    first.publish({topic: placed(1, 11)})
    bus.append(topic, numbered(100, 150))
    first.publish({topic: placed(5, 21)})  # somebody else wrote in between: that is no successor
    assert first.places(topic)[0].lsn == 20
    first.close()
    bus.forget(Partition(topic, 0), bus.spans(topic)[0].end)
    second = bus.publisher("p")
    assert second.places(topic)[0].lsn == 20
    assert (published := second.publish({topic: placed(15, 26)})).written == 5
    assert published.ends == {Partition(topic, 0): bus.spans(topic)[0].end}


def test_a_predecessor_writes_nowhere_not_even_where_nobody_has_written(bus: NatsBus) -> None:
    topic, other = new_topic(bus), new_topic(bus)
    for begin, name in ((1, topic), (11, other)):
        old = bus.publisher("p")
        old.publish({topic: placed(begin, begin + 10)})
        end = bus.spans(topic)[0].end
        new = bus.publisher("p")
        assert bus.spans(topic)[0].end == end, "a successor's mark is no record to wait for"
        with pytest.raises(FencedError):
            old.publish({name: placed(90, 99)})
    new.publish({topic: placed(15, 31), other: placed(1, 4)})
    assert_once(whole(bus, topic, 30), range(1, 31))
    assert_once(whole(bus, other, 3), range(1, 4))


def test_a_successor_that_comes_while_a_predecessor_looks_at_a_topic(bus: NatsBus, nats_server: LocalServer) -> None:
    """What the successor left there must not pass for the predecessor's own."""
    topic, other = new_topic(bus), NatsBus(nats_server.address)
    old = bus.publisher("p")
    look, found = old._head, []

    async def late(*given: Any) -> Any:
        found.append(await asyncio.to_thread(other.publisher, "p"))
        return await look(*given)

    old._head = late  # type: ignore[method-assign, assignment]
    with pytest.raises(FencedError):
        old.publish({topic: placed(1, 3)})
    assert found[0].publish({topic: placed(1, 4)}).written == 3
    assert_once(whole(bus, topic, 3), range(1, 4))
    other.close()


def test_names_that_nats_cannot_have_are_refused(bus: NatsBus) -> None:
    for name in ("", "a b", "a.*", "a.>", ".a", "a.", "a..b", "$JS.API", "bv-mark.x", "\u00e9", "x" * 200, "a/b"):
        with pytest.raises(BusError, match="cannot be the name"):
            bus.ensure(Topic(name=name))
    dotted = f"{uuid4().hex}.orders_v2.x-1"
    bus.ensure(Topic(name=dotted, partitions=2))
    bus.append(dotted, numbered(0, 8))
    assert bus.topics()[dotted] == 2
    member = bus.member("any group: \u00e9 *.>", [dotted])
    assert total(polled([member], lambda got: total(got) >= 8)) == 8
    member.close()
    publisher = bus.publisher("any name: \u00e9 *.>")
    assert publisher.publish({dotted: placed(1, 9)}).written == 8


def test_a_record_that_is_too_long_is_refused_before_anything_is_written(bus: NatsBus) -> None:
    topic = new_topic(bus, 2)
    with pytest.raises(BusError, match="max_payload") as refused:
        bus.append(topic, rows([b"fits", b"x" * (9 << 20)], [b"1", b"2", b"3"]))
    assert (refused.value.code, refused.value.entity) == ("RecordTooLong", topic)
    assert whole(bus, topic, 0).num_rows == 0


def test_retention_ends_records_and_changes_later(bus: NatsBus) -> None:
    topic = new_topic(bus, retention_bytes=20_000)
    for begin in range(0, 100, 10):
        bus.append(topic, rows([b"%d" % number + b"x" * 990 for number in range(begin, begin + 10)]))
    span = bus.spans(topic)[0]
    assert 10 < span.end - span.first < 25
    assert whole(bus, topic, 0).num_rows == span.end - span.first
    bus.ensure(Topic(name=topic, retention=timedelta(seconds=1)))
    deadline = time.monotonic() + PATIENCE_S
    while (span := bus.spans(topic)[0]).first < span.end:
        assert time.monotonic() < deadline
    assert span.end == 100


def test_a_call_reaches_many_readers_that_hold_nothing_on_the_server(bus: NatsBus, nats_server: LocalServer) -> None:
    """Light notifications: each reader begins at the end, and no consumer is left behind on the server."""
    topic = new_topic(bus, retention=timedelta(minutes=5))
    ends = [(NatsBus(nats_server.address), bus.spans(topic)[0].end) for _ in range(3)]
    bus.append(topic, rows([b"drop customer 7"], [None]))
    for reader, end in ends:
        assert column(reader.read(Partition(topic, 0), end, timeout=PATIENCE_S), "value") == [b"drop customer 7"]
        reader.close()

    async def consumers(client: Any) -> int:
        return int((await client.jetstream().stream_info(f"{topic}-0")).state.consumer_count)

    assert with_client(nats_server.address, consumers) == 0


class Guarded(NatsServer):
    """One that asks for a password."""

    def prepare(self, folder: Path, ports: Ports) -> Launch:
        launch = super().prepare(folder, ports)
        config = folder / "nats.conf"
        config.write_text(f"{config.read_text()}authorization {{ user: me, password: of-the-test }}\n")
        return launch


def test_a_password_is_asked_for_and_a_wrong_one_is_no_lost_connection(nats_server: LocalServer, tmp_path: Path) -> None:
    with LocalServer(Guarded(), tmp_path) as guarded:
        address = guarded.address.removeprefix("nats://")
        bus = NatsBus(f"nats://me:of-the-test@{address}")
        topic = new_topic(bus)
        assert topic in bus.topics()
        bus.close()
        for wrong in (f"nats://me:wrong@{address}", address):
            bus = NatsBus(wrong)
            with pytest.raises(BusError, match="does not let us in") as refused:
                bus.topics()
            assert refused.value.retry == "person"
            bus.close()


def test_a_server_that_is_not_there_is_said_so_without_its_password() -> None:
    bus = NatsBus("nats://me:of-the-test@127.0.0.1:1")
    with pytest.raises(BusLostError, match=r"127\.0\.0\.1:1 ") as lost:
        bus.topics()
    assert "of-the-test" not in str(lost.value)
    bus.close()
    with pytest.raises(BusError, match="closed"):
        bus.topics()
