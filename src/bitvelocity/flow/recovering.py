"""After the slot was lost: a new one, and what was missed without it."""

from __future__ import annotations

from ..capture import Identity, identify, slot_health, write_past
from ..capture.snapshots import Found, read_book
from ..changes import format_lsn
from ..errors import CaptureError
from ..lakehouse import read_watermark
from .beat import read_beat
from .database import Database
from .foreign import check_database
from .project import Project
from .run import Pipeline

_KEPT = "Nothing was touched."
_GAP = 1 << 30
"""WAL that we let the source write for nothing, at the most, so that what is brought in stands above what the lake has."""


def recover(project: Project, database: Database, *, force: bool = False, other_timeline: bool = False) -> tuple[Found, ...]:
    """Compare every table with silver and bring in what differs, as changes just below a new slot's beginning.

    Refused while the slot is good (unless `force`), and when the lake and the source are not of one history (unless
    `other_timeline`: then silver becomes what the source has, and bronze keeps what it was told).
    """
    _check_ready(project)
    with Pipeline(project) as pipeline:
        source, furthest = identify(database.dsn), pipeline.furthest
        parted = _has_parted(project, source, furthest)
        _check_need(project, database, force=force or parted)
        _check_history(project, source, furthest, forgive=other_timeline and parted)
        if source.end < furthest:
            write_past(database.dsn, furthest)
        return pipeline.recover(database.dsn)


def _has_parted(project: Project, source: Identity, furthest: int) -> bool:
    """Whether the lake has commits of a timeline that the source left before them."""
    known = read_book(project.lake).source
    return known is not None and known[0] == source.system and not source.knows(furthest, known[1])


def _check_ready(project: Project) -> None:
    check_database(project, "What was missed without a slot is found by asking the database.")
    if read_watermark(project.lake) is None:
        raise CaptureError(
            "The lake has nothing that could be recovered.", safe=_KEPT, remedy="bitvelocity up takes the first snapshot."
        )
    if read_beat(project) is not None:
        raise CaptureError("A pipeline runs for this project.", safe=_KEPT, remedy="Stop `bitvelocity up` first.")


def _check_need(project: Project, database: Database, *, force: bool) -> None:
    slot = slot_health(database.dsn, project.settings.capture.slot)
    good = slot.exists and slot.invalidation_reason is None and slot.wal_status != "lost"
    if good and not force and not read_book(project.lake).recovering:
        raise CaptureError(
            f'The replication slot "{slot.slot}" is good: nothing was lost that it should have kept.',
            safe=_KEPT,
            remedy="bitvelocity up goes on from it. If somebody made it anew by hand: bitvelocity recover --force.",
            code="SlotGood",
        )


def _check_history(project: Project, source: Identity, furthest: int, *, forgive: bool) -> None:
    """A difference of values can be healed; that the lake knows of what never happened here must be wanted."""
    known = read_book(project.lake).source
    if known is not None and known[0] != source.system:
        raise CaptureError(
            "The source is another database cluster than the one that the lake was filled from.",
            safe=_KEPT,
            remedy="Correct the DSN; or begin with a new lake for this source.",
            code="SourceForeign",
        )
    if source.end < furthest and (not forgive or furthest - source.end > _GAP):
        raise CaptureError(
            f"The lake is ahead of the source: the source's WAL ends at {format_lsn(source.end)}. Was it restored from a backup?",
            position=format_lsn(furthest),
            safe=_KEPT,
            remedy="Restore the lake to a point before that of the source; or begin with a new lake.",
            code="LakeAhead",
        )
    if known is not None and not source.knows(furthest, known[1]) and not forgive:
        raise CaptureError(
            f"The source is on timeline {source.timeline}, and the lake was filled from timeline {known[1]}.",
            safe=_KEPT,
            remedy="bitvelocity recover --other-timeline makes silver what the source has now. Bronze goes on to tell of changes that "
            "never happened here: if that must not be, restore the lake too, or begin with a new one.",
            code="OtherTimeline",
        )
