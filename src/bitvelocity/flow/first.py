"""A first snapshot that is too large to lose: it is kept in parts, and goes on after a stop."""

from __future__ import annotations

from ..capture.snapshots import Readings, SnapshotSet, parts_from, parts_told
from ..changes import ChangeSet, Mark
from ..lakehouse import Lake

PART_ROWS = 500_000
PART_BATCHES = 32
"""Of about 8 MB."""


class FirstSnapshot:
    """Where the first snapshot of a lake stands.

    An exported snapshot dies with its connection, so what it had not read cannot be read as of then. It is read beside
    the stream, which begins where the snapshot stood; readers see nothing before all of it is there, and the source forgets
    nothing. What was read and is not in the book yet is read again: silver does not mind, bronze has the row's read twice.
    """

    def __init__(self, lake: Lake, readings: Readings) -> None:
        self._lake, self._readings = lake, readings
        self._rows = self._batches = 0
        self._unpublished: Mark | None = None

    @property
    def begun(self) -> bool:
        """Parts of it are in the lake, and it was not published yet."""
        return self._readings.first is not None

    def keep(self, change_set: ChangeSet, rows: int) -> None:
        """Called with each batch and the rows so far: now and then what was staged is made durable, then told."""
        self._batches += 1
        if (rows - self._rows < PART_ROWS and self._batches < PART_BATCHES) or not isinstance(change_set, SnapshotSet):
            return
        told = {name: parts_told(parts) for name, parts in change_set.progress.items()}
        self._lake.parts.keep()
        self._readings.tell_first({"lsn": change_set.mark.lsn, "parts": told})
        self._rows, self._batches = rows, 0

    def kept(self, lsn: int) -> None:
        """All rows are staged: the last part, if there were any."""
        if self.begun:
            self._lake.parts.keep()
            self._lake.parts.end(lsn)

    def go_on(self) -> None:
        """Ask for what the book does not know of. Done again after a kill in the middle, it asks for nothing twice."""
        first = self._readings.first or {}
        self._lake.parts.end(int(first["lsn"]))
        asked = {run.relation for run in self._readings.runs if run.kind == "first"}
        for relation, told in first["parts"].items():
            parts = parts_from(told)
            if relation not in asked and not all(part.done for part in parts):
                self._readings.ask_relation(relation, "first", parts=parts)

    def holds(self, mark: Mark) -> bool:
        """Whether readers must wait although the lake stands at `mark`."""
        if self.begun and self._readings.holds:
            self._unpublished = mark
            return True
        return False

    def whole(self, seen: int, horizon: int) -> Mark | None:
        """Where the lake stands when it is whole, and no change set has come that could be published with it."""
        first = self._readings.first
        if first is None or self._readings.holds:
            return None
        mark = self._unpublished or Mark(int(first["lsn"]), int(first["lsn"]) + 1)
        if max(mark.lsn, seen) < horizon:
            return None
        return Mark(max(mark.lsn, horizon), max(mark.resume, seen), mark.committed_at)

    def ended(self) -> None:
        """It is published."""
        if self.begun:
            self._readings.tell_first(None)

    def give_up(self) -> None:
        """The slot that it stood on is gone: begin anew."""
        self._lake.parts.begin_anew()
        self._readings.give_up_first()
