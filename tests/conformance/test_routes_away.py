"""A route whose server falls, or says nothing: the lake goes on, and the topics get what they lack."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from bitvelocity.flow import Pipeline, Project, followers, open_bus, open_project, outlets, prepare
from bitvelocity.oltp import connect
from bitvelocity.streams import Partition
from bitvelocity.streams.servers import LocalServer

PATIENCE_S = 60.0
ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
'''


@pytest.fixture
def project(open_folder: Path, database: str, nats_server: LocalServer) -> Project:
    name = open_folder.name.lower().replace("-", "_")
    (open_folder / "entities.py").write_text(ENTITIES)
    (open_folder / "bitvelocity.toml").write_text(
        f'[database]\ndsn = "{database}"\n[capture]\nslot = "away_{name}"\n[streams]\nbus = "nats"\n'
        f'[streams.nats]\nurl = "{nats_server.address}"\n[[routes]]\nname = "feed"\nwire = "json"\nprefix = "{name}"\n'
    )
    found = open_project(open_folder)
    prepare(found, database)
    return found


def test_what_a_server_missed_comes_when_it_is_back(
    project: Project, database: str, nats_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followers, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(outlets, "PATIENCE_S", 1.0)
    with Pipeline(project) as pipeline:
        pipeline.connect(database)
        pipeline.start()
        insert(database, pipeline, 1)
        step_until(pipeline, lambda: pipeline.trouble is None and told(project) == 1)
        for number, (away, back) in enumerate(
            ((nats_server.kill, nats_server.start), (_signalled(nats_server, signal.SIGSTOP), _signalled(nats_server, signal.SIGCONT)))
        ):  # fmt: skip
            away()
            insert(database, pipeline, 2 * number + 2)
            step_until(pipeline, lambda: pipeline.trouble is not None)
            insert(database, pipeline, 2 * number + 3)
            back()
            step_until(pipeline, lambda wanted=2 * number + 3: pipeline.trouble is None and told(project) == wanted)  # type: ignore[misc]


def insert(dsn: str, pipeline: Pipeline, number: int) -> None:
    """Write a row, and see the lake have it, wherever the bus is."""
    with connect(dsn, autocommit=True) as connection:
        connection.execute("insert into things values (%s)", [number])
        (end,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
    step_until(pipeline, lambda: pipeline.seen >= int(end))


def step_until(pipeline: Pipeline, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, pipeline.trouble
        pipeline.step(0.05)


def told(project: Project) -> int:
    """Records of the topic; each is a row of its own."""
    with closing(open_bus(project.settings)) as bus:
        topic = f"{project.settings.routes[0].prefix}.public.things"
        if topic not in bus.topics():
            return 0
        keys = bus.read(Partition(topic, 0), 0, timeout=0)["key"].to_pylist()
    assert len(keys) == len(set(keys))
    return len(keys)


def _signalled(server: LocalServer, number: signal.Signals) -> Callable[[], None]:
    def send() -> None:
        assert server.pid
        os.kill(server.pid, number)

    return send
