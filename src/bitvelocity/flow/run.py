"""The spine: poll the source, give each change set to the lake and to gold, publish, let the source forget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from ..capture import check_history, identify
from ..capture.snapshots import DifferenceSet, Found, read_book
from ..changes import ChangeSet, Mark, Passing, Receipt, is_table, pass_by, within
from ..errors import BitVelocityError, CaptureError
from ..lakehouse import Care, GoldReceipt, Lake, Watermark
from .capturing import open_readings
from .carrying import read_records
from .first import FirstSnapshot
from .followers import Follower, Followers, followers_of
from .golden import GoldFollower
from .healing import Healing
from .origins import Origin, open_origin
from .project import Project
from .redelivery import Redelivery
from .sight import Sight, unseen_before

SMALL_SET_ROWS = 5_000
LOST = ("SlotGone", "SlotInvalid")


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit boundary brought: for status, progress and metrics."""

    mark: Mark
    lake: Receipt
    gold: GoldReceipt | None
    seconds: float
    snapshot: bool = False
    sinks: tuple[Receipt, ...] = ()
    """Of the sinks beside the lake that were level."""
    words: tuple[str, ...] = ()
    """What a person may want to know of it."""


Listener = Callable[[Step], None]


class Pipeline:
    """One project's flow from its source to gold; one thread, one writer.

    Each step, in this order:
    1. take a change set (everything committed since the last one);
    2. bronze and silver: one synced commit per table, rows and position together;
    3. gold: the groups that the changes touch (in a backlog: every two seconds);
    4. publish the watermark: readers see all tables of a transaction or none;
    5. the other sinks (`sinks`; default: those that the entities ask for), each with a commit of its own;
    6. confirm to the source, which may now forget.
    A crash between any two of them repeats from the last confirmed point, and every table drops what it has.
    """

    def __init__(
        self,
        project: Project,
        listener: Listener | None = None,
        *,
        sinks: Sequence[Follower] | None = None,
        care: Care | None = None,
        at: Passing = pass_by,
    ) -> None:
        self._project = project
        self._at = at
        self._listener = listener or (lambda _: None)
        self._lake = Lake(
            project.lake,
            project.specs,
            sync=project.settings.lake.sync,
            care=care or Care(),
            at=at,
            begun=read_book(project.lake).first is not None,
        )
        self._followers = Followers(project, followers_of(project, at) if sinks is None else sinks)
        self._readings = open_readings(project, self._lake, self._lake.watermark, at=at)
        self._healing = Healing(project, self._lake, self._readings)
        unseen = unseen_before(project, self._lake.watermark)
        self._gold = GoldFollower(project, hidden=unseen, care=care, at=within(at, "gold"))
        self._sight = Sight(project, self._lake, self._gold, self._readings, at=at)
        self._first = FirstSnapshot(self._lake, self._readings)
        self._redelivery = Redelivery(project, self._lake, lambda topic, records: read_records(project, topic, records), at=within(at, "redelivery"))
        self._open: Origin | None = None

    @property
    def _source(self) -> Origin:
        if self._open is None:
            raise CaptureError("The pipeline is not connected.", remedy="Call connect(dsn) first.")
        return self._open

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def watermark(self) -> Watermark | None:
        """What readers see now."""
        return self._sight.last

    @property
    def trouble(self) -> BitVelocityError | None:
        """Why gold, or another sink, stands still while the lake goes on."""
        return self._gold.error or self._followers.error

    @property
    def streamed(self) -> int:
        """Large transactions that came ahead of their commit since the last connection."""
        return self._source.streamed

    def connect(self, dsn: str) -> None:
        """Read from `dsn`, for the first time or again: what was staged is forgotten and will come again."""
        self._disconnect()
        settings = self._project.settings.capture
        goes_on = self._sight.last is None and self._first.begun
        known = (self._sight.last is not None or goes_on or settings.snapshot == "never") and not self._readings.recovering
        try:
            self._open = self._open_source(dsn, has_position=known)
        except CaptureError as error:
            if not goes_on or error.code not in LOST:
                raise
            self._first.give_up()
            self._open = self._open_source(dsn, has_position=False)
        if settings.source != "postgres":  # what is read beside the stream, and written, needs the database
            return
        identity = identify(dsn)
        aside = settings.primary if identity.standby else ""
        self._readings.connect(aside or dsn, slot=settings.slot, publication=settings.publication, aside=bool(aside))
        self._followers.connect(dsn)
        check_history(identity, self.furthest, self._readings.source)
        self._readings.tell_source(identity)

    def _open_source(self, dsn: str, *, has_position: bool) -> Origin:
        return open_origin(
            self._project,
            dsn,
            self._lake,
            has_position=has_position,
            position=self._sight.last.position if self._sight.last else -1,
            recovering=self._readings.recovering,
            at=self._at,
        )

    def _disconnect(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
        self._lake.rollback()

    def start(self) -> None:
        """Bring gold to silver's position and take the initial snapshot when there is none yet."""
        if self._readings.recovering:
            self._recover()
            return
        if self._sight.last is not None:
            self._first.ended()
            self._rebuild_gold(self._sight.last)
            self._followers.tend(self._sight.last)
            self._redeliver(self._sight.last)
            return
        self._followers.tend(None)
        if self._first.begun:
            self._first.go_on()
            return
        for change_set in self._source.snapshot():
            self._apply(change_set, snapshot=True)
        if self._sight.last is None:
            self._gold.build(-1)

    def _rebuild_gold(self, last: Watermark) -> None:
        """Readers must hear of it at once: in a quiet database nothing else comes that would tell them."""
        if not self._gold.show(last.position, self._readings.hidden):
            self._gold.build(last.position)
        shown = self._gold.lsn == last.gold_position and self._gold.versions.items() <= last.tables.items()
        if not shown and self._gold.error is None and last.position >= self._lake.horizon:
            self._sight.publish_again(last, last.seen)

    def recover(self, dsn: str) -> tuple[Found, ...]:
        """Make a new slot and bring in what was missed without one. Killed at any moment, the next start goes on with it.

        The position of what is brought in is just below the new slot's beginning, as that of a first snapshot is.
        """
        self._readings.tell_recovering(recovering=True)
        self.connect(dsn)
        return self._recover()

    def _recover(self) -> tuple[Found, ...]:
        found: list[Found] = []
        with closing(self._lake.twin()) as twin:
            for change_set in self._source.snapshot(twin):
                self._apply(change_set, snapshot=True)
                found += change_set.found if isinstance(change_set, DifferenceSet) else ()
        self._readings.tell_recovering(recovering=False)
        return tuple(found)

    @property
    def seen(self) -> int:
        """Up to here nothing of the source is missing, silence included; all of it was applied when `step` came back."""
        return self._open.seen if self._open is not None else 0

    @property
    def furthest(self) -> int:
        """The highest position that any table of the lake has."""
        return max(self._lake.horizon, self._lake.position())

    def step(self, timeout: float) -> int:
        """Apply what committed since the last step, waiting up to `timeout` seconds for it; rows applied."""
        self._followers.tend(self._sight.last)
        rows, until = 0, time.monotonic() + timeout
        self._readings.tend()
        if self._sight.last is not None and self._sight.last.position >= self._lake.horizon:
            self._redeliver(self._sight.last)
        for change_set in self._source.tail(timeout):
            began = time.monotonic()
            taken = self._apply(change_set)
            rows += taken
            self._readings.tend()
            self._linger(began, taken)
            if time.monotonic() > until:
                break
        self._idle(rows)
        return rows

    def finish(self) -> None:
        """Bring gold and the other sinks to where silver stands, so that a stop in good order leaves both at one position."""
        last = self._sight.last
        self._followers.finish()
        if self._gold.waiting and last is not None and last.position >= self._lake.horizon:
            self._gold.follow(last.position)
            self._sight.publish_again(last, last.seen)

    def close(self) -> None:
        """Stop; whatever was not published comes again at the next start."""
        self._disconnect()
        self._readings.close()
        self._followers.close()
        self._gold.close()
        self._lake.close()

    def _apply(self, change_set: ChangeSet, *, snapshot: bool = False) -> int:
        began = time.monotonic()
        self._at("set taken")
        mark = self._stage(change_set, snapshot=snapshot)
        self._at("set staged")
        receipt = self._lake.commit(mark)
        self._at("lake committed")
        self._readings.committed()
        self._healing.committed()
        if mark.lsn < self._lake.horizon:  # a repeat after a crash, and not at its end yet
            self._gold.note(self._lake.last_changes, mark.rows)
            self._followers.commit(mark)
            return mark.rows
        if self._first.holds(mark):
            self._followers.commit(mark)
            return mark.rows
        whole = snapshot or self._first.begun
        gold = None
        if not whole:
            self._gold.note(self._lake.last_changes, mark.rows)
            gold = self._gold.follow(mark.lsn) if self._gold.is_due(mark) else None
            self._at("gold level")
        self._sight.publish(mark, max(mark.resume, self._source.seen))
        if whole:
            gold = self._gold.build(mark.lsn)
            self._sight.publish(mark, mark.resume)
            self._first.ended()
        sinks = self._followers.commit(mark)
        self._at("sinks level")
        self._source.confirm(mark.resume)
        self._at("confirmed")
        self._listener(Step(mark, receipt, gold, time.monotonic() - began, whole, sinks, self._healing.words()))
        return mark.rows

    def _stage(self, change_set: ChangeSet, *, snapshot: bool) -> Mark:
        rows = 0
        for batch in self._readings.through(change_set):
            self._at("batch decoded")
            self._lake.stage(batch)
            self._followers.stage(batch)
            rows += batch.data.num_rows if is_table(batch.relation) else 0
            if snapshot and self._sight.last is None:
                self._first.keep(change_set, rows)
        if snapshot:
            self._first.kept(change_set.mark.lsn)
        return replace(change_set.mark, rows=rows)

    def _redeliver(self, last: Watermark) -> None:
        """Dead letters that were asked back, at a position of their own."""
        if self._first.begun or (plan := self._redelivery.next(last)) is None:
            return
        for batch in self._redelivery.batches(plan):
            self._lake.stage(batch)
            self._followers.stage(batch)
        self._at("letters staged again")
        mark = self._redelivery.mark(plan, last)
        self._lake.commit(mark)
        self._at("letters committed with them")
        self._gold.build(mark.lsn)
        self._sight.publish(mark, max(last.seen, self._source.seen))
        self._followers.commit(mark)
        self._redelivery.done()

    def _idle(self, rows: int) -> None:
        """Gold catches up when the stream falls silent; readers learn how far the silence reaches."""
        last = self._sight.last
        if last is None:
            self._publish_first()
            return
        seen = max(last.seen, self._source.seen)
        if last.position < self._lake.horizon:
            if seen < self._lake.horizon:
                return
            last = replace(last, position=self._lake.horizon)  # all repeats are in, and none of them was at its end
        tended = not rows and self._lake.tend()
        if self._gold.waiting and self._gold.is_due(Mark(last.position, seen, time.time_ns() // 1000)):
            self._gold.follow(last.position)
            self._sight.publish_again(last, seen)
        elif tended or self._sight.hides_else or (not rows and seen > last.seen and self._sight.idle):
            self._sight.publish_again(last, seen)

    def _publish_first(self) -> None:
        """A first snapshot that went on is whole, and nothing has come since that could tell of it."""
        mark = self._first.whole(max(self._source.seen, 0), self._lake.horizon)
        if mark is not None:
            self._sight.publish(mark, max(mark.resume, self._source.seen))
            self._gold.build(mark.lsn)
            self._sight.publish(mark, max(mark.resume, self._source.seen))
            self._first.ended()
            self._source.confirm(mark.resume)

    def _linger(self, began: float, rows: int) -> None:
        """Let changes gather while the stream is level, so that each commit carries more of them."""
        left = self._project.settings.capture.cycle_ms / 1000 - (time.monotonic() - began)
        if left > 0 and rows < SMALL_SET_ROWS:
            time.sleep(left)
