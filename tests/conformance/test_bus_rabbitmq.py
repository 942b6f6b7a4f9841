"""What is particular to RabbitMQ: other clients' view, fences in the log, leases that die, work that is set apart."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pika
import pyarrow as pa
import pytest
import rstream
from tests.conformance.buses import (
    PATIENCE_S,
    assert_once,
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
from tests.conformance.relay_child import DESCRIBED, SETS, TABLES, Made

from bitvelocity.changes.formats import Encoder, Options
from bitvelocity.errors import BusError, BusLostError, FencedError, OffsetGoneError
from bitvelocity.streams import (
    PLACE_HEADER,
    RECORD_SCHEMA,
    Bus,
    Fetched,
    Partition,
    Place,
    Topic,
    parse_place,
)
from bitvelocity.streams.rabbitmq import RabbitQueues, RabbitStreams
from bitvelocity.streams.rabbitmq.address import parse_address
from bitvelocity.streams.rabbitmq.amqp import PATIENCE, Amqp, Channel, _reason, patiently
from bitvelocity.streams.rabbitmq.cursor import span as span_of
from bitvelocity.streams.rabbitmq.links import Links
from bitvelocity.streams.rabbitmq.topics import CATALOGUE
from bitvelocity.streams.relay import Relay
from bitvelocity.streams.servers import LocalServer


@pytest.fixture
def streams(rabbitmq_server: LocalServer) -> Iterator[RabbitStreams]:
    bus = RabbitStreams(rabbitmq_server.address)
    yield bus
    bus.close()


@pytest.fixture
def queues(rabbitmq_server: LocalServer) -> Iterator[RabbitQueues]:
    bus = RabbitQueues(rabbitmq_server.address, delivery_limit=2, settle=0)
    yield bus
    bus.close()


@pytest.fixture
def plain(rabbitmq_server: LocalServer) -> Iterator[Any]:
    """A channel of pika, as any application opens one."""
    there = parse_address(rabbitmq_server.address)
    connection = pika.BlockingConnection(pika.ConnectionParameters(there.host, there.port))
    yield connection.channel()
    connection.close()


def test_subscriptions_of_many_threads(streams: RabbitStreams) -> None:
    """One connection serves them all: each has a number of its own until the server has let go of it."""
    topic = new_topic(streams, 2)
    streams.append(topic, numbered(0, 100))
    calm = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: streams.spans(topic), range(200)))
    finally:
        sys.setswitchinterval(calm)
    assert all(sum(span.end - span.first for span in spans.values()) == 100 for spans in found)


def read_by_rstream(address: str, stream: str, count: int, **words: Any) -> list[Any]:
    """So many messages of a stream, by RabbitMQ's own Python client."""
    there, found = parse_address(address), list[Any]()

    async def reading() -> None:
        consumer = rstream.Consumer(there.host, there.stream_port, username=there.user, password=there.password)
        await consumer.start()

        def on_message(message: Any, context: Any) -> None:
            found.append((context.offset, message))
            if len(found) >= count:
                consumer.stop()

        first = rstream.ConsumerOffsetSpecification(rstream.OffsetType.FIRST)
        await consumer.subscribe(stream, callback=on_message, offset_specification=first, **words)
        await asyncio.wait_for(consumer.run(), PATIENCE_S)
        await consumer.close()

    asyncio.run(reading())
    return found


def test_another_client_reads_what_the_bus_wrote(streams: RabbitStreams, rabbitmq_server: LocalServer) -> None:
    topic = new_topic(streams, 2)
    publisher = streams.publisher(f"p-{topic}")
    publisher.publish({topic: placed(1, 41)})
    publisher.close()
    spans = streams.spans(topic)
    seen: list[int] = []
    for number, span in spans.items():
        words = {"decoder": rstream.amqp_decoder}
        for offset, message in read_by_rstream(rabbitmq_server.address, f"{topic}-{number}", span.end, **words):
            assert span.first <= offset < span.end
            properties = message.application_properties
            seen.append(int(message.body))
            assert properties[b"bv-key"].startswith(b"key-")
            assert parse_place(properties[PLACE_HEADER.encode()]) == Place(seen[-1], 0, 0)
            assert message.properties.creation_time >= 1000
    assert sorted(seen) == [*range(1, 41)]


