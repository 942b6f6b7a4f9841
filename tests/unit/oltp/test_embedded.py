"""The launcher: first start, restart, kill -9 of either side, and every refusal with its remedy."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import EmbeddedPostgres, Server, attach, connect, find_binaries, installed
from bitvelocity.oltp.account import server_account
from bitvelocity.oltp.binaries import probe
from bitvelocity.oltp.cluster import OPEN_GROUND
from bitvelocity.oltp.process import server_pid
from bitvelocity.processes import free_ports, runs_in

QUICK = {"fsync": "off", "shared_buffers": "16MB"}

STARTER = """
import json, sys
from pathlib import Path
from bitvelocity.oltp import EmbeddedPostgres
engine = EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off", "shared_buffers": "16MB"})
server = engine.start()
print(json.dumps({"pid": server.pid, "dsn": server.dsn}), flush=True)
sys.stdin.read()
"""


def embedded(folder: Path, **options: int) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder / "pg", settings=QUICK, port=options.get("port"))


def test_whoever_is_interrupted_while_waiting_leaves_no_server(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Server] = []

    def interrupted(server: Server) -> Server | None:
        seen.append(server)
        raise KeyboardInterrupt

    engine = embedded(open_folder)
    with monkeypatch.context() as patched:
        patched.setattr("bitvelocity.oltp.embedded.answering", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.start()
    assert (engine.owned, runs_in(seen[0].pid, seen[0].data)) == (False, False)
    with engine as server:
        assert server.pid != seen[0].pid


@pytest.mark.every_postgres
def test_server_settings(postgres: Server) -> None:
    with connect(postgres.dsn) as connection:
        shown = {
            name: connection.execute(f"show {name}").fetchone()
            for name in ("wal_level", "TimeZone", "IntervalStyle", "data_checksums", "listen_addresses")
        }
        assert shown == {
            "wal_level": ("logical",),
            "TimeZone": ("UTC",),
            "IntervalStyle": ("postgres",),
            "data_checksums": ("on",),
            "listen_addresses": ("127.0.0.1",),
        }
        assert connection.info.server_version // 10000 == postgres.major
        assert connection.info.encoding == "utf-8"


@pytest.mark.every_postgres
def test_both_ways_in_need_the_password(postgres: Server) -> None:
    for dsn in (postgres.dsn, postgres.tcp_dsn):
        with connect(dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        with pytest.raises(DatabaseError, match=r"password|authentication"):
            connect(dsn, passfile="/nowhere")


def test_dsn_holds_no_secret(postgres: Server) -> None:
    password = postgres.passfile.read_text().strip().rsplit(":", 1)[1]
    assert len(password) >= 24
    assert password not in repr(postgres) + postgres.dsn + postgres.tcp_dsn
    assert stat.S_IMODE(postgres.passfile.stat().st_mode) == 0o600
    assert stat.S_IMODE(postgres.socket_dir.stat().st_mode) == 0o700


def test_data_survives_stop_and_kill(open_folder: Path) -> None:
    engine = embedded(open_folder)
    try:
        first = engine.start()
        with connect(first.dsn) as connection:
            connection.execute("create table kept (n int)")
            connection.execute("insert into kept values (1)")
        engine.stop()
        assert attach(open_folder / "pg") is None
        second = engine.start()
        assert second.port == first.port, "the port is kept"
        with connect(second.dsn) as connection:
            connection.execute("insert into kept values (2)")
        os.kill(second.pid, signal.SIGKILL)
        third = engine.start()
        assert third.pid != second.pid
        with connect(third.dsn) as connection:
            assert connection.execute("select sum(n) from kept").fetchone() == (3,)
    finally:
        engine.stop()


def test_start_again_gives_the_same_server(open_folder: Path) -> None:
    engine = embedded(open_folder)
    with engine as server:
        assert engine.start() == server


def test_guest_leaves_the_server_running(open_folder: Path) -> None:
    with embedded(open_folder) as server:
        guest = embedded(open_folder)
        assert guest.start() == server
        assert not guest.owned
        guest.stop()
        assert attach(open_folder / "pg") == server


def test_server_outlives_a_killed_parent_and_is_taken_over(open_folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", STARTER, str(open_folder / "pg")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with parent:
        assert parent.stdout
        told = json.loads(parent.stdout.readline())
        parent.kill()
    engine = embedded(open_folder)
    server = engine.start()
    try:
        assert server.pid == told["pid"]
        assert engine.owned
    finally:
        engine.stop()
    assert not runs_in(server.pid, server.data)


def test_stale_lock_file_with_a_reused_process_id(open_folder: Path) -> None:
    engine = embedded(open_folder)
    server = engine.start()
    engine.stop()
    other = subprocess.Popen(["sleep", "600"], **server_account().popen)
    try:
        (server.data / "postmaster.pid").write_text(f"{other.pid}\n{server.data}\n0\n{server.port}\n/nowhere\n\n")
        assert server_pid(server.data) is None
        assert attach(open_folder / "pg") is None
        with engine as again:
            assert again.pid != other.pid
    finally:
        other.kill()
        other.wait()


def test_killed_with_clients_at_work(open_folder: Path) -> None:
    engine = embedded(open_folder)
    server = engine.start()
    try:
        client = connect(server.dsn, autocommit=True)
        os.kill(server.pid, signal.SIGKILL)
        again = engine.start()
        with pytest.raises(psycopg.OperationalError):
            client.execute("select 1")
        client.close()
        connect(again.dsn).close()
    finally:
        engine.stop()


def test_stop_waits_for_the_exit_status_of_a_server_that_is_ending(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is ending shows no working folder any more, so `alive` denies it before it can be waited for."""
    engine = embedded(open_folder)
    server = engine.start()
    monkeypatch.setattr("bitvelocity.oltp.embedded.runs_in", lambda pid, data: False)
    os.kill(server.pid, signal.SIGINT)
    engine.stop()
    with pytest.raises(ChildProcessError):
        os.waitpid(server.pid, os.WNOHANG)


