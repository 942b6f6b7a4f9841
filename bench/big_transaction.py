"""One very large transaction: memory of the pipeline, and seconds from COMMIT to silver (or gold).

    python bench/big_transaction.py [--rows 5000000] [--gold]

Goals: <= 450 MB resident whatever the size; in silver <= 2 s after COMMIT for each million rows. With `--gold` a model
is kept too (goal for 1M rows: <= 6 s). The peer, in the same run, is the server's own reader that writes the
transaction nowhere: `pg_recvlogical -f /dev/null`.
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
from shop import Shop, open_shop, run, used

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Project
from bitvelocity.lakehouse import read_watermark


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--gold", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        shop.slot("lake")
        shop.slot("peer")
        result = measure(shop, options.rows, gold=options.gold)
    if options.json:
        print(json.dumps(result))
        return
    print(f"one transaction of {options.rows:,} rows, written in {result['writing']:.1f} s")
    print(f"  {result['to']} {result['after_commit']:.1f} s ({result['s_per_million']:.2f} s per million rows) after COMMIT (pg_recvlogical into nothing, begun at COMMIT: {result['peer']:.1f} s)")
    print(f"  pipeline's peak memory {result['rss_mb']:.0f} MB ({result['idle_mb']:.0f} MB before), streamed: {result['streamed']}")


def measure(shop: Shop, rows: int, *, gold: bool) -> dict[str, Any]:
    project = shop.project("big", "lake", gold=gold)
    with subprocess.Popen(
        [sys.executable, "-m", "bitvelocity", "up", "--json", "--project", str(project.root)],
        stdout=subprocess.PIPE,
        text=True,
    ) as up:
        assert up.stdout is not None
        up.stdout.readline()  # it says that it is ready
        idle = memory(up.pid, "VmRSS")
        writing, committed, end = write(shop, rows)
        done = wait(project, parse_lsn(end), gold=gold)
        peak = memory(up.pid, "VmHWM")
        cpu = used(up.pid)
        up.send_signal(signal.SIGINT)
    streamed = shop.sql("select stream_txns from pg_stat_replication_slots where slot_name = 'lake'")[0][0]
    return {
        "writing": writing,
        "to": "gold" if gold else "silver",
        "after_commit": done - committed,
        "s_per_million": (done - committed) / rows * 1e6,
        "cpu_us": cpu / rows * 1e6,
        "rss_mb": peak,
        "idle_mb": idle,
        "streamed": streamed,
        "peer": peer(shop, end),
    }


def wait(project: Project, lsn: int, *, gold: bool) -> float:
    """The moment when a published watermark has passed `lsn`; with `gold`, that too."""
    while True:
        mark = read_watermark(project.lake)
        level = mark and (mark.gold_position >= mark.position if gold else True)
        if mark and level and mark.position > 0 and max(mark.position, mark.seen) >= lsn:
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
