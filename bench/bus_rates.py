"""Durable rates of the bus, in and out, per transport and batch size, beside its plain client; latency to a member that waits.

    python bench/bus_rates.py [--engines embedded,nats] [--seconds 2] [--latencies 500]

Records have about 500 bytes of which half do not compress, a key, and three headers. A write returns when it is on the
disk. CPU is of this process (a server's own is not in it). Latency: from just before `append` of one record to just
after the `poll` that brought it, in another process. "plain" of `embedded` is SQLite, a row per record, a transaction per batch;
of `kafka` its stock client; those of NATS and RabbitMQ are in `bus_nats` and `bus_rabbitmq`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from bitvelocity.streams import PLACED_SCHEMA, RECORD_SCHEMA, Bus, Partition, Topic

SIZES = (1, 100, 1000, 10_000)
READ = 10_000
HEADERS = [("ce_id", b"16/3B2F1A8/17"), ("ce_type", b"orders.update"), ("traceparent", b"00-" + b"0" * 49)]

Plain = Callable[[str, pa.Table, float], tuple["Rate", "Rate"]]
"""Writes a table again and again for some seconds, then reads all of it: the two rates."""


class Rate(NamedTuple):
    """Seconds, and seconds of CPU, per record."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{1 / self.wall:>10,.0f} {self.cpu * 1e6:>7.2f}"


@dataclass(frozen=True)
class Engine:
    """One line for each transport: how it is started, opened, and used without us."""

    start: Callable[[Path], AbstractContextManager[str]]
    connect: Callable[[str], Bus]
    plain: Plain | None = None
    packed: bool = False


@contextmanager
def folder_only(folder: Path) -> Iterator[str]:
    yield str(folder)


def server_of(name: str) -> Callable[[Path], AbstractContextManager[str]]:
    @contextmanager
    def started(folder: Path) -> Iterator[str]:
        from bitvelocity.streams.servers import SERVERS, LocalServer

        with LocalServer(SERVERS[name](), folder, tell=lambda _: None) as server:
            yield server.address

    return started


def embedded(address: str) -> Bus:
    from bitvelocity.streams.embedded import EmbeddedBus

    return EmbeddedBus(Path(address))


def nats(address: str) -> Bus:
    from bitvelocity.streams.nats import NatsBus

    return NatsBus(address)


def kafka(address: str) -> Bus:
    from bitvelocity.streams.kafka import KafkaBus

    return KafkaBus(address)


def rabbitmq(address: str) -> Bus:
    from bitvelocity.streams.rabbitmq import RabbitStreams

    return RabbitStreams(address)


def stock_kafka(address: str, table: pa.Table, seconds: float) -> tuple[Rate, Rate]:
    """Kafka's client as its documentation has it: idempotent, a report for each record; consumed 1000 at a time."""
    import confluent_kafka as client

    topic, rows, refused = f"plain{table.num_rows}", _plain_rows(table), list[object]()
    with closing(kafka(address)) as bus:
        bus.ensure(Topic(name=topic))
    producer = client.Producer({"bootstrap.servers": address, "enable.idempotence": True, "compression.type": "lz4"})

    def write() -> None:
        for row in rows:
            producer.produce(
                topic, row["value"], row["key"], 0, headers=row["headers"],
                on_delivery=lambda error, _: refused.append(error) if error else None,
            )  # fmt: skip
        producer.flush()

    def read() -> int:
        consumer = client.Consumer({"bootstrap.servers": address, "group.id": "plain", "enable.partition.eof": True})
        consumer.assign([client.TopicPartition(topic, 0, 0)])
        got, ended = 0, False
        while not ended:
            messages = consumer.consume(1000, 0.5)
            ended = any(one.error() for one in messages)  # its way to tell of the end
            got += len([(one.key(), one.value(), one.headers(), one.offset(), one.timestamp()) for one in messages])
        consumer.close()
        return got - 1

    rates = repeated(write, table.num_rows, seconds), timed(read)
    assert not refused, refused[0]
    return rates


def row_per_record(address: str, table: pa.Table, seconds: float) -> tuple[Rate, Rate]:
    """SQLite as one would write it by hand."""
    connection = sqlite3.connect(Path(address) / f"plain{table.num_rows}.db", isolation_level=None)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("create table log (offset integer primary key, key blob, value blob, headers blob, at integer)")
    rows = [(row["key"], row["value"], repr(row["headers"]).encode(), row["n"]) for row in _plain_rows(table)]

    def write() -> None:
        connection.execute("begin immediate")
        connection.executemany("insert into log (key, value, headers, at) values (?, ?, ?, ?)", rows)
        connection.execute("commit")

    def read() -> int:
        return sum(len(part) for part in _parts(connection.execute("select * from log order by offset")))

    rates = repeated(write, table.num_rows, seconds), timed(read)
    connection.close()
    return rates


def _plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    return [{**row, "n": n} for n, row in enumerate(table.select(["key", "value", "headers"]).to_pylist())]


def _parts(cursor: sqlite3.Cursor) -> Iterator[list[Any]]:
    while part := cursor.fetchmany(READ):
        yield part