def test_taken_port_is_a_clear_error(open_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DatabaseError, match=f"Port {port} of 127.0.0.1 is taken") as caught:
            embedded(open_folder, port=port).start()
    assert caught.value.remedy
    with embedded(open_folder, port=port) as server:
        assert server.port == port


def test_remembered_port_taken_gives_another(open_folder: Path) -> None:
    engine = embedded(open_folder)
    before = engine.start().port
    engine.stop()
    with socket.create_server(("127.0.0.1", before)), engine as server:
        assert server.port != before


def test_data_of_another_major_is_refused(open_folder: Path) -> None:
    with embedded(open_folder) as server:
        major = server.major
    wrong = replace(find_binaries(), version="97.1")
    with pytest.raises(DatabaseError, match=f"is of PostgreSQL {major}; the programs found") as caught:
        EmbeddedPostgres(open_folder / "pg", binaries=wrong).start()
    assert "pg_dump" in str(caught.value.remedy)


def test_data_in_a_folder_of_the_wrong_name_is_refused(open_folder: Path) -> None:
    (open_folder / "pg" / "18").mkdir(parents=True)
    (open_folder / "pg" / "18" / "PG_VERSION").write_text("14\n")
    with pytest.raises(DatabaseError, match="holds data of PostgreSQL 14"):
        embedded(open_folder).start()


@pytest.mark.parametrize("library", ["lib", "lib/postgresql"])
def test_modules_are_found_without_pg_config(open_folder: Path, library: str) -> None:
    """Builds for embedding, as those of Maven Central, bring `initdb`, `pg_ctl` and `postgres`, and nothing to ask."""
    real = find_binaries()
    for folder in ("bin", library):
        (open_folder / folder).mkdir(parents=True)
    (open_folder / "bin" / "postgres").symlink_to(real.program("postgres"))
    (open_folder / library / "pg_stat_statements.so").touch()
    assert probe(open_folder / "bin", "a bare build").modules("pg_stat_statements", "auto_explain") == ("pg_stat_statements",)


def test_data_chooses_its_programs(open_folder: Path) -> None:
    if len(installed()) < 2:
        pytest.skip("needs two PostgreSQL versions")
    older = installed()[-1]
    with EmbeddedPostgres(open_folder / "pg", binaries=older, settings=QUICK) as server:
        assert server.major == older.major
    with embedded(open_folder) as server:
        assert server.major == older.major, "not the newest, but the one that the data needs"


def test_unwritable_folder_is_a_clear_error(open_folder: Path) -> None:
    (open_folder / "file").write_text("in the way")
    with pytest.raises(DatabaseError, match="folder of the embedded PostgreSQL cannot be made") as caught:
        EmbeddedPostgres(open_folder / "file" / "pg").start()
    assert "writable" in str(caught.value.remedy)


