"""The whole path over a bus, per transport: WAL -> topics, topics -> bronze, topics -> bronze and silver.

    python bench/bus_to_bronze.py [--rows 300000] [--buses embedded,kafka,nats,rabbitmq] [--wire avro] [--lean]

A backlog of orders (14 columns, updates with both images) is written once. For each transport, on a real server of its
own: `Carrier` puts it on the topics, in Avro with headers that make it exact; then two lakes take it from there with
fsync on: one of bronze tables alone, with positions in their commits, and one as `up` has it, silver too. Bronze is
written twice, each time anew: in the first pass the process gets its memory, the second is what one that runs does. A slice of
the records goes through the stock way beside it: fastavro, record by record, into a list. Goal: bus -> bronze at
least 100,000 records/s for each core, that is at most 10 us of CPU a record. `--lean` leaves CloudEvents' headers out, and
packs records where that helps (NATS): settings of [streams]. CPU is of our process with all its threads
(clients of the brokers included); the broker's own is not in it.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import fastavro
from shop import Shop, open_shop, own_cpu

from bitvelocity.changes import ChangeSet, is_table, parse_lsn
from bitvelocity.flow import Pipeline, Project, local_servers, open_project
from bitvelocity.flow.buses import open_bus
from bitvelocity.flow.carrying import BusOrigin, Carrier
from bitvelocity.flow.schemas import open_registry
from bitvelocity.flow.wires import registrar
from bitvelocity.lakehouse import Lake
from bitvelocity.lakehouse.bronze import Bronze, repeating
from bitvelocity.streams import Partition

SHAPE = (400, 405, 190, 10)
SAMPLE = 5000


@dataclass(frozen=True, slots=True)
class Spent:
    """One way of the records."""

    rows: int
    seconds: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.rows:>9,} {self.rows / self.seconds:>11,.0f} {self.cpu / self.rows * 1e6:>7.2f} {self.rows / self.cpu:>11,.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--buses", default="embedded,kafka,nats,rabbitmq")
    parser.add_argument("--wire", default="avro", choices=("avro", "json", "protobuf"))
    parser.add_argument("--lean", action="store_true", help="without CloudEvents' headers, packed")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    told: dict[str, dict[str, float]] = {}
    with open_shop() as shop:
        shop.slot("master")
        shop.backlog(options.rows, SHAPE)
        if not options.json:
            print(f"{'':<10} {'':<16} {'records':>9} {'records/s':>11} {'us CPU':>7} {'/s of a core':>11}")
        for bus in options.buses.split(","):
            for way, spent in measure(shop, bus, options.wire, lean=options.lean):
                told[f"{bus}, {way}"] = {"rows": spent.rows, "seconds": spent.seconds, "cpu_us": spent.cpu / spent.rows * 1e6}
                if not options.json:
                    print(f"{bus:<10} {way:<16} {spent}", flush=True)
    if options.json:
        print(json.dumps(told))


def measure(shop: Shop, bus: str, wire: str, *, lean: bool) -> Iterator[tuple[str, Spent]]:
    shop.copy_slot("master", "carried")
    with project_over(shop, bus, wire, lean=lean) as project:
        end = parse_lsn(shop.end())
        carried = timed(lambda: carry(project, shop, end))
        yield "WAL to topics", carried
        yield "to bronze, first", timed(lambda: to_bronze(project, carried.rows, "first"))
        yield "topics to bronze", timed(lambda: to_bronze(project, carried.rows, "again"))
        yield "topics to silver", timed(lambda: to_silver(project, shop, carried.rows))
        if wire == "avro":
            yield "fastavro alone", by_hand(project)
    shop.drop_slot("carried")


def timed(work: Callable[[], int]) -> Spent:
    wall, cpu = time.perf_counter(), own_cpu()
    rows = work()
    return Spent(rows, time.perf_counter() - wall, own_cpu() - cpu)


@contextmanager
def project_over(shop: Shop, bus: str, wire: str, *, lean: bool = False) -> Iterator[Project]:
    """An empty lake that is fed by topics on this transport, whose server runs meanwhile."""
    root = shop.project("carried", "carried", gold=False).root
    with (root / "bitvelocity.toml").open("a") as file:
        file.write(f'[streams]\nroute = "bus"\nbus = "{bus}"\nprefix = "shop"\npartitions = 4\nwire = "{wire}"\n')
        file.write("cloudevents = false\npacked = true\n" if lean else "")
    project = open_project(root)
    with local_servers(project.settings, [] if bus == "embedded" else [bus], lambda _: None):
        yield project


def carry(project: Project, shop: Shop, end: int) -> int:
    rows = 0
    with closing(Carrier(project)) as carrier:
        carrier.connect(shop.dsn)
        while carrier.seen < end:
            rows += carrier.step(0.5)
    return rows


def to_bronze(project: Project, wanted: int, name: str) -> int:
    rows, folder = 0, project.root / name
    tables = {spec.qualified: Bronze(folder, spec) for spec in project.specs}
    known: set[str] = set()
    with closing(Lake(folder / "no-lake", project.specs)) as lake, closing(BusOrigin(project, lake, position=0)) as source:
        while rows < wanted:
            for change_set in source.tail(0.5):
                rows += append(change_set, tables, known)
                source.confirm(change_set.mark.resume)
    return rows


def append(change_set: ChangeSet, tables: dict[str, Bronze], known: set[str]) -> int:
    """A change set as one commit of each table, with its position."""
    rows = 0
    for batch in change_set:
        if not is_table(batch.relation):
            continue
        table = tables[batch.relation]
        if batch.relation not in known and (columns := repeating(batch)) is not None:
            known.add(batch.relation)
            table.encode(columns)
        rows += table.stage(batch)
    for table in tables.values():
        table.commit(change_set.mark.lsn)
    return rows


def to_silver(project: Project, shop: Shop, wanted: int) -> int:
    rows = 0
    with Pipeline(project) as line:
        line.connect(shop.dsn)
        line.start()
        while rows < wanted:
            rows += line.step(0.2)
    return rows


def by_hand(project: Project) -> Spent:
    """Some records of the orders' topic by offset, each through fastavro."""
    with closing(open_bus(project.settings)) as bus, open_registry(project.settings) as registry:
        partition = Partition("shop.public.orders", 0)
        first, end = bus.spans(partition.topic)[0]
        found = []
        while len(found) < SAMPLE and first < end:
            records = bus.read(partition, first, limit=SAMPLE, timeout=5)
            found += [value for value in records["value"].to_pylist() if value]
            first = int(records["offset"][-1].as_py()) + 1
        look_up = registrar(project.settings, registry).look_up
        parsed = {head: fastavro.parse_schema(json.loads(look_up(head[1:]).text)) for head in {value[:5] for value in found}}
        return timed(lambda: len([fastavro.schemaless_reader(io.BytesIO(value[5:]), parsed[value[:5]], None) for value in found]))


if __name__ == "__main__":
    main()