ENGINES: Mapping[str, Engine] = {
    "embedded": Engine(folder_only, embedded, row_per_record),
    "kafka": Engine(server_of("kafka"), kafka, stock_kafka),
    "nats": Engine(server_of("nats"), nats),  # its plain client: bus_nats
    "nats-packed": Engine(server_of("nats"), nats, packed=True),
    "rabbitmq": Engine(server_of("rabbitmq"), rabbitmq),  # its plain client: bus_rabbitmq
}


def records(count: int) -> pa.Table:
    made: list[dict[str, Any]] = [
        {"key": b"%d" % (n % 1000), "value": os.urandom(125).hex().encode() + b"x" * 150, "headers": HEADERS, "timestamp": n}
        for n in range(count)
    ]
    return pa.Table.from_pylist(made, schema=RECORD_SCHEMA)


def repeated(work: Callable[[], object], rows: int, seconds: float) -> Rate:
    """Per record, of a work done again and again."""
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        work()
        done += rows
    return Rate((time.perf_counter() - wall) / done, (time.process_time() - cpu) / done)


def timed(work: Callable[[], int]) -> Rate:
    """Per record, of a work that says how many it did."""
    wall, cpu = time.perf_counter(), time.process_time()
    done = work()
    return Rate((time.perf_counter() - wall) / done, (time.process_time() - cpu) / done)


def rates(bus: Bus, table: pa.Table, seconds: float, *, packed: bool) -> dict[str, Rate]:
    """Append, publish, read by offset."""
    size = table.num_rows
    for way in ("append", "publish"):
        bus.ensure(Topic(name=f"{way}-{size}", packed=packed))
    publisher = bus.publisher(f"bench-{size}")
    lsn = 0
    rest = [pa.array([0] * size, pa.int32()), pa.array([0] * size, pa.int8())]

    def publish() -> None:
        nonlocal lsn
        lsn += size
        places = [pa.array(range(lsn, lsn + size), pa.int64()), *rest]
        publisher.publish({f"publish-{size}": pa.Table.from_arrays([*table.columns, *places], schema=PLACED_SCHEMA)})

    found = {
        "append": repeated(lambda: bus.append(f"append-{size}", table), size, seconds),
        "publish": repeated(publish, size, seconds),
        "read": timed(lambda: read(bus, f"append-{size}")),
    }
    publisher.close()
    return found


def read(bus: Bus, topic: str) -> int:
    (first, end), got = bus.spans(topic)[0], 0
    while first < end:
        part = bus.read(Partition(topic, 0), first, limit=READ)
        first, got = int(part["offset"][-1].as_py()) + 1, got + part.num_rows
    return got


def watch(engine: str, address: str, count: int, told: Any) -> None:
    """A member in a process of its own: how long each record took."""
    bus = ENGINES[engine].connect(address)
    member = bus.member("watch", ["latency"])
    member.poll(0)
    told.send("ready")
    took: list[float] = []
    while len(took) < count:
        for fetched in member.poll(1):
            now = time.time_ns()
            took += [(now - int(value.as_py())) / 1e6 for value in fetched.records["value"]]
    member.close()
    bus.close()
    told.send(took)


def latencies(engine: str, address: str, count: int) -> list[float]:
    """Milliseconds from append to poll, one record each, a few milliseconds apart."""
    bus = ENGINES[engine].connect(address)
    bus.ensure(Topic(name="latency", packed=ENGINES[engine].packed))
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    watcher = multiprocessing.get_context("spawn").Process(target=watch, args=(engine, address, count, theirs))
    watcher.start()
    assert ours.recv() == "ready"
    for number in range(count):
        value = b"%d" % time.time_ns()
        row: list[dict[str, Any]] = [{"key": b"k", "value": value, "headers": HEADERS, "timestamp": number}]
        bus.append("latency", pa.Table.from_pylist(row, schema=RECORD_SCHEMA))
        time.sleep(0.003)
    took = sorted(ours.recv())
    watcher.join()
    bus.close()
    return took


def measure(name: str, seconds: float, count: int) -> None:
    engine = ENGINES[name]
    with tempfile.TemporaryDirectory() as folder, engine.start(Path(folder)) as address:
        bus = engine.connect(address)
        for size in SIZES:
            table = records(size)
            for way, rate in rates(bus, table, seconds, packed=engine.packed).items():
                print(f"{name:<12} {size:>6} {way:<12} {rate}")
            if engine.plain:
                for way, rate in zip(("plain in", "plain out"), engine.plain(address, table, seconds), strict=True):
                    print(f"{name:<12} {size:>6} {way:<12} {rate}")
        bus.close()
        if count:
            took = latencies(name, address, count)
            print(f"{name:<12} append to poll: p50 {took[count // 2]:.1f} ms, p99 {took[int(count * 0.99)]:.1f} ms")


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--engines", default=",".join(ENGINES))
    words.add_argument("--seconds", type=float, default=2.0)
    words.add_argument("--latencies", type=int, default=500)
    asked = words.parse_args()
    print(f"{'':<12} {'batch':>6} {'':<12} {'records/s':>10} {'us CPU':>7}")
    for name in asked.engines.split(","):
        measure(name, asked.seconds, asked.latencies)


if __name__ == "__main__":
    main()
