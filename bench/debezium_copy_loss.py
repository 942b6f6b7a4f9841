"""A COPY, a crash in its middle, a restart: what is lost and what comes twice, in Debezium and in ours.

    python bench/debezium_copy_loss.py [--rows 1000] [--crashes 2 5 11]

Two slots are made back to back, then 1000 rows are written in one transaction: by COPY, which gives many rows the same
LSN, and, as a control, by INSERT ... SELECT, which gives each its own. Debezium hands them over in batches of 50 and
its process ends without a word when it gives the Nth, before that is acknowledged; then it is started again. Ours
is killed with SIGKILL after its first step, started again and killed after its second, and so on through every step of
its pipeline, until a process lives to the end. Then the rows in Debezium's output, and those in bronze, are counted.
Needs a JDK and Maven.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
from debezium_java import finish, properties, role, start
from shop import Shop, open_shop

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Pipeline, open_project, open_reader
from bitvelocity.serving import ask

ENTITIES = """
from typing import Annotated
from bitvelocity.contracts import *

class Loaded(Entity, table="loaded", name="loaded", audit=False, managed=False):
    id: Annotated[int, Key()]
    v: str
"""


@dataclass(frozen=True, slots=True)
class Count:
    """What came of the rows of one transaction."""

    system: str
    written_by: str
    crashes: int
    rows: int
    lost: int
    doubled: int


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--crashes", type=int, nargs="+", default=[2, 5, 11], help="batches before Debezium's crash")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        role(shop)
        shop.sql("create table loaded (id bigint primary key, v text not null)")
        shop.sql("alter publication bitvelocity add table loaded")
        counts = [count for after in options.crashes for count in measure(shop, options.rows, after)]
    if options.json:
        print(json.dumps([asdict(count) for count in counts]))
    else:
        show(counts)
    sys.exit(any(count.lost or count.doubled for count in counts if count.system == "ours"))


def show(counts: Sequence[Count]) -> None:
    print(f"{'':24}{'written by':<18}{'crashes':>8}{'rows':>8}{'lost':>8}{'':>9}{'doubled':>8}")
    for each in counts:
        share = f"({each.lost / each.rows:.1%})"
        print(f"{each.system:24}{each.written_by:<18}{each.crashes:>8}{each.rows:>8}{each.lost:>8}{share:>9}{each.doubled:>8}")


def measure(shop: Shop, rows: int, after: int) -> list[Count]:
    """Both systems over both ways of writing, with a crash of Debezium behind `after` batches."""
    counts = []
    for name, write in WAYS.items():
        shop.sql("truncate loaded")
        shop.slot("peer")
        shop.slot("lake")
        write(shop, rows)
        end = shop.end()
        shop.sql("select pg_logical_emit_message(true, 'end', '')")
        for system, (ids, crashes) in {"Debezium": debezium(shop, after), "ours": ours(shop, end)}.items():
            assert set(ids) <= set(range(rows))
            once = len(set(ids))
            counts.append(Count(system, name, crashes, rows, lost=rows - once, doubled=len(ids) - once))
    return counts


def copy(shop: Shop, rows: int) -> None:
    with psycopg.connect(shop.dsn) as connection, connection.cursor().copy("copy loaded from stdin") as into:
        for number in range(rows):
            into.write_row((number, "x"))


def insert(shop: Shop, rows: int) -> None:
    shop.sql(f"insert into loaded select n, 'x' from generate_series(0, {rows - 1}) n")


WAYS: dict[str, Callable[[Shop, int], None]] = {"COPY": copy, "INSERT ... SELECT": insert}


def debezium(shop: Shop, after: int) -> tuple[list[int], int]:
    """The ids that the engine gave, over one crash and one restart."""
    folder = Path(tempfile.mkdtemp(dir=shop.folder))
    batches = {"max_batch_size": "50", "max_queue_size": "100"}
    settings = properties(shop, "peer", folder / "offsets", **batches)
    finish(start("events", folder / "out", {**settings, "peer.crash.after": str(after)}), code=9)
    finish(start("events", folder / "out", {**settings, "peer.until": "end"}))
    shop.drop_slot("peer")
    events = map(json.loads, (folder / "out").read_text().splitlines())
    values = [json.loads(event["value"]) for event in events if event["topic"] == "bench.public.loaded"]
    return [value["after"]["id"] for value in values if value["op"] == "c"], 1


def ours(shop: Shop, end: str) -> tuple[list[int], int]:
    """The ids in bronze, after a kill behind each step of the pipeline; and how many kills that were."""
    root = shop.folder / "loss"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    (root / "entities.py").write_text(ENTITIES)
    (root / "bitvelocity.toml").write_text(f'[database]\ndsn = "{shop.dsn}"\n[capture]\nslot = "lake"\nsnapshot = "never"\n')
    kills = 0
    while (code := pipeline(root, end, kills + 1)) == -signal.SIGKILL:
        kills += 1
    if code:
        sys.exit(f"the pipeline ended with {code}")
    shop.drop_slot("lake")
    with open_reader(open_project(root)) as reader:
        query = "select cast(raw_payload->>'id' as bigint) as id from bronze.loaded where operation_type = 'INSERT'"
        return ask(reader, query).rows["id"].to_pylist(), kills


def pipeline(root: Path, end: str, step: int) -> int:
    """A process of its own that dies behind its `step`-th step, or comes to the end; its exit status."""
    words = [sys.executable, "-c", f"import debezium_copy_loss as b; b.victim({str(root)!r}, {end!r}, {step})"]
    return subprocess.run(words, cwd=Path(__file__).parent, check=False).returncode


def victim(root: str, end: str, step: int) -> None:
    """Read up to `end`; die behind the `step`-th step."""
    project, goal, passed = open_project(Path(root)), parse_lsn(end), 0

    def at(_: str) -> None:
        nonlocal passed
        passed += 1
        if passed == step:
            os.kill(os.getpid(), signal.SIGKILL)

    with Pipeline(project, at=at) as line:
        line.connect(project.settings.database.dsn)
        line.start()
        while line.watermark is None or max(line.watermark.position, line.watermark.seen) < goal:
            line.step(0.2)


if __name__ == "__main__":
    main()