def test_broken_setting_says_why(open_folder: Path) -> None:
    with pytest.raises(DatabaseError, match="no_such_setting"):
        EmbeddedPostgres(open_folder / "pg", settings={"no_such_setting": "1"}).start()


def test_killed_first_start_leaves_nothing_half_made(open_folder: Path) -> None:
    (open_folder / "pg" / ".new" / "base").mkdir(parents=True)
    with embedded(open_folder) as server:
        assert server.data.is_dir()
    assert not (open_folder / "pg" / ".new").exists()


def test_long_paths_get_a_short_socket(open_folder: Path) -> None:
    deep = open_folder / ("d" * 60) / ("e" * 60)
    with EmbeddedPostgres(deep / "pg", settings=QUICK) as server:
        assert len(str(server.socket_dir)) < 90
        with connect(server.dsn) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
    shutil.rmtree(server.socket_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server to another account")
def test_roots_closed_folder_moves_the_data_to_open_ground(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / "pg", settings=QUICK) as server:
        real = server.data.resolve()
        assert real.is_relative_to(OPEN_GROUND)
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700, "nobody's folder was opened"
    with EmbeddedPostgres(closed / "pg", settings=QUICK) as again:
        assert again.data.resolve() == real
    shutil.rmtree(real.parent)
    shutil.rmtree(server.socket_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server to another account")
def test_programs_in_a_closed_folder_are_copied_to_open_ground(tmp_path: Path, open_folder: Path) -> None:
    found = find_binaries()
    if len(found.parts) < 2:
        pytest.skip("needs the wheel's programs")
    package, libraries = found.parts
    closed = tmp_path / f"closed_{open_folder.name}"
    shutil.copytree(package, closed)
    shutil.copytree(libraries, tmp_path / libraries.name)
    inside = probe(closed / found.bindir.relative_to(package), "a closed wheel", (closed, tmp_path / libraries.name))
    home = OPEN_GROUND / "programs" / found.version / closed.name
    try:
        with EmbeddedPostgres(open_folder / "pg", binaries=inside, settings=QUICK) as server:
            assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(home)
        alone = replace(inside, parts=())
        with pytest.raises(DatabaseError, match="cannot run the programs"):
            EmbeddedPostgres(open_folder / "other", binaries=alone).start()
    finally:
        shutil.rmtree(home)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server to another account")
def test_nobody_will_do(open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = server_account(("nobody",))
    monkeypatch.setattr("bitvelocity.oltp.embedded.server_account", lambda: nobody)
    with embedded(open_folder) as server:
        assert server.data.stat().st_uid == nobody.uid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the server to another account")
def test_root_without_a_usable_user() -> None:
    with pytest.raises(DatabaseError, match="refuses to run as root") as caught:
        server_account(("bv-no-such-user", "root"))
    assert "ordinary user" in str(caught.value.remedy)


def test_lost_passfile_is_a_clear_error(open_folder: Path) -> None:
    with embedded(open_folder) as server:
        server.passfile.write_text("*:*:*:postgres:wrong\n")
        with pytest.raises(DatabaseError, match="refuses our password") as caught:
            attach(open_folder / "pg")
    assert "put the right one back" in str(caught.value.remedy)
    with pytest.raises(DatabaseError, match="refuses our password"):
        embedded(open_folder).start()
    assert server_pid(server.data) is None


def test_client_that_does_not_read_cannot_hold_up_the_stop(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitvelocity.oltp.embedded.STOP_PATIENCE", 1.0)
    engine = embedded(open_folder)
    with engine as server:
        stream = psycopg.connect(server.dsn, replication="database", autocommit=True)
        stream.pgconn.exec_(b"CREATE_REPLICATION_SLOT stuck LOGICAL test_decoding")
        stream.pgconn.exec_(b"START_REPLICATION SLOT stuck LOGICAL 0/0")
        with connect(server.dsn) as connection:
            connection.execute("create table t as select repeat('x', 1000) from generate_series(1, 50000)")
    assert not runs_in(server.pid, server.data)
    assert "received immediate shutdown request" in server.log.read_text()
    stream.pgconn.finish()


def test_ctrl_c_does_not_reach_the_server(open_folder: Path) -> None:
    with embedded(open_folder) as server:
        assert os.getsid(server.pid) != os.getsid(0)
        assert free_ports(1)[0] != server.port
