"""Changes over a bus instead of straight: the same lake, whoever is killed, and back again."""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.conformance.routed import counted, make, proved, routed, running, write

from bitvelocity.cli.commands.status import command
from bitvelocity.errors import OffsetGoneError
from bitvelocity.flow import Project, Status, open_bus, prepare, prometheus, status, wait_until
from bitvelocity.flow.carrying import Carrier
from bitvelocity.oltp import connect
from bitvelocity.streams import Bus, Partition, Topic
from bitvelocity.streams.embedded import EmbeddedBus
from bitvelocity.streams.embedded.upkeep import keep


@pytest.fixture
def shop(open_folder: Path, database: str) -> Project:
    return make(open_folder / "shop", database)


def switched(project: Project, route: str) -> Project:
    return routed(project.root, project.settings.database.dsn, route)


@pytest.mark.parametrize("wire", ["avro", "protobuf"])
def test_the_lake_is_the_same_over_a_bus(shop: Project, wire: str) -> None:
    shop = routed(shop.root, shop.settings.database.dsn, "bus", wire)
    prepare(shop, shop.settings.database.dsn)
    write(shop, 1)
    with running(shop) as check:
        proved(shop, check)
        write(shop, 100)
        proved(shop, check)
    assert (shop.root / ".bitvelocity" / "streams" / "topics").is_dir()
    events, places = counted(shop, "things")
    assert events == places == 50 + 50 + 16  # read, inserted, updated


def test_from_direct_to_a_bus_and_back_loses_and_doubles_nothing(shop: Project) -> None:
    prepare(shop, shop.settings.database.dsn)
    for number, route in enumerate(("direct", "bus", "direct", "bus", "bus", "direct")):
        project = switched(shop, route)
        write(project, 1 + 100 * number, 20)
        with running(project) as check:
            if number % 2:
                proved(project, check)
            write(project, 51 + 100 * number, 20)
    with running(project) as check:
        proved(project, check)
    for entity in ("things", "parts"):
        events, places = counted(project, entity)
        assert events == places


def test_what_the_topics_let_go_of_is_read_out_of_bronze(shop: Project) -> None:
    """Offset upon offset, into what is kept yet; also while the source is away. What bronze does not have is gone."""
    shop = routed(shop.root, shop.settings.database.dsn, "bus", "json")
    prepare(shop, shop.settings.database.dsn)
    with connect(shop.settings.database.dsn, autocommit=True) as connection:
        connection.execute("alter table things add column undeclared text default 'x'")
    write(shop, 1, 20)
    with running(shop) as check:
        wait_until(shop, 0, check)
        write(shop, 100, 40)
        proved(shop, check)
    with closing(open_bus(shop.settings)) as bus:
        before = {each: read_all(bus, each) for topic in ("shop.public.things", "shop.public.parts") for each in partitions(bus, topic)}
        let_go(bus, "shop.public.things", "shop.public.parts")
        assert all(bus.spans(each.topic)[each.number].first for each in before)
        for each, records in before.items():
            assert [repeatable(row) for row in read_all(bus, each)] == [repeatable(row) for row in records]
    lone = switched(shop, "bus")
    (shop.lake / "watermark.json").rename(shop.lake / "away")
    with closing(open_bus(lone.settings)) as bus, pytest.raises(OffsetGoneError):
        bus.read(next(iter(before)), 0)


def partitions(bus: Bus, topic: str) -> list[Partition]:
    return [Partition(topic, number) for number in bus.spans(topic)]


def read_all(bus: Bus, partition: Partition) -> list[dict[str, Any]]:
    found, end = list[dict[str, Any]](), bus.spans(partition.topic)[partition.number].end
    while not found or found[-1]["offset"] + 1 < end:
        found += bus.read(partition, len(found), limit=100, timeout=0).to_pylist()
    assert [row["offset"] for row in found] == [*range(end)]
    return found


def let_go(bus: Bus, *topics: str) -> None:
    """All but the newest piece of each partition."""
    assert isinstance(bus, EmbeddedBus)
    for topic in topics:
        bus.ensure(Topic(name=topic, partitions=3, retention_bytes=1))
        keep(bus.topic(topic))


def repeatable(row: dict[str, Any]) -> dict[str, Any]:
    """A record without what cannot be made twice: moments of encoding, and what bronze does not keep of the WAL."""
    headers = [(name, value.rpartition(b"/")[0].rpartition(b"/")[0] if name == "bv-change" else value) for name, value in row["headers"]]
    told = json.loads(row["value"][5:]) if row["value"] else {}
    for name in ("ts_ms", "ts_us", "ts_ns"):
        told.pop(name, None)
    for name in ("lsn", "sequence", "snapshot"):
        told.get("source", {}).pop(name, None)
    return {**row, "frame": row["value"] and row["value"][:5], "value": told, "headers": headers}


def test_status_says_how_far_the_lake_is_behind(shop: Project) -> None:
    """Of a lake that has taken nothing, one that is level, and one that is away while changes are published."""
    prepare(shop, shop.settings.database.dsn)
    assert (way := status(shop).way) is not None
    assert (way.topics, way.lags, (shop.root / ".bitvelocity" / "streams").exists()) == ((), (), False)
    write(shop, 1, 9)
    with running(shop) as check:
        proved(shop, check)
    found = status(shop)
    assert found.way is not None
    assert found.way.topics == ("shop.public.parts", "shop.public.things")
    assert {lag.records for lag in found.way.lags} == {0}
    write(shop, 50, 20)
    with closing(Carrier(shop)) as carrier:
        carrier.connect(shop.settings.database.dsn)
        deadline = time.monotonic() + 60
        while behind(status(shop)) < 20 + 7:  # inserts and updates
            assert time.monotonic() < deadline
            carrier.step(0.1)
    found = status(shop)
    assert not found.level, "the source was told that its changes are durable, and the lake has not got them"
    assert found.way is not None
    assert behind(found) == 20 + 7
    assert all(lag.seconds > 0 for lag in found.way.lags if lag.records)
    lines = prometheus(found).splitlines()
    for lag in found.way.lags:
        labels = f'{{group="lake",topic="{lag.partition.topic}",partition="{lag.partition.number}"}}'
        assert f"bitvelocity_consumer_lag_records{labels} {lag.records}" in lines
    told = json.loads(CliRunner().invoke(command, ["--project", str(shop.root), "--json"]).stdout)["streams"]
    assert (told["route"], told["bus"], told["trouble"]) == ("bus", "embedded", None)
    assert [one["records"] for one in told["lag"]] == [lag.records for lag in found.way.lags]


def behind(found: Status) -> int:
    assert found.way is not None
    return sum(lag.records for lag in found.way.lags if lag.partition.topic == "shop.public.things")


def test_a_bus_that_does_not_answer_is_said(shop: Project) -> None:
    file = shop.root / "bitvelocity.toml"
    file.write_text(file.read_text() + 'bus = "nats"\n[streams.nats]\nurl = "nats://127.0.0.1:1"\n')
    shown = CliRunner().invoke(command, ["--project", str(shop.root)])
    assert shown.exit_code == 0
    assert "route     over the bus nats; it cannot be asked now" in shown.stdout
    assert "The bus (nats) cannot be asked: " in shown.stdout
