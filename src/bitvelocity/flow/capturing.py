"""What a pipeline reads: the stream of its project, and tables beside it."""

from __future__ import annotations

from ..capture import Tuning, WalSource, feed_named
from ..capture.snapshots import WATERMARK, Readable, Readings
from ..changes import Passing, pass_by, within
from ..lakehouse import MARKER, Lake, Watermark
from .project import Project


def open_wal(
    project: Project, dsn: str, *, has_position: bool, start_lsn: int, detail: bool = False, at: Passing = pass_by
) -> WalSource:
    """The stream of the project's slot, tuned as its settings say. `detail`: with all that records for others tell."""
    settings = project.settings.capture
    return WalSource(
        dsn,
        slot=settings.slot,
        publication=settings.publication,
        spill=project.lake / ".spill",
        has_position=has_position,
        start_lsn=start_lsn,
        messages=(WATERMARK, MARKER),
        tuning=Tuning(
            feed=feed_named(settings.feed),
            behind=settings.backlog_mb << 20,
            failover=settings.failover or None,
            primary=settings.primary,
            silence=settings.silence_seconds,
            readers=1 if detail else settings.snapshot_readers,  # what records say of a snapshot's order is right so
            at=within(at, "capture"),
            detail=detail,
        ),
    )


def open_readings(project: Project, lake: Lake, last: Watermark | None, *, at: Passing) -> Readings:
    """What is read beside the stream. An entity that the lake did not know joins it."""
    settings = project.settings
    tables = {spec.name: Readable(spec.qualified, spec.key) for spec in project.specs}
    readings = Readings(project.lake, tables, unknown=lake.unknown, sync=settings.lake.sync, at=within(at, "snapshots"))
    if last is not None and settings.capture.snapshot != "never" and settings.capture.source == "postgres":
        known = {run.entity for run in readings.runs if run.kind == "joins"}
        for spec in project.specs:
            if f"bronze/{spec.name}" not in last.tables and spec.name not in known:
                readings.ask(spec.name, "joins")
    return readings
