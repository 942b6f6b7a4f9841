"""From COMMIT in PostgreSQL to a consumer of the table's topic, per transport, everything synced.

    python bench/commit_to_consumer.py [--buses embedded,kafka,nats,rabbitmq] [--commits 500] [--pause-ms 5]

One process commits an order every few milliseconds and writes the time just before it into the row; one carries the
write-ahead log to the topics, as `up` does with `route = "bus"`; a third polls the topic as a member of a group. The
time to the server's own COMMIT is the limit, and is told beside. The first commits are not counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
from bus_to_bronze import project_over  # type: ignore[import-not-found]
from shop import Shop, open_shop

from bitvelocity.flow import open_project
from bitvelocity.flow.buses import open_bus
from bitvelocity.flow.carrying import Carrier

TOPIC = "shop.public.orders"
INSERT = """
insert into orders (customer_id, total_amount, currency, attributes, note, created_at, created_by, updated_at, updated_by)
values (gen_random_uuid(), 10, 'USD', '{"channel": "web"}', %s, now(), 'app', now(), 'app')
"""
SAID = re.compile(rb"at=(\d{19})")
WARM = 500
"""Commits that are not counted: a broker in Java is a third slower until it has compiled what it does all the time."""


def write(dsn: str, count: int, pause: float, told: Any) -> None:
    """Commit orders; tell how long each COMMIT took, in ms."""
    took = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(count):
            began = time.time_ns()
            connection.execute(INSERT, [f"at={began}"])
            took.append((time.time_ns() - began) / 1e6)
            time.sleep(pause)
    told.send(took)


def watch(root: str, count: int, told: Any) -> None:
    """Poll the topic; tell how long after its writing each record came, in ms."""
    with closing(open_bus(open_project(Path(root)).settings)) as bus:
        member = bus.member("watch", [TOPIC])
        told.send("ready")
        took: list[float] = []
        while len(took) < count:
            for fetched in member.poll(1):
                now = time.time_ns()
                values: list[bytes] = fetched.records["value"].to_pylist()
                took += [(now - int(found[1])) / 1e6 for value in values if (found := SAID.search(value))]
                member.commit({fetched.partition: fetched.next})
        member.close()
    told.send(took)


def measure(shop: Shop, bus: str, commits: int, pause: float) -> dict[str, float]:
    shop.slot("carried")
    spawn = multiprocessing.get_context("spawn")
    with project_over(shop, bus, "avro") as project, closing(Carrier(project)) as carrier:
        carrier.connect(shop.dsn)
        shop.sql(INSERT.replace("%s", "'the first'"))
        while not carrier.step(0.5):
            pass
        pipes = [spawn.Pipe() for _ in range(2)]
        watcher = spawn.Process(target=watch, args=(str(project.root), WARM + commits, pipes[0][1]))
        writer = spawn.Process(target=write, args=(shop.dsn, WARM + commits, pause, pipes[1][1]))
        watcher.start()
        assert pipes[0][0].recv() == "ready"
        writer.start()
        while not pipes[0][0].poll():
            carrier.step(0.02)
        came, committed = (sorted(pipe[0].recv()[WARM:]) for pipe in pipes)
        watcher.join()
        writer.join()
    shop.drop_slot("carried")
    return {"p50": part(came, 0.5), "p99": part(came, 0.99), "commit p50": part(committed, 0.5), "commit p99": part(committed, 0.99)}


def part(sorted_ones: list[float], share: float) -> float:
    return round(sorted_ones[int(len(sorted_ones) * share)], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buses", default="embedded,kafka,nats,rabbitmq")
    parser.add_argument("--commits", type=int, default=500, help="that are counted")
    parser.add_argument("--pause-ms", type=float, default=5.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    with open_shop() as shop:
        for bus in options.buses.split(","):
            found[bus] = measure(shop, bus, options.commits, options.pause_ms / 1000)
            if not options.json:
                print(f"{bus:<10} " + ", ".join(f"{name} {ms} ms" for name, ms in found[bus].items()), flush=True)
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
