"""One transaction of a million rows: memory of the pipeline, and seconds from COMMIT to gold.

    python bench/big_transaction.py [--rows 1000000]

Goal for 1M rows: <= 450 MB resident, gold <= 6 s after COMMIT. The peer, in the same run, is the server's own reader
that writes the transaction nowhere: `pg_recvlogical -f /dev/null`.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
from shop import Shop, open_shop, run

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Project
from bitvelocity.lakehouse import read_watermark


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
    project = shop.project("big", "lake")
    with subprocess.Popen(
        [sys.executable, "-m", "bitvelocity", "up", "--json", "--project", str(project.root)],
        stdout=subprocess.PIPE,
        text=True,
    ) as up:
        assert up.stdout is not None
        up.stdout.readline()  # it says that it is ready
        idle = memory(up.pid, "VmRSS")
        writing, committed, end = write(shop, rows)
        gold = wait(project, parse_lsn(end))
        peak = memory(up.pid, "VmHWM")
        up.send_signal(signal.SIGINT)
    streamed = shop.sql("select stream_txns from pg_stat_replication_slots where slot_name = 'lake'")[0][0]
    return {
        "writing": writing,
        "to_gold": gold - committed,
        "rss_mb": peak,
        "idle_mb": idle,
        "streamed": streamed,
        "peer": peer(shop, end),
    }


def wait(project: Project, lsn: int) -> float:
    """The moment when a published watermark has passed `lsn`, gold included."""
    while True:
        mark = read_watermark(project.lake)
        if mark and max(mark.position, mark.seen) >= lsn and mark.gold_position >= mark.position > 0:
            return mark.published_at / 1e6
        time.sleep(0.01)


def memory(pid: int, field: str) -> float:
    """MB that a process holds (VmRSS), or held at most (VmHWM)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    return 0.0


def write(shop: Shop, rows: int) -> tuple[float, float, str]:
    with psycopg.connect(shop.dsn) as connection:
        began = time.time()
        connection.execute("select tx(%s, 0, 0, 0)", [rows])
        connection.commit()
        committed = time.time()
    return committed - began, committed, shop.end()


def peer(shop: Shop, end: str) -> float:
    words = [*shop.program("pg_recvlogical"), "-d", "postgres", "-S", "peer", "--start", "-E", end, "-f", "/dev/null",
             "-n", "-o", "publication_names=bitvelocity", "-o", "proto_version=2", "-o", "messages=true"]  # fmt: skip
    began = time.perf_counter()
    run(words, shop.environment)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
