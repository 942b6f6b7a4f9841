"""Tables in which an ALTER wrote values that the stream does not send are read again, by themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..capture.snapshots import Readings
from ..changes import Unsent
from ..contracts import EntitySpec
from ..lakehouse import Lake, fits, unsent_above
from .project import Project


class Healing:
    """Asks for readings of what a lake knows to be missing.

    What the entity does not know yet (a column that only bronze keeps, a type that it does not have) is held until it
    does, for a reading before would give silver nothing. All of it is held where nobody wants tables read
    by themselves (`[capture] heal_altered = false`). The book has what was taken up; after a kill the lake tells the rest.
    """

    def __init__(self, project: Project, lake: Lake, readings: Readings) -> None:
        self._lake, self._readings = lake, readings
        self._specs = {spec.name: spec for spec in project.specs if spec.key}
        self._wanted = project.settings.capture.heal_altered
        self._words: list[str] = []
        self._take(unsent_above(project.lake, readings.altered_to))

    def committed(self) -> None:
        """The lake has committed."""
        if self._lake.unsent:
            self._take(self._lake.unsent)

    def words(self) -> tuple[str, ...]:
        """What is to be said since the last call, for people."""
        words, self._words = tuple(self._words), []
        return words

    def _take(self, found: Sequence[Unsent]) -> None:
        due, held = [], []
        for each in (*self._readings.held, *found):
            if (spec := self._specs.get(each.entity)) is not None:
                ready, rest = _split(spec, each)
                due += ready
                held += rest
        if not self._wanted:
            due, held = [], [*due, *held]
        up_to = max((each.lsn for each in found), default=-1)
        self._readings.heal(due, held, up_to=up_to)
        self._words += [f"{each.entity} was altered: {each.why}. Rows not written since are read again." for each in due]


def _split(spec: EntitySpec, unsent: Unsent) -> tuple[list[Unsent], list[Unsent]]:
    """What the entity can take now, and what not yet."""
    good = {name: kind for name, kind in unsent.columns.items() if fits(spec, name, *kind)}
    late = {name: kind for name, kind in unsent.columns.items() if name not in good}
    if unsent.whole:
        ready = not any(name in spec.by_name for name in late)
        return ([unsent], []) if ready else ([], [unsent])
    return [replace(unsent, columns=good)] if good else [], [replace(unsent, columns=late)] if late else []
