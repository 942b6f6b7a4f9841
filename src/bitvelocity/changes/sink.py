"""Who takes change sets, and what they give back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from .batch import Batch, Mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a sink did with a change set: for status, metrics, lineage. Durations in seconds."""

    sink: str
    lsn: int
    rows_in: Mapping[str, int] = field(default_factory=dict)
    """Rows taken, per entity."""
    rows_refused: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, int] = field(default_factory=dict)
    """Table -> Delta version after the commit."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Step -> wall seconds."""


class Sink(Protocol):
    """Takes changes in two steps: staged rows are invisible, `commit` makes them visible and durable.

    - Order: batches arrive in source order per table; `commit` closes all that was staged since the last one.
    - Repeats: after a crash the source repeats from its last confirmed point, with other set boundaries. A sink drops
      rows at or below what each of its tables already has: rows and position are written in one commit per table.
    - Done: when `commit` returns, every row up to `mark.lsn` survives a power cut.
    - Close: whoever made the sink closes it; `close` forgets staged rows.
    """

    def position(self) -> int:
        """Commit LSN up to which everything is durable here; -1 when there is nothing yet."""
        ...

    def stage(self, batch: Batch) -> None:
        """Take a batch. Nothing becomes visible."""
        ...

    def commit(self, mark: Mark) -> Receipt:
        """Make all staged rows durable and visible, at `mark`."""
        ...

    def rollback(self) -> None:
        """Forget what is staged."""
        ...

    def close(self) -> None: ...
