"""Housekeeping in the source while a pipeline runs: partitions are made before their time comes."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import BitVelocityError
from ..oltp import ensure_partitions
from .project import Project

EVERY_SECONDS = 3600.0


class Tender:
    """Makes missing partitions once an hour; a failure is told and tried again the next hour."""

    def __init__(self, project: Project, trouble: Callable[[BitVelocityError, float], None]) -> None:
        self._specs = [spec for spec in project.specs if spec.managed and spec.partition]
        self._trouble = trouble
        self._last = time.monotonic()

    def tend(self, dsn: str) -> None:
        """Do what is due."""
        if not self._specs or time.monotonic() - self._last < EVERY_SECONDS:
            return
        self._last = time.monotonic()
        try:
            ensure_partitions(dsn, self._specs)
        except BitVelocityError as error:
            self._trouble(error, EVERY_SECONDS)
