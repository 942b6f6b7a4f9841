"""Clusters of three servers on this machine: one is killed, and the others go on.

The rules for a missing server are those of servers.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bitvelocity.processes import free_ports
from bitvelocity.streams.servers import KafkaServer, LocalServer, NatsServer, Recipe
from bitvelocity.streams.servers.kafka import cluster_id

from .servers import begun

SIZE = 3


@dataclass(frozen=True)
class Cluster:
    """Servers that know each other, by their numbers from 1 on."""

    nodes: Sequence[LocalServer]

    @property
    def address(self) -> str:
        return ",".join(node.address for node in self.nodes)

    def at(self, where: tuple[str, int]) -> LocalServer:
        """The one that listens there."""
        return next(node for node in self.nodes if node.address == f"{where[0]}:{where[1]}")

    def node(self, number: int) -> LocalServer:
        return self.nodes[number - 1]


@contextmanager
def kafka_cluster(folder: Path) -> Iterator[Cluster]:
    """Three nodes of Kafka, each a broker and a controller, as a cluster for production has them: nothing is kept once only."""
    ports = free_ports(2 * SIZE)
    name, voters = cluster_id(), ",".join(f"{n + 1}@127.0.0.1:{ports[2 * n + 1]}" for n in range(SIZE))
    copied = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    more = {
        "controller.quorum.voters": voters,
        "controller.quorum.bootstrap.servers": "",
        "log.flush.interval.messages": str(2**63 - 1),  # others have it
        **{f"{topic}.replication.factor": "3" for topic in copied},
        "transaction.state.log.min.isr": "2",
        "share.coordinator.state.topic.min.isr": "2",
        "offsets.topic.num.partitions": "3",
        "transaction.state.log.num.partitions": "3",
        "auto.leader.rebalance.enable": "false",
    }
    recipes = [KafkaServer({**more, "node.id": str(n + 1)}, cluster=name) for n in range(SIZE)]
    taken = [{"client": ports[2 * n], "controller": ports[2 * n + 1]} for n in range(SIZE)]
    for n in range(SIZE):
        data = folder / f"kafka-{n + 1}" / "data"
        data.mkdir(parents=True)
        told = {"version": 1, "cluster.id": name, "node.id": n + 1, "directory.id": cluster_id()}  # what formatting would write
        (data / "meta.properties").write_text("".join(f"{key}={value}\n" for key, value in told.items()))
    with _started("kafka", recipes, taken, folder) as cluster:
        yield cluster


@contextmanager
def nats_cluster(folder: Path) -> Iterator[Cluster]:
    """Three servers of NATS with JetStream."""
    ports = free_ports(2 * SIZE)
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports[SIZE:])
    recipes = [
        NatsServer(f'server_name: "n{n + 1}"\ncluster {{ name: "shop", listen: "127.0.0.1:{ports[SIZE + n]}", routes: [{routes}] }}\n')
        for n in range(SIZE)
    ]
    with _started("nats", recipes, [{"client": port} for port in ports[:SIZE]], folder) as cluster:
        yield cluster


@contextmanager
def _started(
    name: str, recipes: Sequence[Recipe], ports: Sequence[dict[str, int]], folder: Path
) -> Iterator[Cluster]:
    """All at once: none of them answers before it sees a majority."""
    nodes = []
    for number, (recipe, taken) in enumerate(zip(recipes, ports, strict=True), 1):
        place = folder / f"{name}-{number}"
        place.mkdir(exist_ok=True)
        (place / "ports.json").write_text(json.dumps(taken))
        nodes.append(LocalServer(recipe, place))
    with ExitStack() as running, ThreadPoolExecutor(len(nodes)) as threads:
        for node in nodes:  # killed: one that is left alone would wait for the others, to hand its partitions over
            running.callback(node.stop)
            running.callback(node.kill)
        list(threads.map(lambda node: begun(name, node), nodes))
        yield Cluster(nodes)
