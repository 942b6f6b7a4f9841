"""The spine: poll the source, give each change set to the lake and to gold, publish, let the source forget."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from ..capture import WalSource
from ..changes import ChangeSet, Mark, Receipt
from ..errors import CaptureError
from ..lakehouse import Changed, Lake, Watermark, publish
from ..lakehouse.gold import Gold, GoldReceipt
from .project import Project

BEHIND_SECONDS = 0.5
"""Older than this when it arrives, a change set is part of a backlog."""
GOLD_EVERY_SECONDS = 2.0
"""In a backlog gold is brought up to silver this often: its cost is per group, not per change."""
GOLD_EVERY_ROWS = 400_000
IDLE_PUBLISH_SECONDS = 1.0
SMALL_SET_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit boundary brought: for status, progress and metrics."""

    mark: Mark
    lake: Receipt
    gold: GoldReceipt | None
    seconds: float
    snapshot: bool = False


Listener = Callable[[Step], None]


@dataclass(slots=True)
class _Pending:
    """Changes that silver has and gold does not have yet."""

    changes: dict[str, list[Changed]] = field(default_factory=dict)
    rows: int = 0

    def add(self, changed: Mapping[str, Changed], rows: int) -> None:
        for entity, change in changed.items():
            self.changes.setdefault(entity, []).append(change)
        self.rows += rows

    def take(self) -> dict[str, Sequence[Changed]]:
        taken: dict[str, Sequence[Changed]] = dict(self.changes)
        self.changes, self.rows = {}, 0
        return taken


class Pipeline:
    """One project's flow from its source to gold; one thread, one writer.

    Each step, in this order:
    1. take a change set (everything committed since the last one);
    2. bronze and silver: one synced commit per table, rows and position together;
    3. gold: the groups that the changes touch (in a backlog: every two seconds);
    4. publish the watermark: readers see all tables of a transaction or none;
    5. confirm to the source, which may now forget.
    A crash between any two of them repeats from the last confirmed point, and every table drops what it has.
    """

    def __init__(self, project: Project, listener: Listener | None = None) -> None:
        self._project = project
        self._listener = listener or (lambda _: None)
        settings = project.settings
        self._lake = Lake(project.lake, project.specs, sync=settings.lake.sync)
        self._gold = Gold(project.lake, project.specs, project.models, sync=settings.lake.sync)
        self._pending = _Pending()
        self._gold_at = self._gold_cost = 0.0
        self._gold_lsn = -1
        self._gold_versions: dict[str, int] = {}
        self._last = self._lake.watermark
        self._published_at = 0.0
        self._open: WalSource | None = None

    @property
    def _source(self) -> WalSource:
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
        return self._last

    @property
    def streamed(self) -> int:
        """Large transactions that came ahead of their commit since the last connection."""
        return self._source.stats.streamed

    def connect(self, dsn: str) -> None:
        """Read from `dsn`, for the first time or again: what was staged is forgotten and will come again."""
        self._disconnect()
        settings = self._project.settings.capture
        self._open = WalSource(
            dsn,
            slot=settings.slot,
            publication=settings.publication,
            spill=self._project.lake / ".spill",
            has_position=self._last is not None or settings.snapshot == "never",
            start_lsn=max(self._last.position, 0) if self._last else 0,
        )

    def _disconnect(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
        self._lake.rollback()

    def start(self) -> None:
        """Bring gold to silver's position and take the initial snapshot when there is none yet."""
        if self._last is not None:
            self._note_gold(self._gold.start(), self._last.position)
            return
        for change_set in self._source.snapshot():
            self._apply(change_set, snapshot=True)

    def step(self, timeout: float) -> int:
        """Apply what committed since the last step, waiting up to `timeout` seconds for it; rows applied."""
        rows, until = 0, time.monotonic() + timeout
        for change_set in self._source.tail(timeout):
            began = time.monotonic()
            rows += self._apply(change_set)
            self._linger(began, change_set.mark)
            if time.monotonic() > until:
                break
        self._idle(rows)
        return rows

    def close(self) -> None:
        """Stop; whatever was not published comes again at the next start."""
        self._disconnect()
        self._gold.close()
        self._lake.close()

    def _apply(self, change_set: ChangeSet, *, snapshot: bool = False) -> int:
        began = time.monotonic()
        for batch in change_set:
            self._lake.stage(batch)
        mark = change_set.mark
        receipt = self._lake.commit(mark)
        gold = None
        if not snapshot:
            self._pending.add(self._lake.last_changes, mark.rows)
            gold = self._refresh_gold(mark.lsn) if self._gold_is_due(mark) else None
        self._publish(mark, max(mark.resume, self._source.seen))
        if snapshot:
            gold = self._build_gold(mark)
        self._source.confirm(mark.resume)
        self._listener(Step(mark, receipt, gold, time.monotonic() - began, snapshot))
        return mark.rows

    def _gold_is_due(self, mark: Mark) -> bool:
        behind = time.time() - mark.committed_at / 1e6 > BEHIND_SECONDS
        waited = time.monotonic() - self._gold_at > max(GOLD_EVERY_SECONDS, 3 * self._gold_cost)
        return not behind or waited or self._pending.rows > GOLD_EVERY_ROWS

    def _refresh_gold(self, lsn: int) -> GoldReceipt:
        began = time.monotonic()
        receipt = self._gold.apply(self._pending.take(), lsn)
        self._note_gold(receipt, lsn)
        self._gold_cost = self._gold_at - began
        return receipt

    def _build_gold(self, mark: Mark) -> GoldReceipt:
        receipt = self._gold.start()
        self._note_gold(receipt, mark.lsn)
        self._publish(mark, mark.resume)
        return receipt

    def _note_gold(self, receipt: GoldReceipt, lsn: int) -> None:
        self._gold_versions |= receipt.versions
        self._gold_lsn, self._gold_at = lsn, time.monotonic()

    def _publish(self, mark: Mark, seen: int) -> None:
        self._last = Watermark(
            position=mark.lsn,
            resume=mark.resume,
            seen=seen,
            committed_at=mark.committed_at,
            published_at=time.time_ns() // 1000,
            tables={**self._lake.versions(), **self._gold_versions},
            gold_position=self._gold_lsn,
        )
        publish(self._project.lake, self._last, sync=self._project.settings.lake.sync)
        self._published_at = time.monotonic()

    def _idle(self, rows: int) -> None:
        """Gold catches up when the stream falls silent; readers learn how far the silence reaches."""
        last = self._last
        if last is None:
            return
        mark = Mark(last.position, max(last.resume, self._source.seen), last.committed_at)
        if self._pending.rows:
            self._refresh_gold(last.position)
            self._publish(mark, mark.resume)
        elif not rows and mark.resume > last.seen and self._idle_long_enough():
            self._publish(mark, mark.resume)

    def _idle_long_enough(self) -> bool:
        return time.monotonic() - self._published_at > IDLE_PUBLISH_SECONDS

    def _linger(self, began: float, mark: Mark) -> None:
        """Let changes gather while the stream is level, so that each commit carries more of them."""
        left = self._project.settings.capture.cycle_ms / 1000 - (time.monotonic() - began)
        if left > 0 and mark.rows < SMALL_SET_ROWS:
            time.sleep(left)
