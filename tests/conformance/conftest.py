"""The real Debezium, run in a Java process of its own (tests/java).

Where there is no JDK or no Maven, tests that ask for it are skipped by name; with BITVELOCITY_NEEDS=java, as in CI, they
fail instead.

`bus_engine`: each engine of the bus in turn (buses.py), with its server. `bus`: a connection to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo
from tests.conformance.buses import ENGINES, Folder, Running

from bitvelocity.oltp import connect
from bitvelocity.streams import Bus

from .servers import kafka_server, nats_server, needed, rabbitmq_server

__all__ = ["kafka_server", "nats_server", "rabbitmq_server"]

BUILD = Path(__file__).resolve().parents[1] / "java" / "build.py"
PASSWORD = "of-the-test"
QUIET = "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"


@pytest.fixture(scope="session")
def java() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a class of tests/java: `java("Check", input=...)`."""
    built = subprocess.run([sys.executable, str(BUILD)], capture_output=True, text=True, check=False)
    if built.returncode == 3 and not needed("java"):
        pytest.skip(f"the real Debezium cannot be run here: {built.stderr.strip()}")
    assert built.returncode == 0, built.stderr
    program, *words = json.loads(built.stdout)["java"]

    def run(
        name: str, *arguments: str, input: str, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        command = [program, "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", QUIET, *words, name, *arguments]
        return subprocess.run(
            command, input=input, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **(env or {})}
        )  # fmt: skip

    return run


@pytest.fixture
def check_debezium(java: Callable[..., Any]) -> Callable[..., Any]:
    """What Kafka Connect and Debezium say of configurations: `check_debezium(config, ..., env={...})`."""

    def check(*configs: Mapping[str, str] | str, env: Mapping[str, str] | None = None) -> Any:
        done = java("Check", input=json.dumps({"configs": configs}), env=env)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return check


@pytest.fixture
def run_debezium(java: Callable[..., Any], tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Run the engine with these properties until the message that ends it; the records that it gave.

    `meanwhile` is called once it streams: when its slot has a reader.
    """

    def run(
        properties: Mapping[str, str], mode: str = "records", *, dsn: str, meanwhile: Callable[[], None] | None = None
    ) -> list[dict[str, Any]]:
        offsets = {
            "name": "peer",
            "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
            "offset.storage.file.filename": str(tmp_path / "offsets"),
            "offset.flush.interval.ms": "0",
        }
        out = tmp_path / f"{mode}.jsonl"
        lines = "".join(f"{name}={_escaped(value)}\n" for name, value in {**offsets, **properties}.items())
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(java, "Peer", mode, str(out), input=lines)
            if meanwhile and _streams(dsn, properties["slot.name"], running):
                meanwhile()
            done = running.result()
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in out.read_bytes().split(b"\n") if line]

    return run


def _streams(dsn: str, slot: str, running: Future[Any]) -> bool:
    """Wait until the slot has a reader; False when the reader ended first."""
    with connect(dsn, autocommit=True) as admin:
        while not running.done():
            query = "select 1 from pg_replication_slots where slot_name = %s and active"
            if admin.execute(query, [slot]).fetchone():
                return True
            wait([running], timeout=0.1)
    return False


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")


@pytest.fixture
def over_tcp(database: str) -> str:
    """The DSN of `database` as a JDBC driver needs it: over TCP, with a role that has a password."""
    with connect(database, autocommit=True) as admin:
        if not admin.execute("select 1 from pg_roles where rolname = 'debezium'").fetchone():
            admin.execute(f"create role debezium login superuser replication password '{PASSWORD}'")
    return conninfo.make_conninfo(database, host="127.0.0.1", user="debezium", password=PASSWORD, passfile=None)


@pytest.fixture(scope="session")
def embedded_server(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("embedded-bus"))


@pytest.fixture(params=list(ENGINES))
def bus_engine(request: pytest.FixtureRequest) -> Iterator[Running]:
    """An engine of the bus. Skipped by name where its server is missing; its gaps are marked, with reason, strict."""
    engine = ENGINES[request.param]
    if gap := engine.gaps.get(request.node.originalname):
        request.applymarker(pytest.mark.xfail(reason=gap, strict=True))
    running = Running(request.param, request.getfixturevalue(engine.server))
    yield running
    running.close()


@pytest.fixture
def bus(bus_engine: Running) -> Bus:
    return bus_engine.open()
