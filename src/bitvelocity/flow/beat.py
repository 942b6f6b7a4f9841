"""What a running `up` tells other processes: a small file, renewed each second."""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..files import replace_file
from .database import Database
from .project import Project
from .routes import routes_of, topics_shown
from .run import Step

EVERY_SECONDS = 1.0
WINDOW_SECONDS = 30.0


class Heartbeat:
    """Counts the steps of a pipeline, and writes them to `.bitvelocity/up.json` each second in which they say anything new."""

    def __init__(self, project: Project, database: Database) -> None:
        self._project, self._database = project, database
        self._started = time.time()
        self._rows = self._transactions = 0
        self._recent: deque[tuple[float, int]] = deque()
        self._last: dict[str, Any] = {"step_seconds": None, "gold": {}}
        self._lock = threading.Lock()
        self._cleared = threading.Event()
        self._writer = threading.Thread(target=self._keep_writing, name="heartbeat", daemon=True)

    def note(self, step: Step) -> None:
        """Count a step."""
        with self._lock:
            self._rows += step.mark.rows
            self._transactions += step.mark.transactions
            self._recent.append((time.time(), step.mark.rows))
            gold = dict(step.gold.strategies) if step.gold else {}
            self._last = {"step_seconds": round(step.seconds, 4), "gold": gold}

    def begin(self) -> None:
        """The pipeline has started: others now wait for it instead of starting one of their own."""
        self._write()
        if not self._writer.is_alive():
            self._writer.start()

    def served(self) -> dict[str, str]:
        """What a newcomer may connect to."""
        settings = self._project.settings
        server = self._database.server
        source = f"psql '{server.tcp_dsn}'" if server else "your database"
        if settings.capture.source != "postgres":
            source = f"Debezium's topics {settings.capture.topics}.*"
        topics = topics_shown(routes_of(settings, self._project.specs))
        return {
            "source": source,
            "slot": settings.capture.slot,
            "lake": str(self._project.lake),
            "entities": ", ".join(spec.name for spec in self._project.specs),
            "gold": ", ".join(model.name for model in self._project.models) or "none",
            **({"topics": topics} if topics else {}),
        }

    def clear(self) -> None:
        """The pipeline has stopped in good order."""
        self._cleared.set()
        if self._writer.is_alive():
            self._writer.join()
        _file(self._project).unlink(missing_ok=True)

    def _keep_writing(self) -> None:
        """A thread of its own: behind the last step of a burst there is no other one that would tell of it."""
        while not self._cleared.wait(EVERY_SECONDS):
            with suppress(OSError):  # a disk that is full stops the pipeline, with better words
                if self._recent:
                    self._write()

    def _write(self) -> None:
        file = _file(self._project)
        file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, json.dumps(self._told(time.time())), sync=False)

    def _told(self, now: float) -> dict[str, Any]:
        with self._lock:
            while self._recent and now - self._recent[0][0] > WINDOW_SECONDS:
                self._recent.popleft()
            window = min(WINDOW_SECONDS, max(1.0, now - self._started))
            return {
                "pid": os.getpid(),
                "born": _born(os.getpid()),
                "started_at": self._started,
                "at": now,
                "rows": self._rows,
                "transactions": self._transactions,
                "rows_per_second": round(sum(rows for _, rows in self._recent) / window, 1),
                **self._last,
            }


def read_beat(project: Project) -> dict[str, Any] | None:
    """The last heartbeat of a pipeline that is still running, else None."""
    try:
        beat: dict[str, Any] = json.loads(_file(project).read_text())
        os.kill(int(beat["pid"]), 0)
        same = _born(int(beat["pid"])) == beat["born"]
    except (OSError, ValueError, KeyError):
        return None
    return beat if same else None


def _born(pid: int) -> str | None:
    """When a living process began, where /proc can tell: ids are used again, and a zombie keeps its own."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else facts[18]


def _file(project: Project) -> Path:
    return project.settings.state_folder / "up.json"