def test_the_bus_reads_what_other_clients_wrote(
    streams: RabbitStreams, plain: Any, rabbitmq_server: LocalServer
) -> None:
    """One of streams, with AMQP 1.0 and with bare bytes, compressed or not; one of queues, which the server translates."""
    topic, there = new_topic(streams), parse_address(rabbitmq_server.address)

    async def writing() -> None:
        client = rstream.Producer(there.host, there.stream_port, username=there.user, password=there.password)
        async with client as producer:
            message = rstream.AMQPMessage(body=b"amqp", application_properties={"bv-key": b"k", "a": b"1"})
            await producer.send_wait(f"{topic}-0", message)
            await producer.send_wait(f"{topic}-0", b"bare")
            packed = [rstream.AMQPMessage(body=b"packed %d" % number) for number in range(3)]
            await producer.send_sub_entry(f"{topic}-0", packed, compression_type=rstream.CompressionType.Gzip)

    asyncio.run(writing())
    properties = pika.BasicProperties(headers={"bv-key": "k", "a": "2"}, timestamp=7, content_type="text/plain")
    plain.confirm_delivery()
    plain.basic_publish("", f"{topic}-0", b"queued", properties)
    got = whole(streams, topic, 6)
    assert column(got, "value") == [b"amqp", b"bare", b"packed 0", b"packed 1", b"packed 2", b"queued"]
    assert column(got, "key") == [b"k", None, None, None, None, b"k"]
    assert tuple(dict(column(got, "headers")[row])["a"] for row in (0, 5)) == (b"1", b"2")
    assert column(got, "timestamp")[5].timestamp() == 7


def test_a_fence_shuts_out_what_a_predecessor_still_sends(streams: RabbitStreams) -> None:
    """It has passed its own check, and then sends: the server drops it, in every partition that its successor has come to."""
    topic = new_topic(streams)
    zombie: Any = streams.publisher(f"p-{topic}")
    zombie.publish({topic: placed(1, 11)})
    heir = streams.publisher(f"p-{topic}")
    assert heir.places(topic) == {0: Place(10, 0, 0)}
    zombie._send({Partition(topic, 0): placed(11, 21)})  # confirmed, as a duplicate is
    assert_once(whole(streams, topic, 10), range(1, 11))
    with pytest.raises(FencedError):
        zombie._check_epoch()
    assert heir.publish({topic: placed(1, 31)}).written == 20
    heir.close()
    assert_once(whole(streams, topic, 30), range(1, 31))


def test_fences_are_seen_after_a_crash_only(streams: RabbitStreams, rabbitmq_server: LocalServer) -> None:
    topic, name = new_topic(streams), uuid4().hex
    for begin in (1, 11):
        publisher = streams.publisher(name)
        publisher.publish({topic: placed(begin, begin + 10)})
        publisher.close()
    assert streams.spans(topic)[0].end == 20
    streams.publisher(name).publish({topic: placed(21, 31)})  # never closed
    publisher = streams.publisher(name)
    publisher.publish({topic: placed(31, 41)})
    publisher.close()
    assert streams.spans(topic)[0].end == 41
    words = {"decoder": rstream.amqp_decoder}
    found = read_by_rstream(rabbitmq_server.address, f"{topic}-0", 41, **words)
    assert [offset for offset, message in found if b"bv-fence" in message.application_properties] == [30]
    assert_once(whole(streams, topic, 40), range(1, 41))


def test_a_fence_at_the_end_is_no_record_to_wait_for(streams: RabbitStreams) -> None:
    topic, name = new_topic(streams), uuid4().hex
    streams.publisher(name).publish({topic: placed(1, 11)})
    heir = streams.publisher(name)
    assert heir.places(topic) == {0: Place(10, 0, 0)}
    heir.close()
    assert streams.spans(topic)[0].end == 10
    fresh = new_topic(streams)
    streams.publisher(name).places(fresh)
    assert streams.spans(fresh)[0].first == streams.spans(fresh)[0].end
    streams.append(fresh, numbered(0, 3))
    assert_once(whole(streams, fresh, 3), range(3))


