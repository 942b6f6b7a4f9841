"""Housekeeping in the source while a pipeline runs: partitions are made before their time comes, and old trails end."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..contracts.trail import trails_of
from ..errors import BitVelocityError
from ..oltp import ensure_partitions, expire_partitions
from .project import Project

EVERY_SECONDS = 3600.0
FIRST_PAUSE = 5.0

_Clock = Callable[[], float]


class Tender:
    """Makes missing partitions once an hour, and drops those of audit trails that are older than the entity's retention.

    The tables of the entities themselves keep all they have. A failure (a lost connection, a lock that somebody holds) is
    told, and tried again after some seconds, then after twice as long each time, up to an hour.
    """

    def __init__(
        self, project: Project, trouble: Callable[[BitVelocityError, float], None], *, clock: _Clock = time.monotonic
    ) -> None:
        self._trails = trails_of(project.specs)
        self._specs = [*(spec for spec in project.specs if spec.managed and spec.partition), *self._trails]
        self._trouble, self._clock = trouble, clock
        self._due = clock() + (0 if self._trails else EVERY_SECONDS)
        self._pause = FIRST_PAUSE

    def tend(self, dsn: str) -> None:
        """Do what is due."""
        if not self._specs or self._clock() < self._due:
            return
        try:
            ensure_partitions(dsn, self._specs)
            expire_partitions(dsn, self._trails)
        except BitVelocityError as error:
            self._due = self._clock() + self._pause
            self._trouble(error, self._pause)
            self._pause = min(self._pause * 2, EVERY_SECONDS)
        else:
            self._due, self._pause = self._clock() + EVERY_SECONDS, FIRST_PAUSE
