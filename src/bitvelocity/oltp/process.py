"""A running PostgreSQL server as seen from outside: where it listens, whether it lives, why it did not start."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
from psycopg import conninfo

from ..errors import DatabaseError
from ..processes import runs_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs. Its DSNs hold no secret: the password lies in the passfile that they name."""

    pid: int
    version: str
    port: int
    socket_dir: Path
    data: Path
    log: Path
    passfile: Path

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    @property
    def dsn(self) -> str:
        """Over the unix socket: twice as fast for change capture as loopback TCP."""
        return self._dsn(str(self.socket_dir))

    @property
    def tcp_dsn(self) -> str:
        """Over 127.0.0.1, for programs that know no unix sockets."""
        return self._dsn("127.0.0.1")

    def _dsn(self, host: str) -> str:
        return conninfo.make_conninfo(
            "", host=host, port=self.port, user="postgres", dbname="postgres", passfile=str(self.passfile)
        )


def server_pid(data: Path) -> int | None:
    """The process that the data folder's lock file names, when it is alive and really serves this folder."""
    lines = _lock_file(data)
    if not lines or not lines[0].strip().isdigit():
        return None
    pid = int(lines[0])
    return pid if runs_in(pid, data) else None


def listening(data: Path) -> tuple[int, Path] | None:
    """Port and socket folder, once the server has said them."""
    lines = _lock_file(data)
    if len(lines) < 5 or not lines[3].strip() or not lines[4].strip():
        return None
    return int(lines[3]), Path(lines[4].strip())


def end_orphans(data: Path) -> None:
    """End what a killed server left behind, at once; its work is undone by recovery. Only when no server is alive."""
    for folder in Path("/proc").glob("[0-9]*"):
        if runs_in(int(folder.name), data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(folder.name), signal.SIGQUIT)


def answering(server: Server) -> Server | None:
    """The server with its exact version once it takes connections, else None."""
    try:
        with psycopg.connect(server.dsn, connect_timeout=10) as connection:
            number = connection.info.server_version
    except psycopg.OperationalError as error:
        if "password" not in str(error):
            return None
        raise DatabaseError(
            "The embedded PostgreSQL refuses our password.",
            safe="The data is untouched.",
            remedy=f"{server.passfile} does not belong to {server.data}: put the right one back.",
        ) from error
    return replace(server, version=f"{number // 10000}.{number % 10000}")


def failure(said: str, *, port: int, log: Path) -> DatabaseError:
    """What the words of a server that did not start mean, and what to do."""
    if "Address already in use" in said:
        return DatabaseError(
            f"Port {port} of 127.0.0.1 is taken by another program.",
            safe="The data is untouched.",
            remedy="Set another [database] port, or 0 for a free one; `ss -ltnp` shows who has it.",
            code="PortTaken",
        )
    remedy = next((remedy for sign, remedy in _REMEDIES if sign in said), f"See {log}.")
    return DatabaseError(f"PostgreSQL did not start: {_reason(said)}", safe="The data is untouched.", remedy=remedy)


_REMEDIES = (
    ("still in use", "Processes of a killed server hold its memory; end them (their title begins with 'postgres:')."),
    ("is another postmaster", "Another server runs on this data; stop it."),
    ("No space left on device", "Make room on the disk."),
    ("could not create shared memory", "Give the machine or container more shared memory (docker: --shm-size=1g)."),
    ("Cannot allocate memory", "Free memory or lower shared_buffers."),
    ("has wrong ownership", "Run as the user that made the data folder."),
    ("could not access file", "Remove the module from shared_preload_libraries or install it."),
)


def _reason(said: str) -> str:
    lines = said.splitlines() or ["it said nothing"]
    end = next((n for n, line in enumerate(lines) if "FATAL:" in line or "PANIC:" in line), len(lines) - 1)
    begin = max(0, end - 1) if "contains errors" in lines[end] else end
    return "; ".join(line.split(":  ", 1)[-1] for line in lines[begin : end + 1])


def _lock_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def forget_stale_lock(data: Path) -> None:
    """Remove the lock file of a server that is gone; its process id may belong to somebody else by now."""
    if _lock_file(data) and server_pid(data) is None:
        (data / "postmaster.pid").unlink()
