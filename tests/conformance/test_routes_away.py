"""A route whose server falls, or says nothing: the lake goes on, and the topics get what they lack."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.buses import ENGINES, whole
from tests.conformance.test_bus_nats import with_client

from bitvelocity.flow import Pipeline, Project, diagnose, followers, open_bus, open_project, outlets, prepare
from bitvelocity.flow.hindrance import Trouble
from bitvelocity.flow.outbound import route_stands
from bitvelocity.oltp import connect
from bitvelocity.streams import Bus, Partition, abilities_of
from bitvelocity.streams.nats.names import stream_of
from bitvelocity.streams.servers import LocalServer

PATIENCE_S = 90.0
NONE = Trouble("", "", None, 0.0, 0.0)
ROWS = 4_000
ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
'''
ADDRESSES = {
    "kafka": '[streams.kafka]\nbootstrap = "{}"\npatience_seconds = 5\n',
    "nats": '[streams.nats]\nurl = "{}"\n',
    "rabbitmq": '[streams.rabbitmq]\nurl = "{}"\n',
    "rabbitmq-queues": '[streams.rabbitmq]\nurl = "{}"\n',
}


@pytest.fixture(params=ADDRESSES)
def bus(request: pytest.FixtureRequest) -> str:
    """A transport with a server."""
    return str(request.param)


@pytest.fixture
def server(bus: str, request: pytest.FixtureRequest) -> LocalServer:
    found: LocalServer = request.getfixturevalue(ENGINES[bus].server)
    return found


@pytest.fixture
def project(open_folder: Path, database: str, bus: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setattr(followers, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(outlets, "PATIENCE_S", 1.0)
    return routed(open_folder, database, bus, server)


def routed(folder: Path, database: str, bus: str, server: LocalServer) -> Project:
    name = folder.name.lower().replace("-", "_")
    order = "key" if abilities_of(bus).dedup else "none"
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "bitvelocity.toml").write_text(
        f'[database]\ndsn = "{database}"\n[capture]\nslot = "away_{name}"\n[streams]\nbus = "{bus}"\n'
        f'{ADDRESSES[bus].format(server.address)}[[routes]]\nname = "feed"\nwire = "json"\nprefix = "{name}"\norder = "{order}"\n'
    )
    found = open_project(folder)
    prepare(found, database)
    return found


def test_a_server_killed_while_a_route_writes(
    project: Project, database: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each change once on what drops repeats, at least once on a queue; the lake never waits for it."""
    seen: set[bytes] = set()
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        insert(database, pipeline, 1, 1)
        step_until(pipeline, lambda: pipeline.trouble is None and told(project, seen) == 1)
        time.sleep(ENGINES[project.settings.streams.bus].settles_s)
        killing = strike(server, monkeypatch)
        insert(database, pipeline, 2, ROWS)
        step_until(pipeline, lambda: pipeline.trouble is not None)
        killing.join()
        insert(database, pipeline, ROWS + 1, ROWS + 1)
        server.start()
        step_until(pipeline, lambda: pipeline.trouble is None)
        step_until(pipeline, lambda: told(project, seen) == ROWS + 1)


@pytest.mark.parametrize("bus", ["nats"])
def test_a_server_that_says_nothing(project: Project, database: str, server: LocalServer) -> None:
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        insert(database, pipeline, 1, 1)
        step_until(pipeline, lambda: pipeline.trouble is None and told(project, set()) == 1)
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        insert(database, pipeline, 2, 2)
        step_until(pipeline, lambda: pipeline.trouble is not None)
        insert(database, pipeline, 3, 3)
        os.kill(server.pid, signal.SIGCONT)
        step_until(pipeline, lambda: pipeline.trouble is None and told(project, set()) == 3)


