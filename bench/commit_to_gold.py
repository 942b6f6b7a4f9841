"""Commit in PostgreSQL to visible in gold, at a steady load, with fsync on and everything on one machine.

    python bench/commit_to_gold.py [--rate 2000] [--seconds 60]

pgbench writes transactions of 1 to 5 row changes. For each transaction: the time from its commit to the moment when a
published watermark, durable on disk, has it in bronze, silver and gold. Goal at 2000 changes/s: p50 <= 80 ms,
p99 <= 250 ms.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
import time
from typing import Any

import numpy as np
from shop import Shop, open_shop

from bitvelocity.flow import Pipeline, Project, Step, open_reader

CHANGES_PER_TRANSACTION = 3.0
LOAD = (
    "\\set a random(0, 2)\n\\set b random(0, 2)\n\\set c random(0, 2)\n\\set d random(0, 20) / 20\nselect tx(:a, :b, :c, :d);\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=int, default=2000, help="row changes per second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--cycle", type=int, default=25, help="[capture] cycle_ms")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        shop.sql("call backlog(20, 5000, 0, 5000, 0)")
        shop.slot("lake")
        result = measure(shop, options.rate, options.seconds, options.cycle)
    if options.json:
        print(json.dumps(result))
        return
    print(f"{result['changes_per_second']:,.0f} changes/s for {options.seconds} s, {result['transactions']:,} transactions")
    print(f"commit to gold: p50 {result['p50_ms']:.0f} ms, p99 {result['p99_ms']:.0f} ms, max {result['max_ms']:.0f} ms")
    print(f"pipeline CPU: {result['cores']:.2f} cores")


def measure(shop: Shop, rate: int, seconds: int, cycle: int) -> dict[str, float]:
    project = shop.project("latency", "lake", cycle_ms=cycle)
    published: list[tuple[int, float]] = []

    def note(step: Step) -> None:
        if step.gold is not None:
            published.append((step.mark.lsn, time.time()))

    stop = threading.Event()
    used: list[float] = []

    def follow() -> None:
        with Pipeline(project, note) as line:
            line.connect(shop.dsn)
            line.start()
            before = time.process_time()
            while not stop.is_set():
                line.step(0.2)
            used.append(time.process_time() - before)

    thread = threading.Thread(target=follow)
    thread.start()
    time.sleep(2)
    began = time.monotonic()
    load(shop, rate, seconds)
    took = time.monotonic() - began
    time.sleep(2)
    stop.set()
    thread.join()
    rows = committed(project)
    marks, times = np.array([lsn for lsn, _ in published]), np.array([at for _, at in published])
    lag = times[np.searchsorted(marks, rows["_lsn"])] - rows["at"] / 1e6
    p50, p99, top = np.percentile(lag, [50, 99, 100]) * 1e3
    return {
        "changes_per_second": float(rows["n"].sum() / took),
        "transactions": len(lag),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": float(top),
        "cores": used[0] / (took + 4),
    }


def committed(project: Project) -> Any:
    """LSN, commit time and number of changes of each transaction, as silver has them."""
    query = (
        "select _lsn, epoch_us(min(_committed_at)) as at, count(*) as n from ("
        "select _lsn, _committed_at from silver.orders_changes where _op <> 'r' union all "
        "select _lsn, _committed_at from silver.order_items_changes where _op <> 'r') group by 1 order by 1"
    )
    with open_reader(project) as reader:
        return reader.connection.sql(query).fetchnumpy()


def load(shop: Shop, rate: int, seconds: int) -> None:
    script = shop.folder / "load.sql"
    script.write_text(LOAD)
    words = [*shop.program("pgbench"), "-n", "-f", str(script), "-R", str(rate / CHANGES_PER_TRANSACTION), "-c", "2",
             "-T", str(seconds), "postgres"]  # fmt: skip
    subprocess.run(words, env=shop.environment, capture_output=True, check=True)


if __name__ == "__main__":
    main()
