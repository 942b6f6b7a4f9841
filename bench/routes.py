"""What a route beside the lake costs: changes/s, CPU and memory of the pipeline, to each transport, against none.

    python bench/routes.py [--rows 200000] [--transports embedded,nats,kafka] [--wire avro] [--shared] [--large]

A pipeline that is level is given a backlog (half of it new orders with 14 columns, half new items), and runs until the lake,
and the route, have all of it; `daily_sales` is kept too. CPU is of the pipeline's process, threads of a client included, a
server's not. `--shared`: both tables go to one topic. `--large`: the backlog is one transaction.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from big_transaction import memory
from shop import Shop, open_shop, own_cpu

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import Pipeline, Project, open_project
from bitvelocity.streams import abilities_of
from bitvelocity.streams.servers import SERVERS, LocalServer

NONE = "none"
ADDRESSES = {"kafka": "bootstrap", "nats": "url", "rabbitmq": "url"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What is measured."""

    rows: int
    wire: str
    shared: bool
    large: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one run."""

    transport: str
    seconds: float
    cpu: float
    peak_mb: float
    before_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--transports", default="embedded,nats,kafka,rabbitmq,rabbitmq-queues")
    parser.add_argument("--wire", default="avro", choices=("avro", "protobuf", "json-schema", "json"))
    parser.add_argument("--shared", action="store_true", help="one topic for both tables")
    parser.add_argument("--large", action="store_true", help="all in one transaction")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    wish = Wish(options.rows, options.wire, options.shared, options.large)
    costs = []
    with open_shop() as shop:
        for number, transport in enumerate([NONE, *options.transports.split(",")]):
            shop.slot(f"lake_{number}")
            with server(transport, shop.folder / f"server-{number}") as address:
                costs.append(alone(shop, transport, wish, slot=f"lake_{number}", address=address))
            shop.drop_slot(f"lake_{number}")
            if not options.json:
                show(costs[-1], costs[0], wish)
    if options.json:
        print(json.dumps([asdict(cost) for cost in costs]))


def show(cost: Cost, none: Cost, wish: Wish) -> None:
    each = 1e6 / wish.rows
    more = "" if cost is none else f" ({(cost.cpu - none.cpu) * each:+.1f})"
    print(
        f"{cost.transport:<16} {wish.rows / cost.seconds:>9,.0f} changes/s  {cost.cpu * each:>6.1f} us CPU per change{more:<9}"
        f"  peak {cost.peak_mb:,.0f} MB ({cost.before_mb:,.0f} before)",
        flush=True,
    )


@contextmanager
def server(transport: str, folder: Path) -> Iterator[str]:
    """The address of a server of its own; "" where none is needed."""
    kind = transport.partition("-")[0]
    if kind not in SERVERS:
        yield ""
        return
    with LocalServer(SERVERS[kind](), folder) as running:
        yield running.address


def alone(shop: Shop, transport: str, wish: Wish, *, slot: str, address: str) -> Cost:
    """In a process of its own, so that its memory is its own."""
    project = shop.project(transport, slot)
    with (project.root / "bitvelocity.toml").open("a") as file:
        file.write(section(transport, wish, address))
    spawning = multiprocessing.get_context("spawn")
    with spawning.Pool(1) as pool:
        return pool.apply(measure, (project.root, shop, transport, wish))


def section(transport: str, wish: Wish, address: str) -> str:
    if transport == NONE:
        return ""
    kind = transport.partition("-")[0]
    where = f'[streams.{kind}]\n{ADDRESSES[kind]} = "{address}"\n' if address else ""
    order = "key" if abilities_of(transport).dedup else "none"
    topic = 'topic = "all"\n' if wish.shared else ""
    return f'{where}[[routes]]\nname = "out"\nbus = "{transport}"\nprefix = "out"\nwire = "{wish.wire}"\norder = "{order}"\n{topic}'


def measure(root: Path, shop: Shop, transport: str, wish: Wish) -> Cost:
    project = open_project(root)
    with Pipeline(project) as pipeline:
        pipeline.connect(shop.dsn)
        pipeline.start()
        shop.sql("select tx(10, 0, 10, 0)")
        follow(pipeline, project, shop.end())
        half = wish.rows // 2
        shop.sql(f"select tx({half}, 0, {half}, 0)" if wish.large else f"call backlog({wish.rows // 100}, 50, 0, 50, 0)")
        end, before = shop.end(), memory_now("VmRSS")
        began, cpu = time.perf_counter(), own_cpu()
        follow(pipeline, project, end)
        return Cost(transport, time.perf_counter() - began, own_cpu() - cpu, memory_now("VmHWM"), before)


def follow(pipeline: Pipeline, project: Project, end: str) -> None:
    """Until the lake has all up to `end`, and the route too: a mark behind it says so."""
    while pipeline.seen < parse_lsn(end):
        pipeline.step(0.1)
    pipeline.finish()
    while pipeline.trouble or behind(project, pipeline):
        if pipeline.trouble:
            raise pipeline.trouble
        pipeline.step(0.05)


def behind(project: Project, pipeline: Pipeline) -> bool:
    """The route has not all that readers of the lake see."""
    file = project.settings.state_folder / "routes" / "out.json"
    if not project.settings.routes:
        return False
    positions = json.loads(file.read_text())["positions"].values() if file.exists() else [-1]
    return pipeline.watermark is None or min(positions) < pipeline.watermark.position


def memory_now(field: str) -> float:
    return memory(multiprocessing.current_process().pid or 0, field)


if __name__ == "__main__":
    main()
