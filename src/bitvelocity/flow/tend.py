"""Housekeeping in the source while a pipeline runs: partitions are made before their time comes, and old trails end."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..contracts.trail import trails_of
from ..errors import BitVelocityError
from ..oltp import ensure_partitions, expire_partitions
from .project import Project

EVERY_SECONDS = 3600.0


class Tender:
    """Makes missing partitions once an hour, and drops those of audit trails that are older than the entity's retention.

    The tables of the entities themselves keep all they have. A failure is told, and tried again the next hour.
    """

    def __init__(self, project: Project, trouble: Callable[[BitVelocityError, float], None]) -> None:
        self._trails = trails_of(project.specs)
        self._specs = [*(spec for spec in project.specs if spec.managed and spec.partition), *self._trails]
        self._trouble = trouble
        self._last = time.monotonic() - (EVERY_SECONDS if self._trails else 0)

    def tend(self, dsn: str) -> None:
        """Do what is due."""
        if not self._specs or time.monotonic() - self._last < EVERY_SECONDS:
            return
        self._last = time.monotonic()
        try:
            ensure_partitions(dsn, self._specs)
            expire_partitions(dsn, self._trails)
        except BitVelocityError as error:
            self._trouble(error, EVERY_SECONDS)
