"""Durable rates and CPU per record of topics on NATS, one record per message and packed, beside the stock client.

    python bench/bus_nats.py [--records 50000] [--rounds 3]

A server of our own on loopback, every message synced before it is acknowledged. Records have about 500 bytes of which
half do not compress, a key, and three headers; appends take 10,000 at once. "stock" is nats-py as its documentation has
it: `publish_async` with 4000 on their way, and a pull consumer that fetches 1000 and acknowledges them all at once.
CPU is of this process, and beside it the server's. The best round counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import nats
import pyarrow as pa
from nats.js.api import AckPolicy, ConsumerConfig

from bitvelocity.streams import PLACED_SCHEMA, RECORD_SCHEMA, Partition, Topic
from bitvelocity.streams.nats import NatsBus
from bitvelocity.streams.servers import LocalServer, NatsServer

STEP = 10_000
HEADERS = [("ce_id", b"16/3B2F1A8/17"), ("ce_type", b"orders.update"), ("traceparent", b"00-" + b"0" * 49)]


class Rate(NamedTuple):
    seconds: float
    ours: float
    server: float


def records() -> pa.Table:
    made: list[dict[str, Any]] = [
        {"key": b"%d" % (n % 1000), "value": os.urandom(125).hex().encode() + b"x" * 150, "headers": HEADERS, "timestamp": n}
        for n in range(STEP)
    ]
    return pa.Table.from_pylist(made, schema=RECORD_SCHEMA)


def timed(work: Callable[[], object], server: LocalServer) -> Rate:
    wall, ours, theirs = time.perf_counter(), time.process_time(), cpu_of(server)
    work()
    return Rate(time.perf_counter() - wall, time.process_time() - ours, cpu_of(server) - theirs)


def cpu_of(server: LocalServer) -> float:
    words = Path(f"/proc/{server.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def append(bus: NatsBus, topic: str, table: pa.Table, count: int) -> None:
    for _ in range(count // STEP):
        bus.append(topic, table)


def publish(bus: NatsBus, topic: str, table: pa.Table, count: int) -> None:
    publisher = bus.publisher(topic)
    zeros = [pa.array([0] * STEP, pa.int32()), pa.array([0] * STEP, pa.int8())]
    for begin in range(1, count, STEP):
        lsn = pa.array(range(begin, begin + STEP), pa.int64())
        publisher.publish({topic: pa.Table.from_arrays([*table.columns, lsn, *zeros], schema=PLACED_SCHEMA)})


def read(bus: NatsBus, topic: str, count: int) -> None:
    offset, got, end = 0, 0, bus.spans(topic)[0].end
    while offset < end:
        part = bus.read(Partition(topic, 0), offset, limit=STEP)
        offset, got = int(part["offset"][-1].as_py()) + 1, got + part.num_rows
    assert got == count, f"{topic}: {got} of {count}"


def stock(address: str, table: pa.Table, count: int, *, topic: str | None) -> Callable[[], object]:
    """In, or out of a topic that was written so."""
    messages = [
        (row["value"], {"bv-key": row["key"].decode(), **{name: value.decode() for name, value in HEADERS}})
        for row in table.to_pylist()
    ]

    async def work() -> None:
        client = await nats.connect(address, pending_size=64 << 20)
        context = client.jetstream(publish_async_max_pending=4000)
        if topic is None:
            await context.add_stream(name="stock", subjects=["stock"])
            for _ in range(count // STEP):
                await asyncio.gather(*[await context.publish_async("stock", body, headers=head) for body, head in messages])
        else:
            wanted = ConsumerConfig(ack_policy=AckPolicy.ALL, max_ack_pending=4000)
            subscription = await context.pull_subscribe(topic, durable="bench", config=wanted)
            got = 0
            while got < count:
                batch = await subscription.fetch(1000, timeout=10)
                await batch[-1].ack()
                got += len(batch)
            await context.delete_stream("stock")
        await client.close()

    return lambda: asyncio.run(work())


def round_of(count: int, table: pa.Table) -> dict[str, Rate]:
    found: dict[str, Rate] = {}
    with tempfile.TemporaryDirectory() as folder, LocalServer(NatsServer(), Path(folder)) as server:
        bus = NatsBus(server.address)
        for name, packed in (("single", False), ("packed", True)):
            many = count * 10 if packed else count
            for way, verb in (("append", append), ("publish", publish)):
                topic = f"{name}-{way}"
                bus.ensure(Topic(name=topic, packed=packed))
                found[f"{name}, {way}"] = per(many, timed(lambda v=verb, t=topic, n=many: v(bus, t, table, n), server))  # type: ignore[misc]
            found[f"{name}, read"] = per(many, timed(lambda t=topic, n=many: read(bus, t, n), server))  # type: ignore[misc]
        bus.close()
        found["stock, publish_async"] = per(count, timed(stock(server.address, table, count, topic=None), server))
        found["stock, fetch"] = per(count, timed(stock(server.address, table, count, topic="stock"), server))
    return found


def per(count: int, rate: Rate) -> Rate:
    return Rate(*(value / count for value in rate))


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--records", type=int, default=50_000)
    words.add_argument("--rounds", type=int, default=3)
    asked = words.parse_args()
    table = records()
    rounds = [round_of(asked.records, table) for _ in range(asked.rounds)]
    print(f"{'':22} {'records/s':>10} {'our CPU':>9} {'server':>9}   (us per record)")
    for name in rounds[0]:
        best = min(one[name] for one in rounds)
        print(f"{name:22} {1 / best.seconds:10,.0f} {best.ours * 1e6:9.1f} {best.server * 1e6:9.1f}")


if __name__ == "__main__":
    main()
