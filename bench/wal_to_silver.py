"""WAL -> bronze and silver (and gold), beside `pg_recvlogical -f /dev/null` in the same run.

    python bench/wal_to_silver.py [--rows 1000000] [--rounds 3] [--feeds walsender,copy,auto] [--no-gold]

A backlog is written once; each round lets pg_recvlogical read it into nothing and the pipeline read it into an empty
lake with fsync on, over the same unix socket, through each feed in turn. Server, pipeline and lake share the machine.
Goal, with `auto`: >= 0.9 of pg_recvlogical to silver, for 1000-row and 10-row transactions. "server" and "pipeline" are
CPU per row: with both cores busy they decide, and they suffer less from other work on the machine than seconds do.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass

from shop import Shop, open_shop, own_cpu, run

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Pipeline

SHAPES = {"1000-row transactions": (400, 405, 190, 10), "10-row transactions": (4, 4, 2, 0)}
Result = dict[str, float]


@dataclass(frozen=True, slots=True)
class Drain:
    """One reading of the backlog."""

    rows: int
    seconds: float
    server: float
    client: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--feeds", default="walsender,auto", help="of walsender, copy, auto")
    parser.add_argument("--shape", default="", help="1000 or 10: only transactions of that many rows")
    parser.add_argument("--no-gold", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        results = {name: measure(shop, shape, options) for name, shape in SHAPES.items() if options.shape in ("", name.partition("-")[0])}
    if options.json:
        print(json.dumps(results))
        return
    for name, lines in results.items():
        print(f"\n{name}, median of {options.rounds} rounds")
        print(f"  {'':<22} {'rows/s':>10} {'ratio':>6} {'server':>7} {'pipeline':>9}   (CPU us per row)")
        for what, line in lines.items():
            print(f"  {what:<22} {line['rows_s']:>10,.0f} {line['ratio']:>6.2f} {line['server_us']:>7.2f} {line['client_us']:>9.2f}")


def measure(shop: Shop, shape: tuple[int, int, int, int], options: argparse.Namespace) -> dict[str, Result]:
    shop.slot("master")
    shop.backlog(options.rows, shape)
    end = shop.end()
    shop.sql("select pg_logical_emit_message(true, 'bench', 'end')")
    shop.sql("checkpoint")
    drains: dict[str, list[Drain]] = {}
    for _ in range(options.rounds):
        drains.setdefault("pg_recvlogical", []).append(recvlogical(shop, end))
        for feed in options.feeds.split(","):
            drains.setdefault(f"to silver, {feed}", []).append(pipeline(shop, end, feed=feed, gold=False))
            if not options.no_gold:
                drains.setdefault(f"to gold, {feed}", []).append(pipeline(shop, end, feed=feed, gold=True))
    shop.drop_slot("master")
    rows = max(drain.rows for given in drains.values() for drain in given)
    peer = statistics.median(drain.seconds for drain in drains["pg_recvlogical"])
    return {what: summed(given, rows, peer) for what, given in drains.items()}


def summed(drains: list[Drain], rows: int, peer: float) -> Result:
    assert {drain.rows for drain in drains} <= {0, rows}, "not all rows came"
    seconds = statistics.median(drain.seconds for drain in drains)
    return {
        "rows": rows,
        "rows_s": round(rows / seconds),
        "ratio": round(peer / seconds, 3),
        "server_us": round(statistics.median(drain.server for drain in drains) / rows * 1e6, 2),
        "client_us": round(statistics.median(drain.client for drain in drains) / rows * 1e6, 2),
    }


def recvlogical(shop: Shop, end: str) -> Drain:
    shop.copy_slot("master", "peer")
    words = [*shop.program("pg_recvlogical"), "-d", "postgres", "-S", "peer", "--start", "-E", end, "-f", "/dev/null",
             "-n", "-o", "publication_names=bitvelocity", "-o", "proto_version=2", "-o", "streaming=on",
             "-o", "messages=true"]  # fmt: skip
    server, began = shop.server_cpu(), time.perf_counter()
    run(words, shop.environment)
    seconds = time.perf_counter() - began
    shop.drop_slot("peer")
    return Drain(0, seconds, shop.server_cpu() - server, 0.0)


def pipeline(shop: Shop, end: str, *, feed: str, gold: bool) -> Drain:
    shop.copy_slot("master", "lake")
    project = shop.project("drain", "lake", gold=gold, feed=feed)
    goal, rows = parse_lsn(end), 0
    with Pipeline(project) as line:
        server, cpu, began = shop.server_cpu(), own_cpu(), time.perf_counter()
        line.connect(shop.dsn)
        line.start()
        while line.watermark is None or max(line.watermark.position, line.watermark.seen) < goal:
            rows += line.step(0.2)
        seconds, cpu, server = time.perf_counter() - began, own_cpu() - cpu, shop.server_cpu() - server
    shop.drop_slot("lake")
    return Drain(rows, seconds, server, cpu)


if __name__ == "__main__":
    main()
