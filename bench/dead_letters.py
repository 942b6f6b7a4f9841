"""What many records that are no changes cost: one topic, all of them to be set apart.

    python bench/dead_letters.py [--rows 300000] [--kinds foreign,unknown,broken] [--keys 300000] [--ended replay|drop]

`foreign`: bytes that somebody else put there. `unknown`: records of a publisher of ours whose schema no registry has.
`broken`: such whose values are cut short. Each kind is taken by a pipeline in a process of its own, which tells the CPU that
it used and by how much its memory grew at its peak; `again` is a second start, which has the letters to learn. `--ended`: a
third, which gives all of them back (their schema is registered first: `unknown` only), or up.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from shop import Shop, open_shop, own_cpu

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Pipeline, Project, find_letters, open_project, open_registry, order_letters
from bitvelocity.flow.buses import open_bus
from bitvelocity.flow.carrying import Carrier
from bitvelocity.streams import PLACE_HEADER, PLACED_SCHEMA, RECORD_SCHEMA, Bus, parse_place

TOPIC = "shop.public.orders"
PART = 50_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--kinds", default="foreign,unknown,broken")
    parser.add_argument("--keys", type=int, default=300_000, help="Distinct keys of the records.")
    parser.add_argument("--dead-letters", default="table", choices=("table", "topic"))
    parser.add_argument("--ended", default="", choices=("", "replay", "drop"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    with open_shop() as shop:
        for kind in options.kinds.split(","):
            for way, spent in measure(shop, kind, options):
                told[f"{kind}, {way}"] = spent
                if not options.json:
                    print(f"{kind:<8} {way:<8} {spent['cpu']:>8.1f} s CPU {spent['megabytes']:>8.0f} MB", flush=True)
    if options.json:
        print(json.dumps(told))


def measure(shop: Shop, kind: str, options: argparse.Namespace) -> Iterator[tuple[str, dict[str, float]]]:
    shop.slot(kind)
    project = made(shop, kind, options.dead_letters)
    with closing(Carrier(project)) as carrier, closing(open_bus(project.settings)) as bus:
        carrier.connect(shop.dsn)
        carried(shop, carrier)
        put(bus, kind, options.rows, options.keys)
        carried(shop, carrier)
    yield "apart", alone(project.root, options.rows)
    with closing(Carrier(project)) as carrier:
        carrier.connect(shop.dsn)
        carried(shop, carrier)
    yield "again", alone(project.root, options.rows)
    if options.ended:
        if options.ended == "replay":
            make_known(project)
        order_letters(project, options.ended)
        yield options.ended, alone(project.root, options.rows)
        left = Counter(letter["state"] for letter in find_letters(project, state=""))
        assert set(left) == {"replayed" if options.ended == "replay" else "dropped"}, left
    shop.drop_slot(kind)


def make_known(project: Project) -> None:
    """The schema that the records name."""
    with open_registry(project.settings) as registry:
        (subject,) = (one for one in registry.ask("GET", "subjects") if one.endswith("orders-value"))
        schema = json.dumps(json.loads(registry.ask("GET", f"subjects/{subject}/versions/latest")["schema"]) | {"doc": "other"})
        registry.ask("PUT", "mode/other?force=true", {"mode": "IMPORT"})
        registry.ask("POST", "subjects/other/versions", {"schema": schema, "id": 9999, "version": 1})


def made(shop: Shop, kind: str, dead_letters: str) -> Project:
    root = shop.project(kind, kind, gold=False).root
    with (root / "bitvelocity.toml").open("a") as file:
        file.write(f'[streams]\nroute = "bus"\nprefix = "shop"\ndead_letters = "{dead_letters}"\n')
    return open_project(root)


def carried(shop: Shop, carrier: Carrier) -> None:
    """One transaction more on the topics."""
    shop.sql("select tx(1, 0, 0, 0)")
    shop.sql("select pg_logical_emit_message(true, 'bench', 'written')")
    end = parse_lsn(shop.end())
    while carrier.seen < end:
        carrier.step(0.2)


def put(bus: Bus, kind: str, rows: int, keys: int) -> None:
    """Records of a kind behind the last one."""
    like = bus.read(next(iter(parts(bus))), 0).to_pylist()[-1]
    headers = dict(like["headers"])
    place = parse_place(headers.pop(PLACE_HEADER))
    with closing(bus.publisher("other")) as publisher:
        for begin in range(0, rows, PART):
            numbers = range(begin, min(rows, begin + PART))
            value = like["value"][:-9] if kind == "broken" else b"\0" + (9999).to_bytes(4, "big") + like["value"][5:]
            table: dict[str, Any] = {
                "key": [b"\0\0\0\0\1" + (number % keys).to_bytes(4, "big") for number in numbers],
                "value": [b"hello" if kind == "foreign" else value] * len(numbers),
                "headers": [[] if kind == "foreign" else list(headers.items())] * len(numbers),
                "timestamp": list(numbers),
            }
            if kind == "foreign":
                bus.append(TOPIC, pa.Table.from_pydict(table, schema=RECORD_SCHEMA))
                continue
            count = len(numbers)
            table |= {"lsn": [place.lsn] * count, "ordinal": [place.ordinal] * count, "step": [place.step] * count}
            table["ordinal"] = [place.ordinal + 1 + number for number in numbers]
            publisher.publish({TOPIC: pa.Table.from_pydict(table, schema=PLACED_SCHEMA)})


def parts(bus: Bus) -> Iterator[Any]:
    from bitvelocity.streams import Partition

    yield from (Partition(TOPIC, number) for number in bus.spans(TOPIC))


def alone(root: Path, rows: int) -> dict[str, float]:
    """A pipeline in a process of its own, until it has taken all that is there."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_alone, args=(root, rows, queue))
    process.start()
    spent: dict[str, float] = queue.get()
    process.join()
    return spent


def _alone(root: Path, rows: int, queue: Any) -> None:
    project = open_project(root)
    begun = own_cpu()
    with peak() as most, Pipeline(project) as line:
        line.connect(project.settings.database.dsn)
        line.start()
        while line.step(0.5):
            pass
        assert line.trouble is None, line.trouble
        spent = {"cpu": own_cpu() - begun}
    queue.put({**spent, "megabytes": (most["peak"] - most["begin"]) / 1e6, "rows": rows})


@contextmanager
def peak() -> Iterator[dict[str, float]]:
    """Memory that the process has of its own: as it was, and at its most."""
    found, done = {"begin": resident(), "peak": resident()}, threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            found["peak"] = max(found["peak"], resident())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def resident() -> float:
    return float(Path("/proc/self/statm").read_text().split()[1]) * 4096


if __name__ == "__main__":
    main()
