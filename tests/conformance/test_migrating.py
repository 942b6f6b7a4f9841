"""Topics copied to another transport, whoever is killed: each record once, and the pipeline and its readers go on there."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from tests.conformance.routed import counted, make, proved, routed, running, write
from tests.forked import python

from bitvelocity.cli.commands.bus import command
from bitvelocity.errors import BusError
from bitvelocity.flow import Move, Project, migration, open_bus, prepare
from bitvelocity.streams import RECORD_SCHEMA, Bus, Partition, Topic
from bitvelocity.streams.servers import LocalServer

ALONE, GROUP = "notes", "billing"
WRITER = """
import os, signal, sys, threading
from pathlib import Path
from bitvelocity.flow import Move, migration, open_project
from bitvelocity.streams.migration import reading

reading.PIECE = 150
left = int(sys.argv[2])

def progress(topic, copied, total):
    global left
    left -= 1
    if left == 0:
        threading.Timer(0.001 * int(sys.argv[3]), os.kill, (os.getpid(), signal.SIGKILL)).start()

project = open_project(Path(sys.argv[1]))
with migration(project, Move(source="embedded", target=sys.argv[4]), print) as work:
    work.run(progress)
"""


@pytest.fixture
def shop(open_folder: Path, database: str) -> Project:
    return make(open_folder / "shop", database)


@pytest.fixture(params=["kafka", "nats"])
def server(request: pytest.FixtureRequest) -> LocalServer:
    found: LocalServer = request.getfixturevalue(f"{request.param}_server")
    return found


def settings_of(server: LocalServer) -> str:
    name = server.name
    return f"[streams.{name}]\n{'url' if name == 'nats' else 'bootstrap'} = \"{server.address}\"\n"


def test_topics_go_to_another_transport_and_the_pipeline_goes_on_there(shop: Project, server: LocalServer) -> None:
    name, dsn = server.name, shop.settings.database.dsn
    prefix = f"moved{shop.root.parent.name.lower().replace('-', '').replace('_', '')}"
    shop = reset(shop, prefix, f'bus = "embedded"\n{settings_of(server)}')
    prepare(shop, dsn)
    write(shop, 1, 30)
    with running(shop) as check:
        write(shop, 100, 30)
        proved(shop, check)
    with closing(open_bus(shop.settings)) as bus:
        read_by_group(bus, prefix)
        before = {topic: everything(bus, topic) for topic in bus.topics()}
        places = {topic: next_values(bus, topic) for topic in (f"{prefix}.public.things", f"{prefix}.{ALONE}")}
    plan = json.loads(CliRunner().invoke(command, ["migrate", "--to", name, "--dry-run", "--json", "-p", str(shop.root)]).stdout)
    assert {one["topic"] for one in plan["topics"]} == set(before)
    kills = 0
    for turn in range(1, 100):
        done = python("-c", WRITER, str(shop.root), str(3 * turn), str(turn % 3), name)
        if done.returncode == 0:
            break
        assert done.returncode == -9, done.stderr
        kills += 1
    assert kills >= 3, "else it was not killed in the middle"
    with closing(open_bus(shop.settings, name)) as bus:
        for topic, records in before.items():
            assert [copy_of(row) for row in everything(bus, topic)] == [copied(row, name, topic) for row in records]
        assert {topic: next_values(bus, topic) for topic in places} == places
    shop = reset(shop, prefix, f'bus = "{name}"\n{settings_of(server)}')
    write(shop, 200, 20)
    with running(shop) as check:
        proved(shop, check)
        write(shop, 300, 20)
        proved(shop, check)
    for entity in ("things", "parts"):
        events, distinct = counted(shop, entity)
        assert events == distinct
    with closing(open_bus(shop.settings)) as bus:
        things = everything(bus, f"{prefix}.public.things")
        assert len({dict(row["headers"])["bv-place"] for row in things}) == len(things) > len(before[f"{prefix}.public.things"])
    with migration(reset(shop, prefix, settings_of(server)), Move(source="embedded", target=name), print) as work, pytest.raises(BusError, match="not copied"):
        work.run(lambda *_: None)


def reset(shop: Project, prefix: str, more: str) -> Project:
    return routed(shop.root, shop.settings.database.dsn, "bus", prefix=prefix, more=more)


def read_by_group(bus: Bus, prefix: str) -> None:
    """A topic of somebody else, without places, and a group that has read a part of both."""
    alone = f"{prefix}.{ALONE}"
    bus.ensure(Topic(name=alone, partitions=2))
    rows: list[Any] = [{"key": b"%d" % n, "value": b"n%d" % n, "headers": [("h", b"1")] * (n % 3), "timestamp": 1_700_000_000_000_000 + n} for n in range(300)]
    bus.append(alone, pa.Table.from_pylist(rows, schema=RECORD_SCHEMA))
    with closing(bus.member(GROUP, [alone, f"{prefix}.public.things"])) as member:
        for fetched in member.poll(5, limit=100):
            member.commit({fetched.partition: fetched.next})


def everything(bus: Bus, topic: str) -> list[dict[str, Any]]:
    found = list[dict[str, Any]]()
    for number, span in bus.spans(topic).items():
        offset = span.first
        while offset < span.end and (rows := bus.read(Partition(topic, number), offset, timeout=2).to_pylist()):
            found += rows
            offset = rows[-1]["offset"] + 1
    return found


def next_values(bus: Bus, topic: str) -> dict[int, Any]:
    """What the group reads next in each partition."""
    return {
        number: (bus.read(Partition(topic, number), at, timeout=0.5)["key"].to_pylist() or [None])[0]
        for number, at in bus.committed(GROUP, topic).items()
    }


Row = dict[str, Any]


def copy_of(row: Row) -> Row:
    """A copied record as its original: its offset from its header."""
    headers = [(name, value) for name, value in row["headers"] if name != "bv-offset"]
    (offset,) = [int(value) for name, value in row["headers"] if name == "bv-offset"]
    value = None if row["key"] is None else row["value"]
    return {**row, "offset": offset, "headers": headers, "value": value}


def copied(row: Row, transport: str, topic: str) -> Row:
    at = row["timestamp"]
    at = at.replace(microsecond=at.microsecond // 1000 * 1000) if transport == "kafka" else at
    return {**row, "timestamp": at, "headers": row["headers"] or [], "value": None if row["key"] is None else row["value"]}
