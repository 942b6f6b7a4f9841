"""Who yields change sets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from .batch import ChangeSet


class Source(Protocol):
    """A stream of change sets, one commit boundary after the other.

    - Order: by commit LSN; within a transaction by ordinal.
    - Repeats: after a restart everything above the confirmed LSN comes again.
    - Done: the source forgets only what `confirm` was told.
    - Close: whoever opened it; closing never loses unconfirmed changes.
    """

    def snapshot(self) -> Iterator[ChangeSet]:
        """The tables as they stand at the start of the stream, without gap or overlap to `tail`.

        Empty when the stream has a starting point already. Must be committed whole before `tail` is read.
        """
        ...

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        """Change sets as they commit; ends when none came for `timeout` seconds. Call it again to go on.

        Large transactions come as change sets of their own.
        """
        ...

    def confirm(self, lsn: int) -> None:
        """All up to `lsn` (a `Mark.resume`) is durable: the source may forget it."""
        ...

    def close(self) -> None: ...
