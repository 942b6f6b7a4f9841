"""A server on this machine, from `start` to `stop`: free loopback ports, data in a folder, ready when a client gets an answer.

Below its folder:

| path | what |
|---|---|
| `ports.json` | the ports that were taken at the first start, kept for the next |
| `owner` | locked by the process that started the server; the kernel lets go of it when that process dies |
| `pid` | the server's process |
| `log` | what the server says |

All else in it is the server's own.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ...errors import BusError
from ...processes import free_ports, owned, runs_in

PATIENCE = 120.0
"""Seconds for a server to become ready: recovery after a crash may take its time."""
STOP_PATIENCE = 30.0
"""Seconds for a clean stop; then it is killed."""
MISSING = "ServerMissing"
"""Code of the error of a server whose programs are not on this machine."""

Ports = Mapping[str, int]
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started: its command, and what is added to our environment."""

    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Recipe(Protocol):
    """What is particular to one kind of server.

    `look` raises what `find` would, as far as that is known before anything is fetched. `find` raises a `BusError` of code `ServerMissing`, with the remedy, when its programs can neither be found nor
    fetched; it tells of a download before it begins. `prepare` is called before each start; folder and ports are the
    same as the last time. `ready` is asked again and again: True once a client gets an answer. `tidy` ends, by its own
    process id, what a server leaves behind when it has gone.
    """

    @property
    def name(self) -> str: ...

    @property
    def ports(self) -> Sequence[str]:
        """A name for each TCP port that it needs."""
        ...

    def look(self) -> None: ...

    def find(self, tell: Tell) -> None: ...

    def prepare(self, folder: Path, ports: Ports) -> Launch: ...

    def ready(self, ports: Ports) -> bool: ...

    def address(self, ports: Ports) -> str: ...

    def tidy(self, folder: Path) -> None: ...


class LocalServer:
    """One server, of a recipe, with its data in `folder`.

    - It is a child process in a session of its own: Ctrl-C in the terminal does not reach it, `stop` ends it cleanly.
    - When the process that started it was killed, the server lives on; the next `start` takes it over.
    - While another living process owns it, `start` joins as a guest, and a guest's `stop` leaves it running.
    """

    def __init__(self, recipe: Recipe, folder: Path, *, tell: Tell = lambda _: None) -> None:
        self.folder = folder.absolute()
        self._recipe = recipe
        self._tell = tell
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def name(self) -> str:
        return self._recipe.name

    @property
    def address(self) -> str:
        """Where clients find it; the same after each start on this folder."""
        return self._recipe.address(self.ports)

    @property
    def ports(self) -> Ports:
        """Its ports by their names: those of the last start, or free ones."""
        file = self.folder / "ports.json"
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(dict(zip(self._recipe.ports, free_ports(len(self._recipe.ports)), strict=True))))
        found: dict[str, int] = json.loads(file.read_text())
        return found

    @property
    def pid(self) -> int | None:
        """Its process, while it runs."""
        if self._process is not None:
            return self._process.pid if self._process.poll() is None else None
        try:
            pid = int((self.folder / "pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if runs_in(pid, self.folder) else None

    def look(self) -> None:
        """Raise what is missing to start it; nothing is fetched."""
        self._recipe.look()

    def start(self) -> Self:
        """Return when clients get an answer: from a new process, or from one that runs on this folder already."""
        try:
            return self._begin()
        except OSError as error:
            raise BusError(
                f"{self.name} cannot be started: {error}", safe="What was there is untouched.", code="ServerFailed",
                remedy=f"See that this user can write to {self.folder}, and that the disk has room.",
            ) from error  # fmt: skip

    def _begin(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._own():
            self._wait()
            return self
        try:
            if self.pid is None:
                self._launch()
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End it cleanly, or after `STOP_PATIENCE` by force. Again is harmless."""
        if self._lock is None:
            return
        if not self._end(signal.SIGTERM, STOP_PATIENCE):
            self._end(signal.SIGKILL, STOP_PATIENCE)
        self._gone()
        os.close(self._lock)
        self._lock = None

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL); `start` begins it again on the same data and ports."""
        self._end(signal.SIGKILL, STOP_PATIENCE)
        self._gone()

    def _own(self) -> bool:
        if self._lock is None:
            self._lock = owned(self.folder / "owner")
        return self._lock is not None

    def _launch(self) -> None:
        self._recipe.find(self._tell)
        self._recipe.tidy(self.folder)
        self._tell(f"Starting {self._recipe.name}; it says what it does in {self.folder / 'log'}.")
        launch = self._recipe.prepare(self.folder, self.ports)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                list(launch.command), env={**os.environ, **launch.env}, cwd=self.folder, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        (self.folder / "pid").write_text(str(self._process.pid))

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._answers():
            if self._lock is not None and self.pid is None:
                raise self._failure("did not start")
            if time.monotonic() > deadline:
                raise self._failure(f"gave no answer within {PATIENCE:.0f} s")
            time.sleep(0.05)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self._recipe.ready(self.ports)
        return False

    def _failure(self, what: str) -> BusError:
        file = self.folder / "log"
        said = file.read_text(errors="replace").splitlines() if file.exists() else []
        reason = next((line for line in reversed(said) if "ERROR" in line or "rror:" in line), "".join(said[-1:]))
        return BusError(
            f"{self._recipe.name} {what}: {reason.strip()[:300] or 'it said nothing'}",
            safe="Its data is untouched.",
            remedy=f"See {file}. A port that is taken (ports.json beside it) is chosen anew once that file is removed.",
            code="ServerFailed",
        )

    def _end(self, sign: signal.Signals, patience: float) -> bool:
        """Signal it and all that it started; True once it has gone."""
        pid = self.pid
        if pid is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if sign is signal.SIGKILL else os.kill)(pid, sign)
        deadline = time.monotonic() + patience
        while self.pid is not None and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.pid is None

    def _gone(self) -> None:
        self._process = None
        (self.folder / "pid").unlink(missing_ok=True)
        self._recipe.tidy(self.folder)


def missing(what: str, remedy: str) -> BusError:
    """The error of a server whose programs are not there."""
    return BusError(what, safe="Nothing was started.", remedy=remedy, code=MISSING)