def test_a_member_that_was_cut_off_commits_nothing(streams: RabbitStreams) -> None:
    """Its connection is gone, so that its leases are another's: what it fetched it cannot commit."""
    topic, group = new_topic(streams, 2), uuid4().hex
    streams.append(topic, numbered(0, 40))
    victim: Any = streams.member(group, [topic])
    held = polled([victim], lambda got: total(got) >= 40, commit=False)
    generations = victim.assigned
    victim._crew.amqp._connection.ioloop.add_callback_threadsafe(victim._crew.amqp._connection._transport.abort)
    heir = streams.member(group, [topic])
    got = polled([heir], lambda got: total(got) >= 40)
    assert all(heir.assigned[part] == generation + 1 for part, generation in generations.items())
    with pytest.raises((BusLostError, FencedError)):
        victim.commit({one.partition: one.next for one in held})
    assert streams.committed(group, topic) == {one.partition.number: one.next for one in got}
    polled([victim, heir], lambda _: len(victim.assigned) == len(heir.assigned) == 1, commit=False)
    with pytest.raises(FencedError):
        victim.commit({one.partition: one.next for one in held})
    for member in (victim, heir):
        member.close()


def test_appends_that_fail_use_nothing_up(streams: RabbitStreams) -> None:
    """A connection has 256 publishers."""
    topic = new_topic(streams)
    streams.append(topic, numbered(0, 1))
    streams._links.to(f"{topic}-0").frame_max = 1000
    for _ in range(257):
        with pytest.raises(BusError, match="RabbitMQ takes"):
            streams.append(topic, rows([b"x" * 1000]))
    streams.append(topic, numbered(1, 2))
    assert_once(whole(streams, topic, 2), range(2))


def test_who_waits_for_an_answer_hears_that_the_connection_is_gone(rabbitmq_server: LocalServer) -> None:
    amqp = Amqp(parse_address(rabbitmq_server.address))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(amqp.wait, Future[None]())
        amqp.close()
        began = time.monotonic()
        assert isinstance(waiting.exception(), BusLostError)
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize(
    "said",
    [
        pika.exceptions.ChannelClosedByBroker(404, "NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost '/' is down or inaccessible"),
        pika.exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED - queue 'q' in vhost '/' does not have a replica on the local node"),
        pika.exceptions.ConnectionClosedByBroker(541, "INTERNAL_ERROR"),
    ],
    ids=["queue", "stream", "reading"],
)  # fmt: skip
def test_what_a_server_says_while_it_starts_passes_by(said: Exception) -> None:
    """All three were seen of a server that was killed and started again, within its first second."""
    tries = list[BusError]()

    def work() -> str:
        if not tries:
            tries.append(_reason(said))
            raise tries[0]
        return "done"

    assert patiently(work) == "done"
    assert isinstance(tries[0], BusLostError)


def read_first(streams: RabbitStreams, part: Partition) -> tuple[int, pa.Table]:
    """The first offset that is kept, and what is read from there; again when that was deleted in between."""
    while True:
        first = streams.spans(part.topic)[part.number].first
        try:
            return first, streams.read(part, first, timeout=PATIENCE_S)
        except OffsetGoneError:
            continue


def test_retention_by_bytes(streams: RabbitStreams) -> None:
    """Whole segments go; what is asked for and gone is an error. Other bounds are refused with a remedy."""
    name = new_topic(streams, retention_bytes=400_000)
    lump = rows([b"%d" % number + b"x" * 990 for number in range(200)])
    for _ in range(10):
        streams.append(name, lump)
    before = streams.spans(name)[0]
    assert 0 < before.first < before.end == 2000
    with pytest.raises(OffsetGoneError, match=r"the first is \d+") as gone:
        streams.read(Partition(name, 0), 0, timeout=PATIENCE_S)
    told = int(re.findall(r"the first is (\d+)", gone.value.what)[0])
    assert before.first <= told <= streams.spans(name)[0].first  # the server goes on deleting behind an append
    first, got = read_first(streams, Partition(name, 0))
    assert got["offset"][0].as_py() == first
    with pytest.raises(BusError, match="does not let a client change that") as refused:
        streams.ensure(Topic(name=name, retention=timedelta(days=1)))
    assert "rabbitmqctl set_policy" in str(refused.value.remedy)


