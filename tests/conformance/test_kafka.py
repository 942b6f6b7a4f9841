"""What is particular to Kafka: its stock clients beside ours, places that outlive their records, its settings."""

from __future__ import annotations

import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import MSG_WAITALL, create_connection
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from tests.conformance.between import Between
from tests.conformance.buses import PATIENCE_S, assert_once, new_topic, numbered, numbers, placed, rows, whole
from tests.conformance.certificates import make_certificates

from bitvelocity.errors import BusError, BusLostError, FencedError, OffsetGoneError
from bitvelocity.processes import free_ports
from bitvelocity.streams import PLACE_HEADER, Partition, Place, Topic, partition_of
from bitvelocity.streams.kafka import KafkaBus
from bitvelocity.streams.kafka.client import explained
from bitvelocity.streams.kafka.fetching import directly
from bitvelocity.streams.kafka.topics import EARLIEST
from bitvelocity.streams.servers import LocalServer


@pytest.fixture
def kafka(kafka_server: LocalServer) -> Iterator[KafkaBus]:
    bus = KafkaBus(kafka_server.address)
    yield bus
    bus.close()


def test_the_stock_client_reads_what_we_wrote(kafka: KafkaBus, kafka_server: LocalServer) -> None:
    topic = new_topic(kafka, 3)
    publisher = kafka.publisher(uuid4().hex)
    publisher.publish({topic: placed(1, 13)})
    publisher.close()
    kafka.append(topic, rows([None], [b"key-1"]))
    stock = Consumer({"bootstrap.servers": kafka_server.address, "group.id": uuid4().hex})
    stock.assign([TopicPartition(topic, number, 0) for number in range(3)])
    got: list[Any] = []
    while len(got) < 13:
        got += stock.consume(13, 1.0)
    stock.close()
    assert sorted(int(message.value()) for message in got if message.value() is not None) == [*range(1, 13)]
    assert got[0].key() in whole(kafka, topic, 13)["key"].to_pylist()
    (tombstone,) = (message for message in got if message.value() is None)
    assert (tombstone.key(), tombstone.headers(), tombstone.timestamp()[1]) == (b"key-1", None, 1000)
    assert all(dict(message.headers()).keys() == {PLACE_HEADER} for message in got if message is not tombstone)


def test_we_read_what_the_stock_client_wrote_and_where_java_would_put_it(
    kafka: KafkaBus, kafka_server: LocalServer
) -> None:
    topic = new_topic(kafka, 3)
    stock = Producer({"bootstrap.servers": kafka_server.address, "partitioner": "murmur2_random"})
    for number in range(20):
        stock.produce(topic, b"%d" % number, b"key-%d" % number, timestamp=5, headers=[("a", b"1"), ("n", None), ("a", b"2")])
    stock.flush()
    got = whole(kafka, topic, 20)
    assert_once(got, range(20))
    assert got["partition"].to_pylist() == partition_of(got["key"], 3).tolist()
    assert got["headers"][0].as_py() == [("a", b"1"), ("n", None), ("a", b"2")]
    assert got["timestamp"][0].as_py().timestamp() == 0.005


def test_places_outlive_their_records_and_end_with_their_topic(kafka: KafkaBus, kafka_server: LocalServer) -> None:
    """Retention took every record of the topic; a repeat is known all the same. A topic made anew begins anew."""
    topic, name = new_topic(kafka), uuid4().hex
    first = kafka.publisher(name)
    first.publish({topic: placed(1, 11)})
    kafka.forget(Partition(topic, 0), -1)
    assert not whole(kafka, topic, 0).num_rows
    second = kafka.publisher(name)
    assert second.places(topic) == {0: Place(10, 0, 0)}
    assert (again := second.publish({topic: placed(8, 13)})).written == 2, again
    assert numbers(whole(kafka, topic, 2)) == [11, 12]
    admin = AdminClient({"bootstrap.servers": kafka_server.address})
    admin.delete_topics([topic])[topic].result()
    new_topic(kafka)  # takes its turn after the deletion
    fresh = KafkaBus(kafka_server.address)
    try:
        fresh.ensure(Topic(name=topic))
        third = fresh.publisher(name)
        assert third.places(topic) == {}
        assert third.publish({topic: placed(1, 4)}).written == 3
        third.close()
    finally:
        fresh.close()


