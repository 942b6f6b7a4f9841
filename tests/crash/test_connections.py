"""The connection is cut in every way there is, again and again while applications write; the server itself is killed."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo
from tests.conftest import TEST_SETTINGS
from tests.crash.arena import Arena
from tests.crash.proxy import Proxy

from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import EmbeddedPostgres, Server, connect, installed

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def proxy(postgres: Server) -> Iterator[Proxy]:
    with Proxy(postgres.port) as made:
        yield made


@pytest.fixture
def far_arena(database: str, tmp_path: Path, postgres: Server, proxy: Proxy) -> Iterator[Arena]:
    """Its pipeline comes through the proxy. The server gives up a reader that it does not hear of in twelve seconds."""
    with connect(database, autocommit=True) as admin:
        admin.execute(f"alter database {admin.info.dbname} set wal_sender_timeout = '12s'".encode())
    dsn = conninfo.make_conninfo(database, host="127.0.0.1", port=proxy.port)
    with Arena(tmp_path, database, seen_as=dsn, settings="silence_seconds = 2") as made:
        yield made


@pytest.mark.parametrize("way", [Proxy.reset, Proxy.half_close, Proxy.fall_silent], ids=lambda way: way.__name__)
def test_a_connection_that_breaks(far_arena: Arena, proxy: Proxy, way: object) -> None:
    arena, dice = far_arena, random.Random(5)
    arena.begin()
    for _ in range(4):
        cut = threading.Timer(dice.uniform(0, 0.3), way, args=[proxy])  # type: ignore[arg-type]
        cut.start()
        arena.workload.round()
        cut.join()
    finding = arena.judge()
    assert finding.ok, str(finding)
    assert arena.run().heard("trouble"), "the cuts were noticed"


def test_a_walsender_that_is_ended(arena: Arena) -> None:
    dice = random.Random(6)
    arena.begin()
    for _ in range(5):
        cut = threading.Timer(dice.uniform(0, 0.2), end_walsender, args=[arena])
        cut.start()
        arena.workload.round()
        cut.join()
    finding = arena.judge()
    assert finding.ok, str(finding)


def end_walsender(arena: Arena) -> None:
    query = "select pg_terminate_backend(active_pid) from pg_replication_slots where slot_name = %s and active"
    with connect(arena.dsn, autocommit=True) as admin:
        admin.execute(query, [arena.slot])


def test_a_server_that_dies_and_one_that_is_stopped(postgres: Server, open_folder: Path, tmp_path: Path) -> None:
    """Whatever was committed before a SIGKILL of PostgreSQL is there after its recovery, in the lake too, once."""
    binaries = next(found for found in installed() if found.major == postgres.major)
    engine = EmbeddedPostgres(open_folder / "pg", settings=TEST_SETTINGS, binaries=binaries)
    dice = random.Random(7)
    with engine as server:
        with connect(server.dsn, autocommit=True) as admin:
            admin.execute("create database shop template template0")
        with Arena(tmp_path, conninfo.make_conninfo(server.dsn, dbname="shop")) as arena:
            arena.begin()
            for way in ("kill", "stop", "kill", "kill", "stop"):
                strike = threading.Timer(dice.uniform(0, 0.25), end_server, args=[engine, way])
                strike.start()
                write_until_cut(arena)
                strike.join()
                engine.start()
                arena.move(arena.dsn)
            arena.workload.round()
            finding = arena.judge()
            assert finding.ok, str(finding)
            assert arena.run().heard("trouble")


def end_server(engine: EmbeddedPostgres, way: str) -> None:
    if way == "kill":
        os.kill(engine.start().pid, signal.SIGKILL)
    else:
        engine.stop()


def write_until_cut(arena: Arena) -> None:
    """What was committed before the cut, and nothing else, must come through."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            arena.workload.round()
        except (psycopg.OperationalError, psycopg.InterfaceError, DatabaseError):
            return
    raise AssertionError("the server did not end")
