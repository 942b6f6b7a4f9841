"""Sinks beside the lake: fed with it while they are level, from bronze while they are not."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ..changes import Batch, ChangeSet, Mark, Passing, Receipt, Sink, pass_by
from ..contracts import EntitySpec
from ..errors import BitVelocityError
from ..lakehouse import LakeReader, Watermark, replay
from ..oltp import TrailSink
from .hindrance import Notice
from .outlets import outlets_of
from .project import Project

FIRST_RETRY_SECONDS, RETRY_SECONDS = 1.0, 30.0
"""What failed is tried again after about the first, then after twice as long each time, up to the second."""
SLICE_SECONDS = 1.0
"""Catching up lets the pipeline go on this often."""
PACE_SECONDS = 0.25
"""A level sink commits this often at most, since each commit has a price. What a crash takes comes again from bronze."""
PACE_ROWS = 5_000
"""Or when it was given so many rows."""
FRESH_SECONDS = 120.0
"""A reader older than this is opened anew: the lake keeps files that it has replaced for ten minutes only."""


class Follower(Sink, Protocol):
    """A sink that can be fed from bronze, since every position of it can be had again there."""

    @property
    def name(self) -> str: ...

    @property
    def specs(self) -> Sequence[EntitySpec]:
        """What it wants to see."""
        ...

    @property
    def waits(self) -> bool:
        """It is fed from bronze until a lake's first snapshot is published."""
        ...

    def connect(self, dsn: str) -> None:
        """The source, and with it perhaps the target, is here now."""
        ...

    def level(self, lsn: int) -> None:
        """It has been given all that there is up to here."""
        ...

    def answers(self) -> bool:
        """Whether its target could not be reached, and now can: then it is not waited any longer. Waits for nothing."""
        ...


def followers_of(project: Project, at: Passing = pass_by) -> list[Follower]:
    """Those that the project's entities and routes ask for."""
    trail = TrailSink(project.specs)
    return [*([trail] if trail.specs else []), *outlets_of(project, at)]


class Followers:
    """All sinks beside the lake, under one rule: the source may forget what each of them has, or can have from bronze.

    One that fails stops nothing else. What went wrong is told, and it is tried again, from bronze: after a second, then after twice as
    long each time up to half a minute; at once when its target answers again.
    """

    def __init__(self, project: Project, sinks: Sequence[Follower]) -> None:
        self._all = [_Followed(project, sink) for sink in sinks]

    @property
    def error(self) -> BitVelocityError | None:
        """Why one of them stands still."""
        return next((each.error for each in self._all if each.error), None)

    def connect(self, dsn: str) -> None:
        """The stream begins again: what the lake has published comes from bronze, all else from the stream."""
        for each in self._all:
            each.connect(dsn)

    def stage(self, batch: Batch) -> None:
        for each in self._all:
            each.stage(batch)

    def commit(self, mark: Mark) -> tuple[Receipt, ...]:
        """After the lake's own commit, before the source is told that it may forget."""
        receipts = [each.commit(mark) for each in self._all]
        return tuple(receipt for receipt in receipts if receipt is not None)

    def tend(self, published: Watermark | None) -> None:
        """Commit what is due; bring those that are behind nearer to the lake, for about a second."""
        for each in self._all:
            each.tend(published)

    def finish(self) -> None:
        """Commit what waits for its time."""
        for each in self._all:
            each.flush()

    def close(self) -> None:
        for each in self._all:
            each.close()


class _Followed:
    """One sink: level, behind, or in trouble."""

    def __init__(self, project: Project, sink: Follower) -> None:
        self._project, self._sink = project, sink
        self._level = False
        self._fed = -1
        """Highest mark that it was not given, being behind."""
        self._waiting: Mark | None = None
        """What it was given and has not committed."""
        self._rows, self._committed = 0, 0.0
        self._relations = {spec.qualified for spec in sink.specs}
        self._dsn: str | None = None
        self._reader: LakeReader | None = None
        self._sets: Iterator[ChangeSet] = iter(())
        self._opened = self._again = 0.0
        self._tries = 0
        """That failed, one after the other."""
        self._notice = Notice(project, sink.name)
        self.error: BitVelocityError | None = None

    def connect(self, dsn: str) -> None:
        self._stop_reading()
        self._level, self._fed, self._dsn, self._waiting = False, -1, dsn, None
        self._try(lambda: self._sink.connect(dsn))

    def stage(self, batch: Batch) -> None:
        if self._level and batch.relation in self._relations:
            self._rows += batch.data.num_rows
            self._try(lambda: self._sink.stage(batch))

    def commit(self, mark: Mark) -> Receipt | None:
        if not self._level:
            self._fed = max(self._fed, mark.lsn)
            return None
        if self._rows:
            self._waiting = mark
        return self.flush() if self._is_due else None

    @property
    def _is_due(self) -> bool:
        return self._rows >= PACE_ROWS or time.monotonic() - self._committed >= PACE_SECONDS

    def flush(self) -> Receipt | None:
        """Commit what waits."""
        mark = self._waiting
        if mark is None or not self._level:
            return None
        receipts: list[Receipt] = []
        if self._try(lambda: receipts.append(self._sink.commit(mark))):
            self._waiting, self._rows, self._committed = None, 0, time.monotonic()
            self._over()
        return receipts[0] if receipts else None

    def tend(self, published: Watermark | None) -> None:
        if self._level and self._is_due:
            self.flush()
        if self._level or (self.error and time.monotonic() < self._again and not self._sink.answers()):
            return
        if self.error and self._dsn is not None and not self._try(lambda: self._sink.connect(self._dsn or "")):
            return
        self.error = None
        if published is None:
            self._level = not self._sink.waits
        else:
            self._try(lambda: self._read_on(published))

    def close(self) -> None:
        self._stop_reading()
        self._sink.close()

    def _read_on(self, published: Watermark) -> None:
        until = time.monotonic() + SLICE_SECONDS
        if self._reader is None or time.monotonic() - self._opened > FRESH_SECONDS:
            self._begin_reading()
        for change_set in self._sets:
            for batch in change_set:
                self._sink.stage(batch)
            self._sink.commit(change_set.mark)
            if time.monotonic() > until:
                return
        read = self._reader.watermark if self._reader else None
        self._stop_reading()
        if read is not None and read.position >= max(self._fed, published.position):
            self._sink.level(read.position)
            self._level = True
            self._over()

    def _begin_reading(self) -> None:
        self._stop_reading()
        self._sink.rollback()
        self._reader, self._opened = LakeReader(self._project.lake, self._sink.specs), time.monotonic()
        self._reader.refresh()
        self._sets = replay(self._reader, self._sink.specs, above=self._sink.position())

    def _stop_reading(self) -> None:
        self._sets = iter(())
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _try(self, work: Callable[[], object]) -> bool:
        """Run it; a lost connection is the supervisor's business, all else stops this sink only."""
        try:
            work()
        except BitVelocityError as error:
            self._level, self._rows = False, 0
            if self._waiting is not None:
                self._fed, self._waiting = max(self._fed, self._waiting.lsn), None
            self._stop_reading()
            if error.retry == "itself":
                raise
            pause = min(RETRY_SECONDS, FIRST_RETRY_SECONDS * 2**self._tries) * random.uniform(0.75, 1.0)  # noqa: S311
            self.error, self._again, self._tries = error, time.monotonic() + pause, min(self._tries + 1, 10)
            self._notice.tell(error, pause)
            return False
        return True

    def _over(self) -> None:
        """It got through."""
        self._tries = 0
        self._notice.over()
