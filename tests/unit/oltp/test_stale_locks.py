"""What a killed server leaves behind must not keep the next one from starting."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import psycopg
import pytest

from bitvelocity.oltp import EmbeddedPostgres, connect
from bitvelocity.oltp.account import server_account

QUICK = {"fsync": "off", "shared_buffers": "16MB"}


def test_socket_lock_of_a_process_id_that_lives_again(open_folder: Path) -> None:
    """As after SIGKILL: the id belongs to a zombie, or to somebody else by now."""
    engine = EmbeddedPostgres(open_folder / "pg", settings=QUICK)
    before = engine.start()
    engine.stop()
    other = subprocess.Popen(["sleep", "600"], **server_account().popen)
    lock = before.socket_dir / f".s.PGSQL.{before.port}.lock"
    lock.write_text(f"{other.pid}\n{before.data}\n0\n{before.port}\n\n")
    server_account().own(lock)
    try:
        with engine as server:
            assert server.port == before.port
            connect(server.dsn).close()
    finally:
        other.kill()
        other.wait()


def test_a_client_in_a_long_statement_when_the_server_is_killed(open_folder: Path) -> None:
    """Its backend does not notice that the server is gone, and keeps the shared memory that the next one needs."""
    engine = EmbeddedPostgres(open_folder / "pg", settings=QUICK)
    server = engine.start()
    try:
        with connect(server.dsn, autocommit=True) as client, connect(server.dsn, autocommit=True) as other:
            busy = threading.Thread(target=count_forever, args=[client])
            busy.start()
            while not other.execute(AT_WORK).fetchone():
                os.sched_yield()
            os.kill(server.pid, signal.SIGKILL)
            began = time.monotonic()
            assert engine.start().pid != server.pid
            assert time.monotonic() - began < 60, "the statement would take hours"
            busy.join()
    finally:
        engine.stop()


AT_WORK = "select 1 from pg_stat_activity where state = 'active' and query like 'select count%'"


def count_forever(client: psycopg.Connection[tuple[object, ...]]) -> None:
    many = "generate_series(1, 100000)"
    with pytest.raises(psycopg.OperationalError):
        client.execute(f"select count(*) from {many} as a, {many} as b, {many} as c".encode())
