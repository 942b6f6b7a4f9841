"""CPU per record of topics on RabbitMQ, streams and queues, in and out, beside the stock clients.

    python bench/bus_rabbitmq.py [--records 50000] [--rounds 3]

A server of our own on loopback. Records have about 500 bytes, a key, and three headers; appends take 10,000 at once, and all
are confirmed. "rstream" sends them in batches of 500 in the layout that other clients read (AMQP 1.0), and reads them by its
callback; "pika" publishes with one confirmation each, and takes them with a prefetch of 2000. CPU is of this process. The
best round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pika
import pyarrow as pa
import rstream

from bitvelocity.streams import PLACED_SCHEMA, RECORD_SCHEMA, Partition, Topic
from bitvelocity.streams.rabbitmq import RabbitQueues, RabbitStreams
from bitvelocity.streams.rabbitmq.address import Address, parse_address
from bitvelocity.streams.servers import LocalServer, RabbitServer

STEP = 10_000
HEADERS = [("ce_id", b"16/3B2F1A8/17"), ("ce_type", b"orders.update"), ("traceparent", b"00-" + b"0" * 49)]


def records() -> pa.Table:
    made: list[dict[str, Any]] = [
        {"key": b"%d" % (n % 1000), "value": os.urandom(125).hex().encode() + b"x" * 150, "headers": HEADERS, "timestamp": n}
        for n in range(STEP)
    ]
    return pa.Table.from_pylist(made, schema=RECORD_SCHEMA)


def cpu(work: Callable[[], object], count: int) -> float:
    """Microseconds of CPU for each record."""
    began = time.process_time()
    work()
    return (time.process_time() - began) / count * 1e6


def streams(address: str, table: pa.Table, count: int, name: str) -> dict[str, float]:
    bus = RabbitStreams(address)
    bus.ensure(Topic(name=name))
    bus.ensure(Topic(name=f"{name}-placed"))
    publisher, zeros = bus.publisher(name), [pa.array([0] * STEP, pa.int32()), pa.array([0] * STEP, pa.int8())]

    def append() -> None:
        for _ in range(count // STEP):
            bus.append(name, table)

    def publish() -> None:
        for begin in range(1, count, STEP):
            lsn = pa.array(range(begin, begin + STEP), pa.int64())
            columns: list[Any] = [*table.columns, lsn, *zeros]
            publisher.publish({f"{name}-placed": pa.Table.from_arrays(columns, schema=PLACED_SCHEMA)})

    def read() -> None:
        offset = 0
        while offset < count:
            offset = int(bus.read(Partition(name, 0), offset, limit=STEP)["offset"][-1].as_py()) + 1

    found = {"append": cpu(append, count), "publish": cpu(publish, count), "read": cpu(read, count)}
    publisher.close()
    bus.close()
    return found


def by_rstream(there: Address, table: pa.Table, count: int, stream: str) -> dict[str, float]:
    rows = table.to_pylist()

    def message(row: dict[str, Any]) -> Any:
        return rstream.AMQPMessage(body=row["value"], application_properties={"bv-key": row["key"], **dict(row["headers"])})

    async def write() -> None:
        done, confirmed = asyncio.Event(), 0

        def on_confirm(_: Any) -> None:
            nonlocal confirmed
            confirmed += 1
            if confirmed == count:
                done.set()

        client = rstream.Producer(there.host, there.stream_port, username=there.user, password=there.password)
        async with client as producer:
            for begin in range(0, count, 500):
                batch = [message(row) for row in rows[begin % STEP : begin % STEP + 500]]
                await producer.send_batch(stream, batch, on_publish_confirm=on_confirm)
            await done.wait()

    async def read() -> None:
        client = rstream.Consumer(there.host, there.stream_port, username=there.user, password=there.password)
        seen = 0

        def on_message(_: Any, __: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == count:
                client.stop()

        await client.start()
        first = rstream.ConsumerOffsetSpecification(rstream.OffsetType.FIRST)
        await client.subscribe(stream, callback=on_message, decoder=rstream.amqp_decoder, offset_specification=first)
        await client.run()
        await client.close()

    return {"in": cpu(lambda: asyncio.run(write()), count), "out": cpu(lambda: asyncio.run(read()), count)}


def queues(address: str, table: pa.Table, count: int, name: str) -> dict[str, float]:
    bus = RabbitQueues(address)
    bus.ensure(Topic(name=name))
    member = bus.member("bench", [name])

    def take() -> None:
        seen = 0
        while seen < count:
            for fetched in member.poll():
                seen += fetched.records.num_rows
                member.commit({fetched.partition: fetched.next})

    def append() -> None:
        for begin in range(0, count, STEP):
            bus.append(name, table.slice(0, min(STEP, count - begin)))

    found = {"append": cpu(append, count), "poll and commit": cpu(take, count)}
    member.close()
    bus.close()
    return found


def by_pika(there: Address, table: pa.Table, count: int, queue: str) -> dict[str, float]:
    connection = pika.BlockingConnection(pika.ConnectionParameters(there.host, there.port))
    channel, rows = connection.channel(), table.slice(0, count).to_pylist()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=2000)

    def write() -> None:
        for row in rows:
            properties = pika.BasicProperties(delivery_mode=2, headers=dict(row["headers"]))
            channel.basic_publish("", queue, row["value"], properties)

    def read() -> None:
        for seen, (method, _, _) in enumerate(channel.consume(queue), 1):
            if seen == count or seen % 1000 == 0:
                channel.basic_ack(method.delivery_tag, multiple=True)
            if seen == count:
                break

    found = {"in": cpu(write, len(rows)), "out": cpu(read, len(rows))}
    connection.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    table, best = records(), dict[str, float]()
    with tempfile.TemporaryDirectory() as folder, LocalServer(RabbitServer(), Path(folder)) as server:
        there = parse_address(server.address)
        for number in range(wanted.rounds):
            few = min(wanted.records // 10, STEP)
            found = {
                **{f"streams {way}": cost for way, cost in streams(server.address, table, wanted.records, f"s{number}").items()},
                **{f"queues {way}": cost for way, cost in queues(server.address, table, few, f"q{number}").items()},
                **{f"pika {way}": cost for way, cost in by_pika(there, table, few, f"p{number}").items()},
            }
            bus = RabbitStreams(server.address)
            bus.ensure(Topic(name=f"r{number}"))
            bus.close()
            plain = by_rstream(there, table, wanted.records, f"r{number}-0")
            found |= {f"rstream {way}": cost for way, cost in plain.items()}
            best = {way: min(cost, best.get(way, cost)) for way, cost in found.items()}
    for way, cost in best.items():
        print(f"{way:<24} {cost:>8.1f} us of CPU a record")


if __name__ == "__main__":
    main()
