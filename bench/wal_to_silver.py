"""WAL -> bronze and silver (and gold), beside `pg_recvlogical -f /dev/null` in the same run.

    python bench/wal_to_silver.py [--rows 1000000] [--rounds 3]

A backlog is written once; each round lets pg_recvlogical read it into nothing and the pipeline read it into an empty
lake with fsync on, over the same unix socket. Server, pipeline and lake share the machine. Goals: >= 0.6 of
pg_recvlogical for 1000-row transactions, >= 0.5 for 10-row ones.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import time

from shop import Shop, open_shop, run

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Pipeline

SHAPES = {"1000-row transactions": (400, 405, 190, 10), "10-row transactions": (4, 4, 2, 0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    with open_shop() as shop:
        for name, shape in SHAPES.items():
            results[name] = measure(shop, shape, options.rows, options.rounds)
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for name, result in results.items():
        print(f"\n{name}, {result['rows']:,} changes, median of {options.rounds} rounds")
        for what in ("pg_recvlogical", "to_silver", "to_gold"):
            rate, ratio = result[what], result[what] / result["pg_recvlogical"]
            print(f"  {what:<16} {rate:>10,.0f} rows/s   {ratio:5.2f} of pg_recvlogical")
        print(f"  CPU of the pipeline to silver: {result['cpu_us']:.2f} us per row")


def measure(shop: Shop, shape: tuple[int, int, int, int], rows: int, rounds: int) -> dict[str, float]:
    shop.slot("master")
    transactions = max(1, rows // sum(shape))
    shop.sql(f"call backlog({transactions}, {', '.join(map(str, shape))})")
    end = shop.end()
    shop.sql("select pg_logical_emit_message(true, 'bench', 'end')")
    shop.sql("checkpoint")
    peers, silvers, golds, cpus, counted = [], [], [], [], 0
    for _ in range(rounds):
        peers.append(recvlogical(shop, end))
        counted, seconds, cpu = pipeline(shop, end, gold=False)
        silvers.append(counted / seconds)
        cpus.append(cpu / counted * 1e6)
        counted, seconds, _ = pipeline(shop, end, gold=True)
        golds.append(counted / seconds)
    shop.drop_slot("master")
    peer = statistics.median(peers)
    return {
        "rows": counted,
        "pg_recvlogical": counted / peer,
        "to_silver": statistics.median(silvers),
        "to_gold": statistics.median(golds),
        "cpu_us": statistics.median(cpus),
    }


def recvlogical(shop: Shop, end: str) -> float:
    shop.copy_slot("master", "peer")
    words = [*shop.program("pg_recvlogical"), "-d", "postgres", "-S", "peer", "--start", "-E", end, "-f", "/dev/null",
             "-n", "-o", "publication_names=bitvelocity", "-o", "proto_version=2", "-o", "streaming=on",
             "-o", "messages=true"]  # fmt: skip
    began = time.perf_counter()
    run(words, shop.environment)
    seconds = time.perf_counter() - began
    shop.drop_slot("peer")
    return seconds


def pipeline(shop: Shop, end: str, *, gold: bool) -> tuple[int, float, float]:
    shop.copy_slot("master", "lake")
    project = shop.project("drain", "lake", gold=gold)
    goal, rows = parse_lsn(end), 0
    with Pipeline(project) as line:
        began, cpu = time.perf_counter(), cpu_seconds()
        line.connect(shop.dsn)
        line.start()
        while line.watermark is None or max(line.watermark.position, line.watermark.seen) < goal:
            rows += line.step(0.2)
        seconds, used = time.perf_counter() - began, cpu_seconds() - cpu
    shop.drop_slot("lake")
    return rows, seconds, used


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
