"""One transaction of a million rows: memory of the pipeline, and seconds from COMMIT to gold.

    python bench/big_transaction.py [--rows 1000000]

Goal for 1M rows: <= 450 MB resident, gold <= 6 s after COMMIT. The peer, in the same run, is the server's own reader
that writes the transaction nowhere: `pg_recvlogical -f /dev/null`.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from typing import Any

import psycopg
from shop import Shop, open_shop, run

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Pipeline, Step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        shop.slot("lake")
        shop.slot("peer")
        result = measure(shop, options.rows)
    if options.json:
        print(json.dumps(result))
        return
    print(f"one transaction of {options.rows:,} rows, written in {result['writing']:.1f} s")
    print(f"  gold {result['to_gold']:.1f} s after COMMIT (pg_recvlogical into nothing, begun at COMMIT: {result['peer']:.1f} s)")
    print(f"  pipeline's peak memory {result['rss_mb']:.0f} MB ({result['idle_mb']:.0f} MB before), streamed: {result['streamed']}")


def measure(shop: Shop, rows: int) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    project = shop.project("big", "lake")
    ours, theirs = context.Pipe()
    process = context.Process(target=follow, args=(theirs, str(project.root), shop.dsn))
    process.start()
    idle = ours.recv()
    writing, committed, end = write(shop, rows)
    ours.send(parse_lsn(end))
    done, peak, streamed = ours.recv()
    process.join()
    return {
        "writing": writing,
        "to_gold": done - committed,
        "rss_mb": peak,
        "idle_mb": idle,
        "streamed": streamed,
        "peer": peer(shop, end),
    }


def write(shop: Shop, rows: int) -> tuple[float, float, str]:
    with psycopg.connect(shop.dsn) as connection:
        began = time.time()
        connection.execute("select tx(%s, 0, 0, 0)", [rows])
        connection.commit()
        committed = time.time()
    return committed - began, committed, shop.end()


def follow(pipe: Any, root: str, dsn: str) -> None:
    from pathlib import Path

    from bitvelocity.flow import open_project

    steps: list[Step] = []
    with Pipeline(open_project(Path(root)), steps.append) as line:
        line.connect(dsn)
        line.start()
        line.step(0.5)
        pipe.send(resident())
        goal = None
        while goal is None or not steps or steps[-1].gold is None:
            line.step(0.2)
            if goal is None and pipe.poll():
                goal = pipe.recv()
        pipe.send((time.time(), resident(), line.streamed))


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def peer(shop: Shop, end: str) -> float:
    words = [*shop.program("pg_recvlogical"), "-d", "postgres", "-S", "peer", "--start", "-E", end, "-f", "/dev/null",
             "-n", "-o", "publication_names=bitvelocity", "-o", "proto_version=2", "-o", "messages=true"]  # fmt: skip
    began = time.perf_counter()
    run(words, shop.environment)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
