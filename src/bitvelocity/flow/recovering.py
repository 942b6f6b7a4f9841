"""After the slot was lost: a new one, and what was missed without it."""

from __future__ import annotations

from ..capture import Identity, identify, slot_health
from ..capture.snapshots import Found, read_book
from ..changes import format_lsn
from ..errors import CaptureError
from ..lakehouse import read_watermark
from .beat import read_beat
from .database import Database
from .project import Project
from .run import Pipeline

_KEPT = "Nothing was touched."


def recover(project: Project, database: Database, *, force: bool = False, other_timeline: bool = False) -> tuple[Found, ...]:
    """Compare every table with silver and bring in what differs, as changes just below a new slot's beginning.

    Refused while the slot is good (unless `force`), and when the lake and the source are not of one history.
    """
    _check_need(project, database, force=force)
    with Pipeline(project) as pipeline:
        _check_history(project, identify(database.dsn), pipeline.furthest, other_timeline=other_timeline)
        return pipeline.recover(database.dsn)


def _check_need(project: Project, database: Database, *, force: bool) -> None:
    if read_watermark(project.lake) is None:
        raise CaptureError(
            "The lake has nothing that could be recovered.", safe=_KEPT, remedy="bitvelocity up takes the first snapshot."
        )
    if read_beat(project) is not None:
        raise CaptureError("A pipeline runs for this project.", safe=_KEPT, remedy="Stop `bitvelocity up` first.")
    slot = slot_health(database.dsn, project.settings.capture.slot)
    good = slot.exists and slot.invalidation_reason is None and slot.wal_status != "lost"
    if good and not force and not read_book(project.lake).recovering:
        raise CaptureError(
            f'The replication slot "{slot.slot}" is good: nothing was lost that it should have kept.',
            safe=_KEPT,
            remedy="bitvelocity up goes on from it. If somebody made it anew by hand: bitvelocity recover --force.",
            code="SlotGood",
        )


def _check_history(project: Project, source: Identity, furthest: int, *, other_timeline: bool) -> None:
    """A difference of values can be healed; a lake that knows of what never happened here cannot."""
    known = read_book(project.lake).source
    if known is not None and known[0] != source.system:
        raise CaptureError(
            "The source is another database cluster than the one that the lake was filled from.",
            safe=_KEPT,
            remedy="Correct the DSN; or begin with a new lake for this source.",
            code="SourceForeign",
        )
    if source.end < furthest:
        raise CaptureError(
            f"The lake is ahead of the source: the source's WAL ends at {format_lsn(source.end)}. Was it restored from a backup?",
            position=format_lsn(furthest),
            safe=_KEPT,
            remedy="Restore the lake to a point before that of the source; or begin with a new lake.",
            code="LakeAhead",
        )
    if known is not None and known[1] != source.timeline and not other_timeline:
        raise CaptureError(
            f"The source is on timeline {source.timeline}, and the lake was filled from timeline {known[1]}.",
            safe=_KEPT,
            remedy="After a failover that lost nothing: bitvelocity recover --other-timeline. After a restore to an earlier point "
            "bronze tells of changes that never happened here: restore the lake too, or begin with a new one.",
            code="OtherTimeline",
        )
