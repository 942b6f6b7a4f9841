"""Clusters of three: a server is killed under a publisher, a reader and a member, comes again, and leaders move.

Nothing is lost or doubled, and all go on by themselves. `bench/cluster_kills.py` does more of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import ElectionType
from confluent_kafka.admin import AdminClient, ConfigResource
from tests.conformance.buses import again, numbered, whole
from tests.conformance.clusters import Cluster, kafka_cluster, nats_cluster
from tests.conformance.shop import until
from tests.conformance.traffic import Traffic

from bitvelocity.errors import BusError
from bitvelocity.streams import Bus, Partition, Topic
from bitvelocity.streams.kafka import KafkaBus, fetching
from bitvelocity.streams.nats import NatsBus, stored

ORDERS = Topic(name="shop.orders", partitions=3, replicas=3)


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Cluster]:
    with kafka_cluster(tmp_path) as cluster:
        yield cluster


@pytest.fixture
def nats_servers(tmp_path: Path) -> Iterator[Cluster]:
    with nats_cluster(tmp_path) as cluster:
        yield cluster


def test_kafka_goes_on_without_a_broker(brokers: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_AWAY_S", 0.5)
    bus = KafkaBus(brokers.address, replicas=3)
    bus.ensure(ORDERS)
    traffic = Traffic(lambda: KafkaBus(brokers.address, replicas=3), ORDERS.name)
    with traffic.running():
        traffic.goes_on()
        fallen = brokers.at(bus._topics.leaders(ORDERS.name)[0])
        fallen.kill()
        traffic.goes_on()
        fallen.start()
        elect(brokers, bus)  # its partition goes back to it, and its follower knows
        traffic.goes_on()
        until(lambda: asked_directly(traffic.bus("reader")) == leaders(bus))
        traffic.goes_on()
    assert traffic.check(bus) > 8_000
    its_own_topics_are_copied(bus)
    copies_that_are_there_count(bus, brokers)
    bus.close()


def leaders(bus: KafkaBus) -> dict[Partition, tuple[str, int]]:
    return {Partition(ORDERS.name, number): leader for number, leader in bus._topics.leaders(ORDERS.name).items()}


def asked_directly(bus: Bus) -> dict[Partition, tuple[str, int]]:
    assert isinstance(bus, KafkaBus)
    assert bus._readers._direct is not None
    return bus._readers._direct._leaders


def elect(brokers: Cluster, bus: KafkaBus) -> None:
    """The brokers lead what they led at first, as soon as the one that fell has caught up."""
    admin = AdminClient({"bootstrap.servers": brokers.address})

    def led() -> int:
        admin.elect_leaders(ElectionType.PREFERRED).result()
        return len(set(leaders(bus).values()))

    until(lambda: led() == len(brokers.nodes))


def its_own_topics_are_copied(bus: KafkaBus) -> None:
    """Where places are kept and generations drawn, a broker's fall must stop nobody."""
    for name in ("__bitvelocity-places", "__bitvelocity-tickets"):
        found = bus.held(Topic(name=name))
        assert found is not None
        assert found.replicas == 3, name


def copies_that_are_there_count(bus: KafkaBus, brokers: Cluster) -> None:
    """A topic of one copy that is wanted with three stays writable; more copies than brokers are refused with the remedy."""
    bus.ensure(Topic(name="shop.single"))
    bus.ensure(Topic(name="shop.single", replicas=3))
    bus.append("shop.single", numbered(0, 3))
    assert whole(bus, "shop.single", 3).num_rows == 3
    assert (least(brokers, "shop.single"), least(brokers, ORDERS.name)) == ("1", "2")
    bus.ensure(Topic(name=ORDERS.name, partitions=3))
    assert least(brokers, ORDERS.name) == "2", "whoever asks for one copy takes no safety away"
    with pytest.raises(BusError, match="INVALID_REPLICATION_FACTOR") as caught:
        bus.ensure(Topic(name="shop.many", replicas=5))
    assert "Lower `replicas`" in str(caught.value.remedy)


def least(brokers: Cluster, topic: str) -> str:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": brokers.address})
    told = admin.describe_configs([resource])[resource].result()
    return str(told["min.insync.replicas"].value)


def test_nats_goes_on_without_a_server(nats_servers: Cluster) -> None:
    """A leader that was killed is followed after 4 to 9 seconds: that is the server's own time."""

    def connect() -> NatsBus:
        return NatsBus(nats_servers.address, replicas=3, lease=2)

    bus = connect()
    again(lambda: bus.ensure(ORDERS))
    traffic = Traffic(connect, ORDERS.name)
    with traffic.running():
        traffic.goes_on()
        fallen = nats_servers.node(int(leader(bus)[1:]))
        fallen.kill()
        traffic.goes_on()
        fallen.start()
        for number in range(ORDERS.partitions):
            again(lambda: bus._line.run(bus._line.api(f"STREAM.LEADER.STEPDOWN.shop=2Eorders-{number}")))  # noqa: B023
        traffic.goes_on()
    assert traffic.check(bus) > 6_000
    copies_do_not_become_fewer(bus)
    bus.close()


def leader(bus: NatsBus) -> str:
    info = bus._line.run(stored.stream(bus._line, Partition(ORDERS.name, 0)))
    assert info is not None
    return str(info["cluster"]["leader"])


def copies_do_not_become_fewer(bus: NatsBus) -> None:
    """Whoever asks for one copy takes none away; buckets have as many as the bus was told."""
    again(lambda: bus.ensure(Topic(name=ORDERS.name, partitions=3)))
    for name in ("shop=2Eorders-0", "KV_bv-groups", "KV_bv-publishers"):
        info = again(lambda: bus._line.run(bus._line.api(f"STREAM.INFO.{name}")))  # noqa: B023
        assert info["config"]["num_replicas"] == 3, name
