"""The pipeline in a process of its own, which ends itself at a step when it is told to.

Processes are forked from a server that has imported everything: a matrix starts some hundred of them.
"""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.forked import FORKS

PATIENCE = 60.0
CARE = {"fold_rows": 1_000, "fold_rest": 0.0, "base_rows": 200, "roll_up": 6, "checkpoint_every": 3, "keep": 0.0}
"""So little that every kind of maintenance happens with little data."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The n-th time that a step has been done."""

    step: str
    passage: int = 1

    def __str__(self) -> str:
        return f"{self.step} {self.passage}"


class Fuse:
    """Counts the passages of one step, and burns at the last of them."""

    def __init__(self, moment: Moment | None) -> None:
        self._lock = threading.Lock()
        self.seen: set[str] = set()
        self.arm(moment)

    def arm(self, moment: Moment | None) -> None:
        with self._lock:
            self._step, self._left = (moment.step, moment.passage) if moment else ("", 0)

    def pass_(self, step: str) -> None:
        self.seen.add(step)
        if step == self._step:
            with self._lock:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)


def live(line: Connection, root: Path, moment: Moment | None, file_limit: int | None) -> None:
    """What the process does: supervise a pipeline, and listen to whoever holds the other end of the line."""
    from bitvelocity.flow import Database, open_project, supervise
    from bitvelocity.lakehouse import Care

    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    fuse, stop = Fuse(moment), threading.Event()
    threading.Thread(target=_listen, args=(line, fuse, stop), daemon=True).start()
    try:
        project = open_project(root)
        supervise(
            project,
            Database(project.settings.database.dsn),
            stop,
            trouble=lambda error, _: line.send(("trouble", str(error))),
            ready=lambda _: line.send(("ready", "")),
            care=Care(**CARE),  # type: ignore[arg-type]
            at=fuse.pass_,
        )
        line.send(("seen", sorted(fuse.seen)))
    except BaseException:
        line.send(("failed", traceback.format_exc()))
        os._exit(1)


def _listen(line: Connection, fuse: Fuse, stop: threading.Event) -> None:
    while True:
        try:
            word, moment = line.recv()
        except EOFError:
            os._exit(3)  # whoever started us is gone
        if word == "stop":
            stop.set()
        else:
            fuse.arm(moment)
            line.send(("armed", ""))


class Victim:
    """One process of the pipeline, from its start to its end."""

    def __init__(self, root: Path, *, moment: Moment | None = None, file_limit: int | None = None) -> None:
        self._line, far = FORKS.Pipe()
        self._process = FORKS.Process(target=live, args=(far, root, moment, file_limit))
        self._process.start()
        far.close()
        self.said: list[tuple[str, Any]] = []

    def wait_ready(self) -> None:
        """Until it has its snapshot, or has gone on where it stood."""
        self.wait_for("ready")

    def arm(self, moment: Moment) -> None:
        """From now on it ends itself at this moment."""
        self._line.send(("arm", moment))
        self.wait_for("armed")

    def wait_for(self, word: str) -> Any:
        """Until it says so; what it says of it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self._hear(0.2) and self.said[-1][0] == word:
                return self.said[-1][1]
            self.check()
        raise TimeoutError(f"no {word!r} came: {self.said}")

    def heard(self, word: str) -> list[Any]:
        """What it said of one thing up to now."""
        while self._hear(0):
            pass
        return [said for kind, said in self.said if kind == word]

    def check(self) -> None:
        """It must be alive."""
        if not self._process.is_alive():
            while self._hear(0):
                pass
            raise AssertionError(f"the pipeline ended with {self._process.exitcode}: {self.said}")

    def await_end(self) -> int | None:
        """Its exit status; negative is the signal that ended it, None that it lives on."""
        deadline = time.monotonic() + PATIENCE
        while self._process.is_alive() and time.monotonic() < deadline:
            self._hear(0.05)
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()
        self.await_end()
        self._line.close()

    def stop(self) -> int | None:
        """Its exit status, asked politely."""
        self._line.send(("stop", None))
        return self.await_end()

    def _hear(self, patience: float) -> bool:
        try:
            if not self._line.poll(patience):
                return False
            self.said.append(self._line.recv())
        except (EOFError, OSError):
            time.sleep(min(patience, 0.01))
            return False
        return True
