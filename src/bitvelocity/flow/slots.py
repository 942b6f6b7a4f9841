"""The project's slot, judged by the project's own thresholds."""

from __future__ import annotations

from ..capture import SlotHealth, Thresholds, slot_health
from .project import Project

MB = 1 << 20


def health_of_slot(project: Project, dsn: str) -> SlotHealth:
    """How the slot is doing, by what [capture] says of when to warn."""
    capture = project.settings.capture
    thresholds = Thresholds(
        warn_retained=capture.warn_retained_mb * MB,
        bad_retained=capture.bad_retained_mb * MB,
        warn_lag=capture.warn_lag_mb * MB,
        warn_left=capture.warn_left_mb * MB,
        bad_left=capture.bad_left_mb * MB,
    )
    return slot_health(dsn, capture.slot, thresholds=thresholds)
