"""A primary and a standby: capture goes on after a failover, and can read from the standby."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from psycopg import conninfo
from tests.conftest import TEST_SETTINGS, fresh_database
from tests.crash.arena import Arena
from tests.crash.pair import SLOT, Standby, wait_until

from bitvelocity.capture import WalSource, identify
from bitvelocity.capture.failures import Place
from bitvelocity.capture.snapshots import read_book
from bitvelocity.capture.snapshots.reading import ChunkReader
from bitvelocity.errors import CaptureError
from bitvelocity.flow import Database, order_reading, prove, recover
from bitvelocity.lakehouse import read_watermark
from bitvelocity.oltp import EmbeddedPostgres, Server, connect, installed
from bitvelocity.oltp.checks import Check, Limits, Wanted, look

SYNCS = {"sync_replication_slots": "on"}


@pytest.fixture
def primary(postgres: Server, open_folder: Path) -> Iterator[Server]:
    """A server of the test's own, of the same version: it is to die."""
    binaries = next(found for found in installed() if found.major == postgres.major)
    engine = EmbeddedPostgres(open_folder / "pg", settings=TEST_SETTINGS, binaries=binaries)
    with engine as server:
        yield server


def one(dsn: str, query: str) -> Any:
    with connect(dsn, autocommit=True) as connection:
        return (connection.execute(query.encode()).fetchone() or (None,))[0]


def make_database(server: Server, name: str = "shop") -> str:
    with connect(server.dsn, autocommit=True) as admin:
        admin.execute(f"create database {name} template template0".encode())
    return conninfo.make_conninfo(server.dsn, dbname=name)


def write_until_synced(arena: Arena, standby: Standby) -> None:
    """A copy of the slot is good for a failover once it has seen the primary's go on."""

    def synced() -> object:
        arena.workload.insert_many()
        query = f"select synced and not temporary from pg_replication_slots where slot_name = '{arena.slot}'"
        return standby.one(query)

    wait_until(synced)


def folder_of(tmp: Path, name: str) -> Path:
    made = tmp / name
    made.mkdir()
    made.chmod(0o755)
    return made


def test_capture_goes_on_from_the_standby_that_took_over(primary: Server, open_folder: Path, tmp_path: Path) -> None:
    if primary.major < 17:
        pytest.skip("failover slots exist from PostgreSQL 17 on")
    with ExitStack() as stack:
        dsn = make_database(primary)
        with connect(primary.dsn, autocommit=True) as admin:
            admin.execute(f"alter system set synchronized_standby_slots = '{SLOT}'".encode())
            admin.execute("select pg_reload_conf()")
        standby = Standby(primary, folder_of(open_folder, "b"), {**SYNCS, "synchronized_standby_slots": ""})
        stack.enter_context(standby)
        arena = stack.enter_context(Arena(tmp_path, dsn, seen_as=standby.either("shop"), settings="failover = true"))
        arena.begin()
        arena.workload.round()
        assert arena.judge().ok
        write_until_synced(arena, standby)
        arena.workload.round()
        arena.witness.listen()
        wait_until(lambda: standby.has_replayed(one(dsn, "select pg_current_wal_lsn()")))
        arena.workload.close()
        os.kill(primary.pid, signal.SIGKILL)
        standby.promote()
        arena.move(standby.of("shop"))
        arena.witness.begin()
        arena.workload.round()
        finding = arena.judge()
        assert finding.ok, str(finding)
        assert [said for said in arena.run().heard("trouble") if "connection" in said.lower()]
        assert one(standby.of("shop"), f"select synced from pg_replication_slots where slot_name = '{arena.slot}'")


def test_a_standby_that_took_over_too_early_is_refused_and_recovered(primary: Server, open_folder: Path, tmp_path: Path) -> None:
    """Without synchronized_standby_slots the lake may have commits that the new primary never received."""
    if primary.major < 17:
        pytest.skip("failover slots exist from PostgreSQL 17 on")
    with ExitStack() as stack:
        dsn = make_database(primary)
        standby = stack.enter_context(Standby(primary, folder_of(open_folder, "b"), {**SYNCS}))
        arena = stack.enter_context(Arena(tmp_path, dsn, seen_as=standby.either("shop"), settings="failover = true"))
        arena.begin()
        write_until_synced(arena, standby)
        standby.cut()
        arena.workload.round()
        assert arena.judge().ok
        victim = arena.run()
        arena.workload.close()
        os.kill(primary.pid, signal.SIGKILL)
        standby.promote()
        assert victim.await_end() == 1
        assert "does not know of commits that the lake has" in victim.heard("failed")[0]
        arena.end()
        arena.move(standby.of("shop"))
        at = read_watermark(arena.project.lake)
        assert at is not None
        while identify(standby.of("shop")).end <= at.position:
            arena.workload.round()
        assert arena.start().await_end() == 1, "the new primary's WAL reaches further than the lake, and is another"
        assert "it left timeline 1 at" in arena.run().heard("failed")[0]
        arena.end()
        source = Database(standby.of("shop"))
        with pytest.raises(CaptureError) as refused:
            recover(arena.project, source)
        assert refused.value.code == "OtherTimeline"
        assert "recover --other-timeline" in str(refused.value.remedy)
        assert any(found.changes["d"] for found in recover(arena.project, source, other_timeline=True))
        for _ in range(2):
            arena.workload.round()
            verdict = prove(arena.project, source, arena.run().check)
            assert verdict.ok, verdict.as_dict()


