"""A primary and its standby, both real: the standby is taken from the primary by pg_basebackup."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from psycopg import conninfo
from tests.conformance.servers import needed

from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import Server, connect
from bitvelocity.oltp.account import server_account
from bitvelocity.processes import free_ports

PATIENCE = 60.0
SLOT = "standby_1"


@dataclass
class Standby:
    """A hot standby of a running server, from `with` to its end; `promote` makes it the primary."""

    primary: Server
    folder: Path
    settings: Mapping[str, str]

    def __enter__(self) -> Self:
        self._account = server_account()
        self._port = free_ports(1)[0]
        self._programs = Path(f"/proc/{self.primary.pid}/exe").readlink().parent
        self.data, self.sockets = self.folder / "standby", self.folder / "sockets"
        for path in (self.data, self.sockets):
            path.mkdir(mode=0o700)
            self._account.own(path)
        self._password = self.primary.passfile.read_text().strip().rsplit(":", 1)[1]
        self._take()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def dsn(self) -> str:
        return conninfo.make_conninfo(self.primary.dsn, host=str(self.sockets), port=self._port)

    def either(self, database: str) -> str:
        """A DSN that leads to whichever of the two is the primary."""
        return conninfo.make_conninfo(
            self.primary.dsn, host=f"{self.primary.socket_dir},{self.sockets}", port=f"{self.primary.port},{self._port}",
            dbname=database, target_session_attrs="read-write", connect_timeout="3",
        )  # fmt: skip

    def of(self, database: str) -> str:
        return conninfo.make_conninfo(self.dsn, dbname=database)

    def start(self) -> None:
        command = [str(self._programs / "postgres"), "-D", str(self.data), "-c", f"port={self._port}"]
        command += ["-c", f"unix_socket_directories={self.sockets}", "-c", "listen_addresses="]
        with (self.folder / "standby.log").open("a") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._account.popen)
        wait_until(self._answers)

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(PATIENCE)

    def promote(self) -> None:
        with connect(self.dsn, autocommit=True) as connection:
            assert connection.execute("select pg_promote(true, 60)").fetchone() == (True,)

    def one(self, query: str, database: str = "postgres") -> Any:
        with connect(self.of(database), autocommit=True) as connection:
            return (connection.execute(query.encode()).fetchone() or (None,))[0]

    def run(self, script: str) -> None:
        """Statements, one after the other."""
        with connect(self.dsn, autocommit=True) as connection:
            for statement in script.split(";"):
                if statement.strip():
                    connection.execute(statement.encode())

    def cut(self) -> None:
        """From now on it receives nothing."""
        self.run("alter system set primary_conninfo = 'host=/nowhere'; select pg_reload_conf()")
        wait_until(lambda: self.one("select count(*) from pg_stat_wal_receiver where status = 'streaming'") == 0)

    def has_replayed(self, lsn: str) -> bool:
        return bool(self.one(f"select pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"))

    def _take(self) -> None:
        program = self._programs / "pg_basebackup"
        if not program.exists() and not needed("pg_basebackup"):
            pytest.skip(f"there is no pg_basebackup in {self._programs}, to make a standby with")
        backup = [str(program), "-D", str(self.data), "-X", "stream", "-C", "-S", SLOT]
        backup += ["--checkpoint=fast", "--no-sync", "-d", conninfo.make_conninfo(self.primary.dsn, passfile="")]
        environment = {**os.environ, "PGPASSWORD": self._password}
        done = subprocess.run(backup, env=environment, capture_output=True, text=True, check=False, cwd="/", **self._account.popen)
        assert done.returncode == 0, done.stderr
        leads = conninfo.make_conninfo(self.primary.dsn, passfile="", password=self._password, application_name=SLOT, dbname="postgres")
        settings = {"primary_conninfo": leads, "primary_slot_name": SLOT, "hot_standby_feedback": "on", **self.settings}
        with (self.data / "postgresql.auto.conf").open("a") as conf:
            for name, value in settings.items():
                conf.write(name + " = '" + value.replace("'", "''") + "'\n")
        (self.data / "standby.signal").touch()
        self._account.own(self.data / "standby.signal")

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "standby.log").read_text()[-3000:]
        try:
            connect(self.dsn).close()
        except DatabaseError:
            return False
        return True


def wait_until(reached: Callable[[], object], patience: float = PATIENCE) -> None:
    deadline = time.monotonic() + patience
    while not reached():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.05)
