"""What readers see: the watermark that was published last, and when it is due again."""

from __future__ import annotations

import time

from ..capture.snapshots import Readings
from ..changes import Mark, Passing
from ..lakehouse import Lake, Watermark, publish
from .golden import GoldFollower
from .project import Project

IDLE_PUBLISH_SECONDS = 1.0


class Sight:
    """Names the tables of the lake and of gold for readers, all at once, without those that are hidden as yet."""

    def __init__(self, project: Project, lake: Lake, gold: GoldFollower, readings: Readings, *, at: Passing) -> None:
        self._project, self._lake, self._gold, self._readings, self._at = project, lake, gold, readings, at
        self.last: Watermark | None = lake.watermark
        """What readers see now."""
        self._published_at = 0.0
        self._hidden: frozenset[str] = frozenset()

    @property
    def hides_else(self) -> bool:
        """What is hidden has changed since it was published."""
        return self._hidden != self._readings.hidden

    @property
    def idle(self) -> bool:
        """The last one is old enough for one that tells of nothing but silence."""
        return time.monotonic() - self._published_at > IDLE_PUBLISH_SECONDS

    def publish(self, mark: Mark, seen: int) -> None:
        """Let readers see all up to `mark`; gold is built first, if that shows it an entity that was hidden."""
        self._hidden = self._readings.hidden
        self._gold.show(mark.lsn, self._hidden)
        self.last = Watermark(
            position=mark.lsn,
            resume=mark.resume,
            seen=seen,
            committed_at=mark.committed_at,
            published_at=time.time_ns() // 1000,
            tables={**self._gold_before(), **self._lake.versions(self._hidden), **self._gold.versions},
            gold_position=self._gold.lsn,
        )
        publish(self._project.lake, self.last, sync=self._project.settings.lake.sync, at=self._at)
        self._published_at = time.monotonic()
        self._at("published")

    def publish_again(self, last: Watermark, seen: int) -> None:
        """The same position once more: gold has caught up, or the silence reaches further."""
        self.publish(Mark(last.position, max(last.resume, seen), last.committed_at), seen)

    def _gold_before(self) -> dict[str, int]:
        """Gold as it was published last: it stays in sight until it is built again."""
        known = self.last.tables if self.last else {}
        return {name: version for name, version in known.items() if name.startswith("gold/")}


def unseen_before(project: Project, last: Watermark | None) -> frozenset[str]:
    """Entities that readers did not see so far."""
    known = last.tables if last else None
    keyed = (spec.name for spec in project.specs if spec.key)
    return frozenset(name for name in keyed if known is not None and f"silver/{name}" not in known)