@pytest.mark.every_postgres
def test_reading_from_a_standby(primary: Server, open_folder: Path, tmp_path: Path) -> None:
    with ExitStack() as stack:
        dsn = make_database(primary)
        standby = stack.enter_context(Standby(primary, folder_of(open_folder, "b"), {}))
        arena = stack.enter_context(
            Arena(tmp_path, dsn, seen_as=standby.of("shop"), settings=f'primary = "{dsn}"\nheartbeat_seconds = 1\nfeed = "copy"')
        )
        wait_until(lambda: standby.has_replayed(one(dsn, "select pg_current_wal_lsn()")))
        if primary.major < 16:
            with pytest.raises(CaptureError, match="PostgreSQL 15 cannot read changes") as refused:
                WalSource(standby.of("shop"), spill=tmp_path, has_position=False)
            assert refused.value.code == "Standby"
            return
        arena.begin()
        for _ in range(2):
            arena.workload.round()
            finding = arena.judge()
            assert finding.ok, str(finding)
        order_reading(arena.project, "start", "items")
        wait_until(lambda: [run.state for run in read_book(arena.project.lake).runs] == ["done"])
        assert arena.judge().ok, "read on the primary, marked there, and put into the standby's stream in its place"
        with pytest.raises(CaptureError, match="primary") as refused:
            ChunkReader(standby.of("shop"), Place(arena.slot, "bitvelocity")).begin()
        assert refused.value.code == "Standby"
        arena.run().kill()
        arena.victim = None
        arena.workload.round()
        finding = arena.judge()
        assert finding.ok, str(finding)
        assert one(standby.of("shop"), "select count(*) from pg_replication_slots where slot_type = 'logical'") == 1
        assert one(standby.of("shop"), "select count(*) from pg_stat_replication where application_name = 'bitvelocity capture'") == 1
        wait_until((arena.project.settings.state_folder / "pulse.json").exists)


@pytest.mark.every_postgres
def test_the_doctor_on_a_standby(primary: Server, open_folder: Path) -> None:
    with Standby(primary, folder_of(open_folder, "b"), {"hot_standby_feedback": "off"}) as standby:
        if primary.major < 16:
            assert faults(standby.dsn)["standby"].state == "bad"
            return
        assert mend(standby, "hot_standby_feedback").state == "bad"
        standby.run("alter system set primary_slot_name = ''; select pg_reload_conf()")
        assert faults(standby.dsn)["primary_slot_name"].state == "warn"
        standby.run("select pg_wal_replay_pause()")
        wait_until(lambda: "replica lag" in faults(standby.dsn))
        assert mend(standby, "replica lag").state == "bad"


@pytest.mark.every_postgres
def test_the_doctor_on_a_primary_that_waits_for_a_standby(postgres: Server) -> None:
    if postgres.major < 17:
        pytest.skip("since PostgreSQL 17")
    with fresh_database(postgres) as dsn, connect(dsn, autocommit=True) as admin:
        admin.execute("alter system set synchronized_standby_slots = 'nobody'")
        admin.execute("select pg_reload_conf()")
        wait_until(lambda: "standby slots" in faults(dsn))
        found = faults(dsn)["standby slots"]
        assert "nobody of synchronized_standby_slots does not exist" in found.what
        for statement in str(found.remedy).split("; "):
            admin.execute(statement.encode())
        wait_until(lambda: "standby slots" not in faults(dsn))
        admin.execute("alter system reset all")
        admin.execute("select pg_reload_conf()")


def faults(dsn: str) -> dict[str, Check]:
    wanted = Wanted(specs=(), publication="bitvelocity", slot="none", begun=False, limits=Limits(replay_seconds=0.0))
    return {check.name: check for check in look(dsn, wanted) if check.state != "ok"}


def mend(standby: Standby, name: str) -> Check:
    found = faults(standby.dsn)[name]
    standby.run(str(found.remedy))
    wait_until(lambda: name not in faults(standby.dsn))
    return found
