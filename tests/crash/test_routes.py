"""kill -9 around what a route writes: each change of the source is on its topic once, whatever it was."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.crash.arena import Arena
from tests.crash.victim import PATIENCE, Moment

from bitvelocity.flow import Project, open_bus
from bitvelocity.streams import Partition, Place
from bitvelocity.streams.placing import places_of

SETTINGS = """
[[routes]]
name = "all"
prefix = "arena"
operations = ["c", "u", "d", "t"]
partitions = 3
"""
MOMENTS = (
    Moment("route all written"), Moment("route all moved"), Moment("published"), Moment("sinks level", 3),
    Moment("route all written", 2),
)  # fmt: skip


@pytest.fixture(params=["direct", "bus"])
def arena(tmp_path: Path, database: str, request: pytest.FixtureRequest) -> Iterator[Arena]:
    lake = f'[streams]\nroute = "{request.param}"\nprefix = "lake"\n'
    with Arena(tmp_path, database, settings=lake + SETTINGS) as one:
        one.begin()
        assert not one.level_or_dead(one.run())
        yield one


def told(project: Project) -> Counter[Place]:
    """The places of all records of the route."""
    found: Counter[Place] = Counter()
    with closing(open_bus(project.settings)) as bus:
        for topic in (name for name in bus.topics() if name.startswith("arena.")):
            for number, span in bus.spans(topic).items():
                offset = span.first
                while offset < span.end:
                    records = bus.read(Partition(topic, number), offset, timeout=0)
                    found.update(map(Place, *(column.tolist() for column in places_of(records))))
                    offset = int(records["offset"][-1].as_py()) + 1
    return found


def test_each_change_is_on_its_topic_once_over_kills(arena: Arena) -> None:
    for moment in MOMENTS:
        arena.strike(moment, arena.workload.round)
    finding = arena.judge()
    assert finding.ok, str(finding)
    expected, deadline = arena.witness.listen(), time.monotonic() + PATIENCE
    while {place[:2] for place in told(arena.project)} != expected and time.monotonic() < deadline:
        arena.run().check()
    places = told(arena.project)
    assert {place[:2] for place in places} == expected
    assert set(places.values()) == {1}
    assert len(expected) > 100