def test_what_is_aborted_is_neither_read_nor_waited_for(kafka: KafkaBus, kafka_server: LocalServer) -> None:
    topic = new_topic(kafka)
    kafka.append(topic, numbered(0, 3))
    stranger = Producer({"bootstrap.servers": kafka_server.address, "transactional.id": uuid4().hex})
    stranger.init_transactions()
    stranger.begin_transaction()
    for number in range(40):
        stranger.produce(topic, b"%d" % (100 + number), partition=0)
    stranger.flush()
    stranger.abort_transaction()
    assert kafka.spans(topic)[0].end == 3
    kafka.append(topic, numbered(3, 5))
    assert numbers(whole(kafka, topic, 5)) == [0, 1, 2, 3, 4]


def test_settings_on_which_a_promise_stands_are_refused() -> None:
    with pytest.raises(BusError, match=r"isolation\.level cannot be set"):
        KafkaBus("127.0.0.1:1", client={"isolation.level": "read_uncommitted"})


def test_a_wrong_setting_is_told_without_the_secrets_beside_it() -> None:
    with pytest.raises(BusError, match=r"no\.such") as caught:
        KafkaBus("127.0.0.1:1", client={"no.such": "1", "sasl.password": "of-the-test"})
    assert "of-the-test" not in str(caught.value)


def test_no_broker_is_told_within_the_patience() -> None:
    (port,) = free_ports(1)
    bus = KafkaBus(f"127.0.0.1:{port}", patience=0.5)
    for call in (bus.topics, lambda: bus.append("t", numbered(0, 1)), lambda: bus.publisher("p"), lambda: bus.member("g", ["t"])):
        with pytest.raises(BusLostError):
            call()
    bus.close()


def test_a_producer_that_has_ended_says_that_it_was_fenced(kafka: KafkaBus) -> None:
    """The broker's word may come between two records: then the client refuses the next one, and does not say why."""
    topic, name = new_topic(kafka, 1), uuid4().hex
    old = kafka.publisher(name)
    old.publish({topic: placed(1, 3)})
    young = kafka.publisher(name)
    old._producer.begin_transaction()
    with pytest.raises(KafkaException):
        produce_until_refused(old._producer, topic)
    with pytest.raises(FencedError), explained("publish"), old._reasoned():
        old._producer.produce(topic, b"later", partition=0)
    for publisher in (old, young):
        publisher.close()


def produce_until_refused(producer: Producer, topic: str) -> None:
    while True:
        producer.produce(topic, b"late", partition=0)
        producer.flush(1.0)


@pytest.mark.parametrize("unnamed", [1, 3])
@pytest.mark.parametrize("successor", [False, True])
def test_a_commit_that_is_answered_without_a_name(
    kafka: KafkaBus, kafka_server: LocalServer, *, successor: bool, unnamed: int
) -> None:
    """A broker says UNKNOWN of a commit that meets a successor, and of the aborts after it. Without one, the places tell
    what became of it."""
    topic, name = new_topic(kafka, 1), uuid4().hex
    between = Between(kafka_server.address, lambda: kafka.publisher(name).close() if successor else None, unnamed)
    with between.running() as address:
        bus = KafkaBus(address)
        old = bus.publisher(name)
        with pytest.raises(FencedError if successor else BusLostError, match="cannot publish"):
            old.publish({topic: placed(1, 4)})
        old.close()
        bus.close()
    assert between.answered == unnamed
    heir = kafka.publisher(name)
    assert heir.publish({topic: placed(1, 4)}).written == (3 if successor else 0)
    heir.close()
    assert_once(whole(kafka, topic, 3), range(1, 4))


class Reads:
    """One bus that reads directly, and one whose client reads."""

    def __init__(self, address: str) -> None:
        self.direct, self.client = KafkaBus(address), KafkaBus(address, direct=False)

    def both(self, topic: str, offset: int, end: int) -> tuple[pa.Table, pa.Table]:
        return tuple(self._all(bus, topic, offset, end) for bus in (self.direct, self.client))  # type: ignore[return-value]

    def _all(self, bus: KafkaBus, topic: str, offset: int, end: int) -> pa.Table:
        found = []
        while offset < end:
            found.append(bus.read(Partition(topic, 0), offset, limit=70, timeout=PATIENCE_S))
            assert found[-1].num_rows, offset
            offset = int(found[-1]["offset"][-1].as_py()) + 1
        return pa.concat_tables(found)

    @property
    def went_directly(self) -> bool:
        fetching = self.direct._readers._direct
        return fetching is not None and not fetching._away

    def close(self) -> None:
        self.direct.close()
        self.client.close()


@pytest.fixture
def reads(kafka_server: LocalServer) -> Iterator[Reads]:
    both = Reads(kafka_server.address)
    yield both
    both.close()


