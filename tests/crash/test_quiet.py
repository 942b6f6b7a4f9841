"""A quiet captured database beside a busy one: its slot must move, or the source keeps all WAL for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.conftest import fresh_database
from tests.crash.arena import Arena
from tests.crash.pair import wait_until

from bitvelocity.capture import slot_health
from bitvelocity.oltp import Server, connect

pytestmark = pytest.mark.every_postgres


@pytest.fixture
def busy(postgres: Server) -> Any:
    """Writes a few megabytes of WAL into another database of the server."""
    with fresh_database(postgres) as dsn, connect(dsn, autocommit=True) as neighbour:
        neighbour.execute("create table other (n int, t text)")

        def write() -> None:
            neighbour.execute("insert into other select n, repeat('x', 200) from generate_series(1, 20000) as n")
            neighbour.execute("truncate other")

        yield write


def test_the_slot_moves_without_heartbeats(arena: Arena, busy: Callable[[], None]) -> None:
    arena.begin()
    arena.workload.insert_many()
    assert arena.judge().ok
    before = slot_health(arena.dsn, arena.slot)
    for _ in range(3):
        busy()
    written = slot_health(arena.dsn, arena.slot).wal_end
    assert written - before.wal_end > 5 << 20, "the neighbour wrote"
    wait_until(lambda: slot_health(arena.dsn, arena.slot).confirmed_flush >= written)
    checkpoint_until_forgotten(arena, written)
    arena.workload.round()
    finding = arena.judge()
    assert finding.ok, str(finding)


def checkpoint_until_forgotten(arena: Arena, lsn: int) -> None:
    """The server gives WAL up to where the oldest open transaction began: it says so now and then."""

    def forgotten() -> bool:
        with connect(arena.dsn, autocommit=True) as admin:
            admin.execute("checkpoint")
        return slot_health(arena.dsn, arena.slot).restart >= lsn

    wait_until(forgotten)


def test_heartbeats_tell_the_whole_way(arena: Arena) -> None:
    file = arena.project.root / "bitvelocity.toml"
    file.write_text(file.read_text().replace("[lake]", "heartbeat_seconds = 1\n[lake]"))
    arena.begin()
    told = arena.project.settings.state_folder / "pulse.json"
    wait_until(told.exists)
    assert 0 < json.loads(told.read_text())["seconds"] < 30
    arena.workload.round()
    finding = arena.judge()
    assert finding.ok, str(finding)
