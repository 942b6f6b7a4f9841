"""WAL to decoded Arrow batches, beside `pg_recvlogical -f /dev/null` in the same run.

    python bench/capture_drain.py [--rows 1000000] [--rounds 3]

A backlog is written once; then both read it in turns, over the same unix socket, with the same options.
Server and reader share the machine. "receive" is the CPU of the thread that reads the socket and finds the
frames.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from shop import Shop, open_shop, run

from bitvelocity.capture import WalSource
from bitvelocity.changes import parse_lsn

SHAPES = {"1000-row transactions": (400, 405, 190, 10), "10-row transactions": (4, 4, 2, 0)}


@dataclass(frozen=True, slots=True)
class Drain:
    rows: int
    seconds: float
    cpu: float
    receive: float
    change_sets: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        results = {name: measure(shop, shape, options.rows, options.rounds) for name, shape in SHAPES.items()}
    if options.json:
        print(json.dumps(results, indent=1))
        return
    for name, result in results.items():
        print(f"\n{name}, {result['rows']:,.0f} changes, median of {options.rounds} rounds")
        print(f"  pg_recvlogical  {result['pg_recvlogical']:>10,.0f} rows/s")
        print(
            f"  WalSource       {result['source']:>10,.0f} rows/s   {result['ratio']:5.2f} of pg_recvlogical"
        )
        print(f"  CPU us per row: all {result['cpu_us']:.2f}, receive {result['receive_us']:.2f}; "
              f"{result['change_sets']:.0f} change sets")  # fmt: skip


def measure(shop: Shop, shape: tuple[int, int, int, int], rows: int, rounds: int) -> dict[str, float]:
    shop.slot("master")
    shop.backlog(rows, shape)
    end = shop.end()
    shop.sql("select pg_logical_emit_message(true, 'bench', 'end')")
    shop.sql("checkpoint")
    peers, drains = [], []
    for _ in range(rounds):
        peers.append(recvlogical(shop, end))
        drains.append(drain(shop, parse_lsn(end)))
    shop.drop_slot("master")
    count, ours = drains[0].rows, statistics.median(d.seconds for d in drains)
    assert {d.rows for d in drains} == {count}
    peer = statistics.median(peers)
    return {
        "rows": count,
        "pg_recvlogical": count / peer,
        "source": count / ours,
        "ratio": peer / ours,
        "cpu_us": statistics.median(d.cpu for d in drains) / count * 1e6,
        "receive_us": statistics.median(d.receive for d in drains) / count * 1e6,
        "change_sets": statistics.median(d.change_sets for d in drains),
    }


def recvlogical(shop: Shop, end: str) -> float:
    shop.copy_slot("master", "peer")
    words = [*shop.program("pg_recvlogical"), "-d", "postgres", "-S", "peer", "--start", "-E", end, "-f", "/dev/null",
             "-n", "-o", "publication_names=bitvelocity", "-o", "proto_version=2", "-o", "streaming=on",
             "-o", "messages=true"]  # fmt: skip
    began = time.perf_counter()
    run(words, shop.environment)
    seconds = time.perf_counter() - began
    free(shop, "peer")
    return seconds


def drain(shop: Shop, end: int) -> Drain:
    shop.copy_slot("master", "ours")
    rows = sets = 0
    with WalSource(shop.dsn, slot="ours", spill=Path(shop.folder) / "spill", has_position=True) as source:
        began, cpu = time.perf_counter(), time.process_time()
        while source.seen < end:
            for change_set in source.tail(0.05):
                rows += sum(batch.data.num_rows for batch in change_set)
                sets += 1
                source.confirm(change_set.mark.resume)
                if change_set.mark.resume >= end:
                    break
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
        receive = source.stats.receive_cpu
    free(shop, "ours")
    return Drain(rows, seconds, used, receive, sets)


def free(shop: Shop, slot: str) -> None:
    """Drop the slot once its reader is gone."""
    while shop.sql(f"select 1 from pg_replication_slots where slot_name = '{slot}' and active"):
        time.sleep(0.05)
    shop.drop_slot(slot)


if __name__ == "__main__":
    main()
