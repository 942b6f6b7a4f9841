"""What stands in the way of a sink beside the lake, for other processes: a small file, gone when it is over."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import BitVelocityError
from ..files import replace_file
from .project import Project


@dataclass(frozen=True, slots=True)
class Trouble:
    """The last error, when it was met for the first and for the last time, and how often since."""

    what: str
    code: str
    remedy: str | None
    since: float
    at: float
    times: int = 1
    again: float = 0.0
    """When a running pipeline tries it again, at the latest; 0: a version wrote this that did not tell."""

    def as_dict(self) -> dict[str, Any]:
        known = [name for name in ("since", "at", "again") if getattr(self, name)]
        moments = {"again": None} | {name: datetime.fromtimestamp(getattr(self, name), UTC).isoformat() for name in known}
        return {**asdict(self), **moments}


class Notice:
    """Kept by the pipeline for one sink. A process that finds one of a predecessor goes on with it."""

    def __init__(self, project: Project, sink: str) -> None:
        self._file = _file(project, sink)
        self._known = read_trouble(project, sink)

    def tell(self, error: BitVelocityError, pause: float) -> None:
        """It stands still, or still does; it is tried again after so many seconds."""
        now, known = time.time(), self._known
        since, times = (known.since, known.times + 1) if known else (now, 1)
        self._known = Trouble(error.what, error.code, error.remedy, since, now, times, now + pause)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self._file, json.dumps(asdict(self._known)), sync=False)

    def over(self) -> None:
        """It got through."""
        if self._known is not None:
            self._known = None
            self._file.unlink(missing_ok=True)


def read_trouble(project: Project, sink: str) -> Trouble | None:
    """What a pipeline told last of a sink; None: nothing is in its way."""
    with suppress(OSError, ValueError, TypeError):
        return Trouble(**json.loads(_file(project, sink).read_text()))
    return None


def _file(project: Project, sink: str) -> Path:
    return project.settings.state_folder / "sinks" / f"{sink.replace(' ', '-')}.trouble.json"


__all__ = ["Notice", "Trouble", "read_trouble"]
