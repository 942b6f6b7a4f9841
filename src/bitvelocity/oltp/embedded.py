"""The embedded PostgreSQL: our own launcher over the programs that pip, or the system, brought.

Below its root folder:

| path | what |
|---|---|
| `<major>/` | the data, of one major version; a link to `/var/lib/bitvelocity/...` where root's folders are closed |
| `passfile` | the superuser's random password as libpq reads it, mode 0600; the DSNs name it and hold no secret |
| `port` | the TCP port taken at the first start, kept for the next |
| `owner` | locked by the process that started the server; the kernel lets go of it when that process dies |
| `postgres.log` | what the server says |
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from ..errors import DatabaseError
from ..processes import free_ports, owned, runs_in
from .account import Account, server_account
from .binaries import Binaries
from .cluster import Cluster, choose_binaries, existing_clusters, prepare_cluster, socket_folder
from .process import Server, answering, end_orphans, failure, listening, server_pid

PATIENCE = 300.0
"""Seconds for a server to become ready: recovery after a crash may take its time."""
STOP_PATIENCE = 30.0
"""Seconds for a clean stop, which waits until clients of change capture have read everything."""


class EmbeddedPostgres:
    """A PostgreSQL of the project's own, from `start` to `stop`.

    - It is a child process in a session of its own: Ctrl-C in the terminal does not reach it, `stop` ends it cleanly.
    - When the process that started it was killed, the server lives on; the next `start` takes it over.
    - While another living process owns it, `start` joins as a guest, and a guest's `stop` leaves it running.
    - Several threads may find that it died, and start it: one does, and the others have its server.
    """

    def __init__(
        self,
        root: Path,
        *,
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        binaries: Binaries | None = None,
    ) -> None:
        self.root = root.absolute()
        self._port = port
        self._settings = dict(settings or {})
        self._binaries = binaries
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self._server: Server | None = None
        self._turn = threading.RLock()

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def owned(self) -> bool:
        """We own the server: our `stop` ends it."""
        return self._lock is not None

    def start(self) -> Server:
        """The server, ready for connections. Started, taken over or joined; the same one again if it still runs."""
        with self._turn:
            self._make_root()
            if not self._own():
                return self._join()
            try:
                self._server = attach(self.root) or self._launch()
            except BaseException:
                self._give_up()
                self._disown()
                raise
            return self._server

    def stop(self) -> None:
        """End the server cleanly (SIGINT: clients are cut off, nothing committed is lost). Again is harmless."""
        with self._turn:
            server, self._server = self._server, None
            if not self.owned:
                return
            try:
                if server:
                    self._end(server)
            finally:
                self._disown()

    def _end(self, server: Server) -> None:
        """Fast, and when a client that does not read holds that up, at once: recovery will do the rest."""
        for sign, patience in ((signal.SIGINT, STOP_PATIENCE), (signal.SIGQUIT, PATIENCE)):
            if runs_in(server.pid, server.data):
                os.kill(server.pid, sign)
            if self._gone(server, patience):
                self._process = None
                return
        raise DatabaseError(f"PostgreSQL (process {server.pid}) does not end.", remedy=f"See {server.log}.")

    def _give_up(self) -> None:
        """End a child that is not ready yet: whoever waited for it was interrupted."""
        child, self._process = self._process, None
        for sign in (signal.SIGINT, signal.SIGQUIT):
            if child and child.poll() is None:
                child.send_signal(sign)
                with suppress(subprocess.TimeoutExpired):
                    child.wait(STOP_PATIENCE)

    def _gone(self, server: Server, patience: float) -> bool:
        """It has ended. Of our own child the exit status tells: a process that is ending is no longer `alive`, but
        cannot be waited for yet, and would be left as a zombie."""
        child = self._process if self._process and self._process.pid == server.pid else None
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            ended = child.poll() is not None if child else not runs_in(server.pid, server.data)
            if ended:
                return True
            time.sleep(0.02)
        return False

    def _make_root(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(
                f"The folder of the embedded PostgreSQL cannot be made: {error}",
                safe="Nothing was changed.",
                remedy=f"Make {self.root} writable, or put the project elsewhere.",
            ) from error

    def _own(self) -> bool:
        if self.owned:
            return True
        try:
            self._lock = owned(self.root / "owner")
        except OSError as error:
            raise DatabaseError(
                f"The folder of the embedded PostgreSQL cannot be written: {error}",
                remedy=f"Make {self.root} writable for this user.",
            ) from error
        return self.owned

    def _disown(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _join(self) -> Server:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if server := attach(self.root):
                self._server = server
                return server
            if self._own():  # its owner went away before the server was there
                return self.start()
            time.sleep(0.1)
        raise DatabaseError(
            f"Another process holds {self.root} and its PostgreSQL does not answer.",
            remedy=f"See {self.root / 'postgres.log'}; end the other process.",
        )

    def _launch(self) -> Server:
        if self._process:  # killed under us: take its exit status, so that no zombie is left
            self._process.wait()
        account = server_account()
        sync = self._settings.get("fsync") != "off"
        cluster = prepare_cluster(self.root, choose_binaries(self.root, self._binaries), account, sync=sync)
        cluster.configure(self._settings)
        deadline = time.monotonic() + PATIENCE
        while True:
            port = self._port or cluster.remembered_port() or free_ports(1)[0]
            server = self._run(cluster, account, port=port, deadline=deadline)
            if server:
                cluster.remember_port(port)
                return server

    def _run(self, cluster: Cluster, account: Account, *, port: int, deadline: float) -> Server | None:
        """One attempt. None: another port, or a little later, may do."""
        sockets = socket_folder(self.root, account)
        mark = cluster.log_size()
        self._process = cluster.spawn(account, port=port, sockets=sockets)
        while self._process.poll() is None:
            server = cluster.server(self._process.pid, port, sockets)
            try:
                if ready := answering(server):
                    return ready
            except DatabaseError:
                self._end(server)
                raise
            if time.monotonic() > deadline:
                self._end(server)
                raise DatabaseError("PostgreSQL did not become ready.", remedy=f"See {cluster.log}.")
            time.sleep(0.02)
        self._after_exit(cluster, mark, port=port, deadline=deadline)
        return None

    def _after_exit(self, cluster: Cluster, mark: int, *, port: int, deadline: float) -> None:
        """Make way for the next attempt, or say why there can be none."""
        said = cluster.log_since(mark)
        if "Address already in use" in said and not self._port:
            cluster.forget_port()
        elif "still in use" in said and time.monotonic() < deadline:
            end_orphans(cluster.data)  # a killed server's children: one at work in a long statement would not notice
            time.sleep(0.2)
        else:
            raise failure(said, port=port, log=cluster.log)


def attach(root: Path) -> Server | None:
    """The running embedded server of `root`, whoever started it; None when there is none. Starts nothing."""
    for cluster in existing_clusters(root.absolute()):
        pid = server_pid(cluster.data)
        if pid is None:
            continue
        deadline = time.monotonic() + PATIENCE
        while runs_in(pid, cluster.data) and time.monotonic() < deadline:
            place = listening(cluster.data)
            if place and (ready := answering(cluster.server(pid, *place))):
                return ready
            time.sleep(0.05)
    return None