def test_what_is_no_topic_of_streams_is_left_alone(streams: RabbitStreams, plain: Any) -> None:
    name = f"other-{uuid4().hex[:8]}"
    plain.exchange_declare(name, "topic", durable=True)
    with pytest.raises(BusError, match="is another") as refused:
        streams.ensure(Topic(name=name))
    assert (refused.value.code, refused.value.entity) == ("TopicDiffers", name)


def test_work_that_fails_again_and_again_is_set_apart(queues: RabbitQueues, plain: Any) -> None:
    """Handed out once, and twice more; then it is in the queue of the dead, with RabbitMQ's reason."""
    topic = new_topic(queues)
    member = queues.member("g", [topic])
    queues.append(topic, numbered(0, 2))
    times: dict[int, int] = {0: 0, 1: 0}

    def failed(got: list[Fetched]) -> bool:
        for one in got:
            for number, offset in zip(numbers(one.records), column(one.records, "offset"), strict=True):
                times[number] += 1
                member.reject(one.partition, [offset], again=number == 0)
        got.clear()
        return times[0] >= 3

    polled([member], failed, commit=False)
    dead = sorted(_dead(plain, topic, 2), key=lambda one: int(one[1]))
    assert times == {0: 3, 1: 1}
    assert [body for _, body in dead] == [b"0", b"1"]
    assert [properties.headers["x-death"][0]["reason"] for properties, _ in dead] == ["delivery_limit", "rejected"]
    assert dead[0][0].headers["bv-key"] == "key-0" or dead[0][0].headers["bv-key"] == b"key-0"
    member.close()


def _dead(plain: Any, topic: str, count: int) -> list[tuple[Any, bytes]]:
    """What has been set apart; it gets there by itself."""
    found: list[tuple[Any, bytes]] = []
    for _, properties, body in plain.consume(f"{topic}.dead", auto_ack=True, inactivity_timeout=PATIENCE_S):
        assert properties is not None, f"after {PATIENCE_S:.0f} s there were {len(found)} of {count}"
        found.append((properties, body))
        if len(found) == count:
            break
    return found


def test_an_application_shares_the_work(queues: RabbitQueues, plain: Any) -> None:
    """One that knows only pika gives work, and takes it."""
    topic = new_topic(queues)
    member = queues.member("g", [topic])
    plain.confirm_delivery()
    plain.basic_publish(topic, "", b"by hand", pika.BasicProperties(headers={"a": "1", "n": 7}, timestamp=5))
    (got,) = polled([member], lambda got: total(got) >= 1)
    (row,) = got.records.to_pylist()
    assert (row["key"], row["value"], row["headers"]) == (None, b"by hand", [("a", b"1"), ("n", b"7")])
    assert row["timestamp"].timestamp() == 5
    member.close()
    queues.append(topic, pa.Table.from_pylist([{"key": b"\xff", "value": b"x", "headers": [("ce_id", b"7")]}], RECORD_SCHEMA))
    _, properties, body = next(plain.consume(f"{topic}.g", auto_ack=True, inactivity_timeout=PATIENCE_S))
    assert (body, properties.headers["ce_id"], properties.headers["bv-key"]) == (b"x", "7", b"\xff")


def test_work_that_comes_before_any_group_waits(queues: RabbitQueues) -> None:
    topic = new_topic(queues)
    queues.append(topic, numbered(0, 10))
    member = queues.member("first", [topic])
    assert_once(pa.concat_tables([one.records for one in polled([member], lambda got: total(got) >= 10)]), range(10))
    queues.append(topic, numbered(10, 12))
    member.close()
    deadline = time.monotonic() + PATIENCE_S
    while queues.waiting("first", topic) < 2:  # what a member that has gone was given comes back behind its closing
        assert time.monotonic() < deadline
    assert queues.waiting("first", topic) == 2


