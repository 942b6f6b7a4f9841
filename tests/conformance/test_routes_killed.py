"""kill -9 around what a route writes to a server: nothing is lost, and only what drops no repeats may have some."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.conformance.buses import ENGINES, whole
from tests.conformance.test_routes_away import ADDRESSES, given_out
from tests.crash.arena import Arena
from tests.crash.victim import PATIENCE, Moment

from bitvelocity.flow import open_bus
from bitvelocity.streams import Bus, abilities_of
from bitvelocity.streams.servers import LocalServer

MOMENTS = (Moment("route out written"), Moment("route out moved"))


@pytest.fixture(params=["kafka", "rabbitmq-queues"])
def bus(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def arena(tmp_path: Path, database: str, bus: str, request: pytest.FixtureRequest) -> Iterator[Arena]:
    server: LocalServer = request.getfixturevalue(ENGINES[bus].server)
    order = "key" if abilities_of(bus).dedup else "none"
    route = f'[[routes]]\nname = "out"\nbus = "{bus}"\ntopic = "{tmp_path.name}"\nwire = "json"\norder = "{order}"\n'
    settings = f'{ADDRESSES[bus].format(server.address)}{route}operations = ["c", "u", "d", "t"]\n'
    with Arena(tmp_path, database, settings=settings) as one:
        one.begin()
        assert not one.level_or_dead(one.run())
        yield one


def test_nothing_is_lost_when_we_are_killed(arena: Arena, bus: str) -> None:
    for moment in MOMENTS:
        arena.strike(moment, arena.workload.round)
    finding = arena.judge()
    assert finding.ok, str(finding)
    expected, deadline = arena.witness.listen(), time.monotonic() + PATIENCE
    found: Counter[str] = Counter()
    with closing(open_bus(arena.project.settings, bus)) as opened:
        topic = arena.project.settings.routes[0].topic
        while {place_of(one) for one in found} != expected and time.monotonic() < deadline:
            arena.run().check()
            found = (found if not opened.abilities.replay else Counter()) + Counter(told(opened, topic))
    assert {place_of(one) for one in found} == expected
    assert bus != "kafka" or set(found.values()) == {1}


def told(bus: Bus, topic: str) -> Iterator[str]:
    """The ids of all events of the topic; of a queue, of those that it gave out now."""
    for records in [whole(bus, topic, 0)] if bus.abilities.replay else given_out(bus, topic):
        for headers in records["headers"].to_pylist():
            yield from (value.decode() for name, value in headers or () if name == "ce_id")


def place_of(event: str) -> tuple[int, int]:
    lsn, _, place = event.split("/")
    return int(lsn), int(place.partition(".")[0])