def of_strangers(address: str, topic: str, codec: str) -> None:
    """Records as others write them: without keys, values, headers; in transactions that are kept or given up."""
    for number in range(4):
        told = {"compression.type": codec, "linger.ms": 20, "batch.num.messages": 30}
        stranger = Producer({"bootstrap.servers": address, "transactional.id": uuid4().hex, **told})
        stranger.init_transactions()
        stranger.begin_transaction()
        for row in range(60):
            pairs: list[tuple[str, str | bytes | None]] = [("é", None), ("a", b"%d" % row), ("a", b"")]
            key, value = (None if row % 7 == 0 else b"key-%d" % row), (None if row % 5 == 0 else b"%d " % row * (row * 30))
            stranger.produce(topic, value, key, 0, timestamp=1_700_000_000_000 - row, headers=pairs[: row % 4])
        stranger.flush()
        (stranger.abort_transaction if number % 2 else stranger.commit_transaction)()


@pytest.mark.parametrize("codec", ["none", "gzip", "lz4", "zstd", "snappy"])
def test_what_is_read_directly_is_what_the_client_reads(reads: Reads, kafka_server: LocalServer, codec: str) -> None:
    topic = new_topic(reads.client)
    of_strangers(kafka_server.address, topic, codec)
    end = reads.client.spans(topic)[0].end
    for offset in (0, 17, 61, 130):
        directly, told = reads.both(topic, offset, end)
        assert directly.num_rows == told.num_rows
        assert directly.equals(told)
    assert reads.went_directly is (codec != "snappy"), "what is not known is left to the client"
    with pytest.raises(OffsetGoneError):
        reads.direct.read(Partition(topic, 0), end + 1000, timeout=0.2)


def test_times_of_appending_are_read_directly(reads: Reads, kafka_server: LocalServer) -> None:
    topic = new_topic(reads.client)
    admin = AdminClient({"bootstrap.servers": kafka_server.address})
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    for answer in admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])]).values():
        answer.result()
    reads.client.append(topic, rows([b"1", b"2"], [None, None]))
    directly, told = reads.both(topic, 0, 2)
    assert directly.equals(told)
    assert reads.went_directly


def test_direct_reads_go_over_tls(kafka: KafkaBus, kafka_server: LocalServer, open_folder: Path) -> None:
    """The broker's words through a door with a certificate; whom we do not trust is told nothing."""
    make_certificates(open_folder)
    topic = new_topic(kafka)
    kafka.append(topic, numbered(0, 5))
    with door(open_folder, kafka_server.address) as port:
        asked = {"security.protocol": "SSL", "ssl.ca.location": str(open_folder / "ca.pem")}
        fetching = directly(asked, lambda _: {0: ("127.0.0.1", port)})
        assert fetching is not None
        found = fetching.read(Partition(topic, 0), 0, 10, PATIENCE_S)
        assert found is not None
        assert numbers(found) == [0, 1, 2, 3, 4]
        fetching.close()
        other = directly({**asked, "ssl.ca.location": str(open_folder / "other.pem")}, lambda _: {0: ("127.0.0.1", port)})
        assert other is not None
        assert other.read(Partition(topic, 0), 0, 10, PATIENCE_S) is None
    assert directly({**asked, "security.protocol": "SASL_SSL"}, lambda _: {}) is None, "such a login is for the client"
    assert directly({**asked, "ssl.key.password": "x"}, lambda _: {}) is None


@contextmanager
def door(folder: Path, address: str) -> Iterator[int]:
    """A port that speaks TLS, with the broker behind it."""
    inner = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    inner.load_cert_chain(folder / "server.pem", folder / "server.key")
    host, _, port = address.partition(":")

    class Through(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), inner.wrap_socket(self.request, server_side=True) as line, create_connection((host, int(port))) as broker:
                while asked := line.recv(65536):
                    broker.sendall(asked)
                    (size,) = struct.unpack("!i", broker.recv(4, MSG_WAITALL))
                    line.sendall(struct.pack("!i", size) + broker.recv(size, MSG_WAITALL))

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Through) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def test_a_client_that_is_made_anew_ends_nobody_elses_call(kafka: KafkaBus) -> None:
    """One thread's lost leader is no other's timeout."""
    topic, topics = new_topic(kafka), kafka._topics
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(topics.offsets, topic, EARLIEST) for _ in range(40)]
        for one in asked:
            topics._renew(topics._admin)
            assert one.result() == {0: 0}
