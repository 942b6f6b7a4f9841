"""What a killed server leaves behind must not keep the next one from starting."""

from __future__ import annotations

import subprocess
from pathlib import Path

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
