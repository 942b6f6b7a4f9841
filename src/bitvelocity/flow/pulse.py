"""Heartbeats: a message written into the source now and then, and how long the lake takes to pass it."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable

from ..errors import BitVelocityError
from ..files import replace_file
from ..oltp import beat_once
from .project import Project

FILE = "pulse.json"


class Pulse:
    """Writes `bv.heartbeat` as often as [capture] says, and measures the way to the lake and back.

    The message is transactional: it waits in the source's commit order and comes out of the decoder as a row would. A
    failure is told and costs nothing else.
    """

    def __init__(self, project: Project, trouble: Callable[[BitVelocityError, float], None]) -> None:
        capture = project.settings.capture
        self._every, self._primary = capture.heartbeat_seconds, capture.primary
        self._trouble = trouble
        self._file = project.settings.state_folder / FILE
        self._last = float("-inf")
        self._under_way: deque[tuple[int, float]] = deque()
        self.seconds: float | None = None
        """How long the last one took that the lake has passed."""

    def beat(self, dsn: str) -> None:
        """Write one if it is time."""
        now = time.monotonic()
        if not self._every or now - self._last < self._every:
            return
        self._last = now
        try:
            self._under_way.append((beat_once(self._primary or dsn), now))
        except BitVelocityError as error:
            self._trouble(error, self._every)

    def note(self, seen: int) -> None:
        """The lake has all up to `seen`."""
        while self._under_way and self._under_way[0][0] <= seen:
            _, began = self._under_way.popleft()
            self.seconds = time.monotonic() - began
            self._write()

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, json.dumps({"at": time.time(), "seconds": self.seconds}), sync=False)


def read_pulse(project: Project) -> float | None:
    """Seconds that the last heartbeat took to pass the lake; None when none did, or when it is older than three more."""
    limit = 3 * project.settings.capture.heartbeat_seconds
    try:
        told = json.loads((project.settings.state_folder / FILE).read_text())
        return float(told["seconds"]) if time.time() - told["at"] <= limit else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
