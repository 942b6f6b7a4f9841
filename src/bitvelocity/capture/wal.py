"""The native source: PostgreSQL's WAL through a logical replication slot, as change sets."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from bitvelocity.changes import ChangeSet, Twin
from bitvelocity.errors import CaptureError

from .connection import our_errors
from .failures import Place, slot_gone
from .feed import Feed
from .feeds import Feeds
from .frames import Frames
from .lines import Lines
from .pgoutput import Relations, Wants
from .pieces import StreamSet, Totals, plain_set, streamed_set
from .prompt import prompting
from .slot import check_ours, check_slot, check_source, create_slot, drop_slot, find_slot, wait_until_free
from .snapshots import Reader, SnapshotSet, snapshot_set
from .spill import Spilled
from .tuning import Tuning

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceStats:
    """What the source did since it was opened."""

    bytes: int = 0
    frames: int = 0
    transactions: int = 0
    rows: int = 0
    copied: int = 0
    """Frames of a backlog, read through COPY."""
    streamed: int = 0
    """Transactions that came ahead of their commit, through the spill folder."""
    spilled_bytes: int = 0
    ignored_messages: int = 0
    """Logical messages that were no audit context and that nobody asked for."""
    receive_cpu: float = 0.0
    """CPU seconds of the receiving thread."""
    held_back: float = 0.0
    """Seconds for which the receiving thread waited for the consumer."""


class WalSource:
    """Reads one publication through one slot; a `changes.Source`. Not for use from several threads.

    - `has_position`: whether the sinks have committed anything from this slot. If not, `snapshot` makes a
      fresh slot (an old one of that name comes from a start that died before its first commit) and yields the
      tables as they are. If so, the slot must be there: otherwise changes were lost, and that is an error.
    - `start_lsn`: commit LSN up to which every sink has everything; transactions up to it are not sent again.
    - `messages`: prefixes of the logical messages that are wanted, as batches of the relation `MESSAGES`; `*` is
      all. A set may then hold nothing but messages, also such as stand outside of any transaction.
    - `spill`: folder for large transactions in progress; each slot has its own subfolder.

    A lost connection is a `ConnectionLostError`: make a new `WalSource`. All other errors are for a person.
    """

    def __init__(
        self,
        dsn: str,
        *,
        spill: Path,
        has_position: bool,
        start_lsn: int = 0,
        slot: str = "bitvelocity",
        publication: str = "bitvelocity",
        messages: Sequence[str] = (),
        tuning: Tuning | None = None,
    ) -> None:
        self._has_position, self._start_lsn = has_position, start_lsn
        self._place = Place(slot, publication)
        self._tuning = tuning or Tuning()
        self._wants = Wants(tuple(messages), self._tuning.detail)
        self._lines = Lines(dsn, self._place)
        folder = spill / re.sub(r"[^a-z0-9_]", "_", slot)
        self._feeds = Feeds(self._lines, self._place, self._tuning, spill=folder, keep_messages=bool(messages))
        self._queue: deque[Frames | Spilled] = deque()
        self._current: StreamSet | None = None
        self._relations: Relations = {}
        self._totals = Totals()
        self._snapshot: SnapshotSet | None = None
        self._yielded = self._confirmed = self._sent = 0
        self.seen = 0
        """LSN up to which everything was received and yielded."""
        self._check()

    def snapshot(self, twin: Twin | None = None) -> Iterator[ChangeSet]:
        """The tables as they stand where the stream begins, in one change set. Empty if there is a position.

        Waits for all transactions that are running in the source to end: PostgreSQL begins a slot only then. With a `twin`
        the set holds only what differs from it: what was missed while there was no slot.
        """
        if self._has_position:
            return
        with our_errors(self._place):
            self._snapshot = self._take_snapshot(twin)
            yield self._snapshot
        self._leave_snapshot()

    def tail(self, timeout: float) -> Iterator[ChangeSet]:
        """Change sets as they commit: all that is complete at once, so that they grow under load.

        A transaction that was streamed ahead of its commit is a change set of its own. Transactions without
        rows or wanted messages only move `seen`.
        """
        feed = self._feeds.now or self._start()
        deadline = time.monotonic() + timeout
        while True:
            self._finish_set()
            if not self._queue:
                self._feeds.consider(self.seen)
                taken = feed.take(max(0.0, deadline - time.monotonic()))
                self._queue.extend(taken.items)
                self._sent = taken.sent
            if (change_set := self._next_set()) is None:
                self._rest(feed)
                if feed.finished:
                    feed = self._feeds.go_over(self.seen)
                if time.monotonic() >= deadline:
                    return
            elif change_set.has_rows:
                yield change_set
                deadline = time.monotonic() + timeout

    def confirm(self, lsn: int) -> None:
        """All up to `lsn` (a `Mark.resume`) is durable: the source may forget it."""
        self._confirmed = max(self._confirmed, lsn)
        self._feeds.confirm(self._confirmed)

    def _check(self) -> None:
        """Refuse now, and in words, what could never work."""
        with our_errors(self._place), closing(self._lines.connect()) as connection:
            check_source(connection, self._place)
            slot = find_slot(connection, self._place.slot)
            if slot is not None and self._has_position:
                check_slot(connection, slot, self._place)
        self._lines.close()
        if slot is None and self._has_position:
            raise slot_gone(self._place)

    def _drop_old_slot(self) -> None:
        connection = self._lines.connect()
        if (slot := find_slot(connection, self._place.slot)) is not None:
            check_ours(connection, slot, self._place)
            wait_until_free(connection, self._place, self._tuning.patience)
            drop_slot(connection, self._place)
            self._tuning.at("slot dropped")
        self._lines.close()

    def _take_snapshot(self, twin: Twin | None) -> SnapshotSet:
        """A fresh slot and the tables as they stand where it begins, locked against DDL.

        A table that is rewritten between those two steps would read as empty: then we begin again.
        """
        for _ in range(_ATTEMPTS):
            self._drop_old_slot()
            settings = self._tuning.settings
            keeper = self._lines.connect(replication=True, settings=settings)  # keeps the snapshot while left alone
            with prompting(self._tuning.primary, keeper, self._place):
                slot = create_slot(keeper, self._place, failover=bool(self._tuning.failover))
            self._tuning.at("slot made")
            readers = [self._reader() for _ in range(1 if twin else self._tuning.readers)]
            snapshot = snapshot_set(readers, slot=slot, place=self._place, twin=twin)
            self._tuning.at("tables locked")
            if not (rewritten := snapshot.rewritten()):
                return snapshot
            self._lines.close()
        raise CaptureError(
            f"The tables {', '.join(rewritten)} were rewritten again and again while the snapshot began.",
            safe="Nothing was confirmed; the next start begins afresh.",
            remedy="Start again when no ALTER TABLE, TRUNCATE, CLUSTER or VACUUM FULL runs.",
        )

    def _leave_snapshot(self) -> None:
        if self._snapshot is not None and self._snapshot.done:
            self._has_position = True
            self._yielded = self.seen = self._snapshot.mark.resume
        self._snapshot = None
        self._lines.close()

    def _start(self) -> Feed:
        """Ask for the changes; from here on the slot is ours, and so is its folder."""
        self._leave_snapshot()
        if not self._has_position:
            raise CaptureError(
                "The stream has no starting point yet: the snapshot was not read to its end.",
                safe="Nothing was confirmed.",
                remedy="Iterate `snapshot()` to the end and commit it, then read the tail.",
            )
        start = self._start_lsn + 1 if self._start_lsn > 0 else 0  # transactions below it are not sent
        return self._feeds.begin(start, self.seen)

    def _next_set(self) -> StreamSet | None:
        """The first in the queue: all frames in memory up to the next spilled transaction, or that one."""
        if not self._queue:
            return None
        if isinstance(first := self._queue.popleft(), Spilled):
            self._current = streamed_set(first, self._relations, self._totals, self._wants)
        else:
            frames = [first]
            while self._queue and isinstance(follower := self._queue[0], Frames):
                frames.append(follower)
                self._queue.popleft()
            self._current = plain_set(frames, self._relations, self._totals, self._wants)
        return self._current

    def _finish_set(self) -> None:
        if (current := self._current) is not None:
            current.finish()
            self.seen = max(self.seen, current.mark.resume)
            if current.has_rows:
                self._yielded = current.mark.resume
            self._current = None

    def _rest(self, feed: Feed) -> None:
        """Nothing is in flight: the server's end counts as seen, and is confirmed if all else is.

        Without that, a quiet database beside a busy one would keep all WAL of the cluster.
        """
        self.seen = max(self.seen, self._sent)
        if self._confirmed >= self._yielded:
            feed.confirm(self.seen)

    def _reader(self) -> Reader:
        connection = self._lines.connect()
        return Reader(connection, self._lines.wire(connection))

    @property
    def streamed(self) -> int:
        """Large transactions that came ahead of their commit."""
        return self.stats.streamed

    @property
    def stats(self) -> SourceStats:
        """What was done so far."""
        traffic, totals = self._feeds.traffic, self._totals
        return SourceStats(
            bytes=traffic.bytes,
            frames=traffic.frames,
            transactions=totals.transactions,
            rows=totals.rows,
            copied=traffic.copied,
            streamed=traffic.streamed,
            spilled_bytes=self._feeds.spilled_bytes,
            ignored_messages=totals.ignored_messages + traffic.stray_messages,
            receive_cpu=traffic.cpu,
            held_back=traffic.waited,
        )

    def close(self) -> None:
        """Tell the source what is confirmed and let go of it; what is not confirmed comes again."""
        self._feeds.close()
        self._lines.close()

    def __enter__(self) -> WalSource:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