def test_looks_leave_nothing_in_the_catalogue(rabbitmq_server: LocalServer, streams: RabbitStreams, queues: RabbitQueues) -> None:
    """Topics that were just made are told of; and one that is there is made again without a trace."""
    buses: tuple[Bus, ...] = (streams, queues)
    for number in range(3):
        names = [f"look-{uuid4().hex[:8]}-{number}" for _ in range(2)]
        for bus, name in zip(buses, names, strict=True):
            bus.ensure(Topic(name=name, partitions=1))
        assert names[0] in streams.topics()
        assert names[1] in queues.topics()
    with closing(Links(parse_address(rabbitmq_server.address))) as links:
        before = span_of(links, CATALOGUE)
        for bus, name in zip(buses, names, strict=True):
            assert bus.topics()[name] == 1
            assert bus.held(Topic(name=name, partitions=1)) == Topic(name=name, partitions=1)
            bus.ensure(Topic(name=name, partitions=1))
        assert span_of(links, CATALOGUE) == before


class CutError(Exception):
    """A maker that went away between two commands."""


@pytest.mark.parametrize("commands", range(5))
def test_a_topic_whose_maker_was_cut_off_is_not_there_until_it_is_made(
    streams: RabbitStreams, rabbitmq_server: LocalServer, monkeypatch: pytest.MonkeyPatch, commands: int
) -> None:
    """Its entry in the catalogue is there, and some of its queues and bindings: a relay goes on and makes the rest."""
    streams.ensure(Topic(name="a-first-one"))  # makes the catalogue
    prefix, left, ask = f"cut-{uuid4().hex[:8]}", commands, Channel.ask

    def cut(channel: Channel, method: str, **words: Any) -> Any:
        nonlocal left
        if str(words.get("queue", words.get("exchange"))).startswith(prefix) and "passive" not in words:
            if not left:
                raise CutError
            left -= 1
        return ask(channel, method, **words)

    topic = f"{prefix}.{TABLES[0]}"
    with monkeypatch.context() as patch:
        patch.setattr(Channel, "ask", cut)
        with pytest.raises(CutError):
            streams.ensure(Topic(name=topic, partitions=2))
    with closing(RabbitStreams(rabbitmq_server.address)) as bus:
        assert topic not in bus.topics()
        with pytest.raises(BusError, match="no such topic"):
            bus.spans(topic)
        encode = Encoder("debezium", DESCRIBED, Options(topic_prefix=prefix)).encode
        words: dict[str, Any] = {"name": prefix, "boundaries": f"{prefix}.boundaries", "start": 0}
        with Relay(bus, encode, topic=lambda name: Topic(name=name, partitions=1 if name.endswith("boundaries") else 2), **words) as relay:
            relay.step(Made(10 * (SETS - 3)), 0.0)
        assert bus.topics()[topic] == 2
        assert [span.end > 0 for span in bus.spans(topic).values()] == [True, True]


def test_many_unacknowledged_do_not_stop_another_member(queues: RabbitQueues) -> None:
    """One holds what it was given and is busy; heartbeats go on, and the rest goes to the other."""
    topic = new_topic(queues)
    busy, other = queues.member("g", [topic]), queues.member("g", [topic])
    queues.append(topic, numbered(0, 3000))
    held = polled([busy], lambda got: total(got) >= 1, commit=False)
    got = polled([other], lambda got: total(got) >= 1000)
    taken = set(numbers(pa.concat_tables([one.records for one in got])))
    assert not taken & set(numbers(pa.concat_tables([one.records for one in held])))
    busy.close()
    rest = polled([other], lambda more: len(taken | {n for one in more for n in numbers(one.records)}) == 3000)
    assert total(rest) + len(taken) == 3000
    other.close()


