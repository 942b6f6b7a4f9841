"""A cluster of three servers under a publisher, a reader and a group, while servers fall and leaders move.

    python bench/cluster_kills.py kafka [kill freeze stop ...]
    python bench/cluster_kills.py nats [kill freeze stop ...]

`kill`: kill -9 of the leader of partition 0, and a start. `stop`: the same, cleanly. `freeze`: SIGSTOP for a while, SIGCONT.
Each line: the longest time in seconds that each worker stood still. In the end every record must be there once.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.conformance.buses import again
from tests.conformance.clusters import Cluster, kafka_cluster, nats_cluster
from tests.conformance.traffic import Traffic

from bitvelocity.streams import Bus, Partition, Topic
from bitvelocity.streams.kafka import KafkaBus
from bitvelocity.streams.nats import NatsBus, stored
from bitvelocity.streams.servers import LocalServer

ORDERS = Topic(name="shop.orders", partitions=3, replicas=3)


def _kafka(cluster: Cluster) -> Bus:
    return KafkaBus(cluster.address, replicas=3)


def _nats(cluster: Cluster) -> Bus:
    return NatsBus(cluster.address, replicas=3, lease=2)


ENGINES: dict[str, tuple[Callable[[Path], AbstractContextManager[Cluster]], Callable[[Cluster], Bus]]] = {
    "kafka": (kafka_cluster, _kafka),
    "nats": (nats_cluster, _nats),
}


def leader(cluster: Cluster, bus: Bus) -> LocalServer:
    """Of partition 0."""
    if isinstance(bus, KafkaBus):
        return cluster.at(bus._topics.leaders(ORDERS.name)[0])
    assert isinstance(bus, NatsBus)
    info = again(lambda: bus._line.run(stored.stream(bus._line, Partition(ORDERS.name, 0))))
    return cluster.node(int(info["cluster"]["leader"][1:]))


def strike(how: str, server: LocalServer, traffic: Traffic) -> None:
    """Have it fall, wait until all go on without it, and have it back."""
    if how == "freeze":
        pid = server.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            traffic.goes_on()
        finally:
            os.kill(pid, signal.SIGCONT)
    else:
        (server.kill if how == "kill" else server.stop)()
        traffic.goes_on()
        server.start()
    traffic.goes_on()


def main(name: str, strikes: list[str]) -> None:
    start, connect = ENGINES[name]
    with tempfile.TemporaryDirectory(prefix="bv-cluster-") as folder, start(Path(folder)) as cluster:
        bus = connect(cluster)
        again(lambda: bus.ensure(ORDERS))
        traffic = Traffic(lambda: connect(cluster), ORDERS.name)
        with traffic.running():
            traffic.goes_on()
            for how in strikes:
                for pace in traffic.paces.values():
                    pace.longest = 0.0
                strike(how, leader(cluster, bus), traffic)
                stood = ", ".join(f"{worker} {pace.longest:.1f}" for worker, pace in traffic.paces.items())
                print(f"{how:8} {stood}", flush=True)
        print(f"{traffic.check(bus):,} records, each once and in order")
        bus.close()


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in ENGINES:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:] or ["kill", "stop", "freeze", "kill"])