@pytest.mark.parametrize("bus", ["nats"])
def test_it_goes_on_at_once_when_the_server_is_back(
    project: Project, database: str, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it would wait by itself; and status tells how long that is."""
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        insert(database, pipeline, 1, 1)
        step_until(pipeline, lambda: pipeline.trouble is None and told(project, set()) == 1)
        monkeypatch.setattr(followers, "RETRY_SECONDS", 7200.0)
        monkeypatch.setattr(followers, "FIRST_RETRY_SECONDS", 0.001)
        server.kill()
        insert(database, pipeline, 2, 2)
        step_until(pipeline, lambda: pipeline.trouble is not None)
        monkeypatch.setattr(followers, "FIRST_RETRY_SECONDS", 3600.0)
        step_until(pipeline, lambda: (route_stands(project)[0].trouble or NONE).again > time.time() + 1000)
        server.start()
        step_until(pipeline, lambda: route_stands(project)[0].trouble is None)
        assert told(project, set()) == 2


@pytest.mark.parametrize("bus", ["nats"])
def test_a_route_in_packed_messages(project: Project, database: str, server: LocalServer) -> None:
    """Few messages hold them all; what is made so stays so, and whoever asks for something else is told."""
    topic = f"{project.settings.routes[0].prefix}.public.things"
    packed = rewritten(project, 'name = "feed"', 'name = "feed"\npacked = true')
    with Pipeline(packed) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        insert(database, pipeline, 1, ROWS)
        step_until(pipeline, lambda: pipeline.trouble is None and told(packed, set()) == ROWS)

    async def count(client: Any) -> int:
        return int((await client.jetstream().stream_info(stream_of(Partition(topic, 0)))).state.messages)

    assert with_client(server.address, count) < ROWS / 10
    assert [check.state for check in diagnose(packed.root) if check.name == "route feed"] == ["ok"]
    plain = rewritten(packed, "packed = true", "packed = false")
    (told_so,) = [check for check in diagnose(plain.root) if check.name == "route feed"]
    assert (told_so.state, "cannot change" in told_so.what) == ("bad", True)
    assert "packed = true" in str(told_so.remedy)


def rewritten(project: Project, old: str, new: str) -> Project:
    file = project.root / "bitvelocity.toml"
    file.write_text(file.read_text().replace(old, new))
    return open_project(project.root)


def strike(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> threading.Thread:
    """Kill the server once the route has begun to write again."""
    publish, killing = outlets.Outlet._publish, threading.Thread(target=server.kill)

    def publish_under_fire(outlet: outlets.Outlet, *words: Any) -> None:
        monkeypatch.setattr(outlets.Outlet, "_publish", publish)
        killing.start()
        publish(outlet, *words)

    monkeypatch.setattr(outlets.Outlet, "_publish", publish_under_fire)
    return killing


def insert(dsn: str, pipeline: Pipeline, first: int, last: int) -> None:
    """Write rows, and see the lake have them, wherever the bus is."""
    with connect(dsn, autocommit=True) as connection:
        connection.execute("insert into things select generate_series(%s::int, %s::int)", [first, last])
        (end,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
    step_until(pipeline, lambda: pipeline.seen >= int(end))


def step_until(pipeline: Pipeline, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, pipeline.trouble
        pipeline.step(0.05)


def told(project: Project, seen: set[bytes]) -> int:
    """Rows of which the topic had a record so far; on a queue perhaps several, and each is given out once."""
    topic = f"{project.settings.routes[0].prefix}.public.things"
    with closing(open_bus(project.settings)) as bus:
        if topic not in bus.topics():
            return len(seen)
        if not bus.abilities.replay:
            seen |= {key for records in given_out(bus, topic) for key in records["key"].to_pylist() if key}
            return len(seen)
        keys = Counter(whole(bus, topic, 0)["key"].to_pylist())
        assert set(keys.values()) <= {1}
        return len(keys)


def given_out(bus: Bus, topic: str) -> Iterator[pa.Table]:
    """What a queue has now, and then has no more."""
    with closing(bus.member("reader", [topic])) as member:
        while fetched := member.poll(1.0):
            yield from (one.records for one in fetched)
            member.commit({one.partition: one.next for one in fetched})
