"""Wait until the lake has passed a point of the source."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..capture.snapshots import Run, read_book
from ..changes import format_lsn
from ..errors import BitVelocityError, CaptureError
from ..lakehouse import Watermark, read_watermark
from .beat import read_beat
from .companion import Check, beside
from .database import Database
from .project import Project
from .renewal import renew_silver
from .run import Listener
from .supervisor import supervise

POLL_SECONDS = 0.02
STALL_SECONDS = 120.0


@contextmanager
def flowing(project: Project, database: Database, listener: Listener | None = None) -> Iterator[Check]:
    """A pipeline runs: the one of a running `up`, or one of our own for as long as this lasts.

    Yields a check that raises what stopped the pipeline, so that whoever waits does not wait in vain.
    """
    if read_beat(project) is not None:
        yield lambda: None
        return

    def work(stop: threading.Event) -> None:
        renew_silver(project)
        supervise(project, database, stop, listener=listener)

    with beside("pipeline", work) as check:
        yield check
    check()


def wait_until(project: Project, lsn: int, check: Check) -> Watermark:
    """Return the first watermark that has passed `lsn` with gold level; fail when nothing moves for two minutes."""
    last, moved = None, time.monotonic()
    while True:
        check()
        mark = read_watermark(project.lake)
        if mark is not None and max(mark.position, mark.seen) >= lsn and mark.gold_position >= mark.position:
            return mark
        if mark != last:
            last, moved = mark, time.monotonic()
        if time.monotonic() - moved > STALL_SECONDS:
            raise _stalled(mark, lsn)
        time.sleep(POLL_SECONDS)


def wait_for_new_tables(project: Project, check: Check) -> None:
    """Return when every table that joins, or was altered, is read to its end: before, readers do not see all of it."""
    while True:
        check()
        joining = [run for run in read_book(project.lake).runs if _awaited(run)]
        for run in joining:
            if run.state in ("paused", "failed"):
                raise CaptureError(
                    f"The table {'is new' if run.kind == 'joins' else 'was altered'}, and its reading {'failed' if run.state == 'failed' else 'is paused'}.",
                    entity=run.entity,
                    safe="Its changes are kept; the other tables go on.",
                    remedy=f"bitvelocity snapshot status says more; then bitvelocity snapshot resume {run.entity}.",
                )
        if not joining:
            return
        time.sleep(POLL_SECONDS)


def read_since(project: Project, moment: float) -> bool:
    """Whether a table that was altered is read, or was read to its end after a moment."""
    runs = [run for run in read_book(project.lake).runs if run.kind == "altered"]
    return any(run.open or (run.ended_at or 0.0) > moment for run in runs)


def _awaited(run: Run) -> bool:
    return (run.kind == "joins" and run.state != "done") or (run.kind == "altered" and run.open)


def _stalled(mark: Watermark | None, lsn: int) -> BitVelocityError:
    at = format_lsn(mark.position) if mark else "the very beginning"
    return CaptureError(
        f"The lake stands at {at} and does not reach {format_lsn(lsn)}.",
        safe="The source keeps what the lake does not have yet.",
        remedy="Look at bitvelocity status and bitvelocity doctor.",
    )
