"""When gold follows silver: at once while the stream is level, now and then in a backlog, later when a model fails."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from ..changes import Mark, Passing, pass_by
from ..errors import ModelError
from ..lakehouse import Care, Changed, Gold, GoldReceipt
from .project import Project

BEHIND_SECONDS = 0.5
"""Older than this when it arrives, a change set is part of a backlog."""
EVERY_SECONDS = 2.0
"""In a backlog gold is brought up to silver this often: its cost is per group, not per change."""
EVERY_ROWS = 400_000
RETRY_SECONDS = 30.0


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


class GoldFollower:
    """Gold with its pace and its troubles.

    A model that fails stops gold where it stands, and nothing else: bronze and silver go on, the watermark says how
    far gold is, and gold is built again every half minute until the model is mended (in its data, or by a new start).

    Entities that readers do not see yet are `hidden`: gold has no row of them until they are shown, as a whole.
    """

    def __init__(
        self, project: Project, *, hidden: Set[str] = frozenset(), care: Care | None = None, at: Passing = pass_by
    ) -> None:
        sync = project.settings.lake.sync
        self._gold = Gold(project.lake, project.kept, project.models, sync=sync, care=care or Care(), at=at)
        self._pending = _Pending()
        self._at = self._cost = 0.0
        self.lsn = -1
        """Commit LSN that gold stands at."""
        self.versions: dict[str, int] = {}
        self.hidden, self._shown = frozenset(hidden), frozenset[str]()
        self.error: ModelError | None = None
        """Why gold stands still, while it does."""

    @property
    def waiting(self) -> bool:
        """There are changes that gold does not have."""
        return self.error is not None or self._pending.rows > 0

    def note(self, changed: Mapping[str, Changed], rows: int) -> None:
        """Silver has these changes now."""
        if self.error is None:
            self._pending.add({name: change for name, change in changed.items() if name not in self.hidden}, rows)

    def show(self, lsn: int, hidden: Set[str]) -> bool:
        """Only these are hidden from now on; whether gold was built for those that were until now."""
        shown = self.hidden - hidden
        self.hidden, self._shown = frozenset(hidden), self._shown | shown
        if shown:
            self.build(lsn)
        return bool(shown)

    def is_due(self, mark: Mark) -> bool:
        """Gold should follow now, so that readers see one state and the source does not wait."""
        waited = time.monotonic() - self._at
        if self.error is not None:
            return waited > RETRY_SECONDS
        if not self._pending.rows:
            return True  # a set of markers only: gold has nothing to compute, and must not seem to stand below it
        behind = time.time() - mark.committed_at / 1e6 > BEHIND_SECONDS
        return not behind or waited > max(EVERY_SECONDS, 3 * self._cost) or self._pending.rows > EVERY_ROWS

    def follow(self, lsn: int) -> GoldReceipt | None:
        """Bring gold to `lsn`, where silver stands; None when a model fails (`error` says which and why)."""
        if self.error is not None:
            return self.build(lsn)
        began = time.monotonic()
        try:
            receipt = self._gold.apply(self._pending.take(), lsn)
        except ModelError as error:
            self._stand_still(error)
            return None
        self._note(receipt, lsn)
        self._cost = self._at - began
        return receipt

    def build(self, lsn: int) -> GoldReceipt | None:
        """Bring gold to silver's position from whatever state it is in; None when a model fails."""
        self._pending.take()
        try:
            receipt = self._gold.start(hidden=self.hidden, shown=self._shown)
        except ModelError as error:
            self._stand_still(error)
            return None
        self._note(receipt, lsn)
        self._shown = frozenset()
        self.error = None
        return receipt

    def close(self) -> None:
        self._gold.close()

    def _stand_still(self, error: ModelError) -> None:
        self._pending.take()
        self.error, self._at = error, time.monotonic()

    def _note(self, receipt: GoldReceipt, lsn: int) -> None:
        self.versions |= receipt.versions
        self.lsn, self._at = lsn, time.monotonic()
