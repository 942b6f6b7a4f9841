"""Which feed reads the slot: COPY while far behind, the walsender when level; one after the other, and none of them
begins before the last one has let go of the slot.
"""

from __future__ import annotations

from pathlib import Path

from .catchup import CatchUp, backlog, copy_slot
from .connection import our_errors
from .failures import Place
from .feed import Feed, Terms, Traffic
from .lines import Lines
from .receive import Receiver, begin_stream
from .slot import find_slot, report_interval, set_failover, start_statement, wait_until_free
from .spill import SpillFolder
from .tuning import Tuning


class Feeds:
    """The feeds of one slot, of which `now` is the one that reads; None before `begin`."""

    def __init__(self, lines: Lines, place: Place, tuning: Tuning, *, spill: Path, keep_messages: bool) -> None:
        self._lines, self._place, self._tuning = lines, place, tuning
        self._spill_path, self._keep_messages = spill, keep_messages
        self._spill: SpillFolder | None = None
        self._confirmed = 0
        self.now: Feed | None = None
        self.traffic = Traffic()

    @property
    def spilled_bytes(self) -> int:
        return self._spill.bytes if self._spill else 0

    def begin(self, start: int, seen: int) -> Feed:
        """Ask for the changes above `start`; from here on the slot is ours, and so is its folder."""
        with our_errors(self._place):
            self._wait_until_free()
            return self._catch_up(max(start, seen)) or self._stream(start)

    def go_over(self, seen: int) -> Feed:
        """We are level: the walsender goes on where COPY has ended."""
        if self.now is not None:
            self.now.close()
        self._lines.close()
        self._folder().abort_whole()
        with our_errors(self._place):
            self._wait_until_free()
            return self._stream(seen)

    def confirm(self, lsn: int) -> None:
        """Everything below `lsn` is durable; a feed that is still to come is told, too."""
        self._confirmed = max(self._confirmed, lsn)
        if self.now is not None:
            self.now.confirm(self._confirmed)

    def close(self) -> None:
        """Tell the server what is confirmed, stop reading, and remove the folder. The connections are their owner's."""
        if self.now is not None:
            self.now.close()
        if self._spill is not None:
            self._spill.close()

    def _wait_until_free(self) -> None:
        wait_until_free(self._lines.connect(), self._place, self._tuning.patience)
        self._lines.close()

    def _catch_up(self, start: int) -> Feed | None:
        """The feed for a backlog, where there is one and COPY can be had."""
        tuning = self._tuning
        control = self._lines.connect()
        waiting = backlog(control, self._place, start) if tuning.feed != "walsender" else -1
        if waiting < (0 if tuning.feed == "copy" else tuning.behind):
            self._lines.close()
            return None
        copy = copy_slot(self._lines.connect(settings=tuning.settings), control, self._place, start)
        if copy is None:
            self._lines.close()
            return None
        self._lines.keep(copy.wire)
        level = None if tuning.feed == "copy" else tuning.behind // 4
        feed = CatchUp(
            copy, self._folder(), terms=self._terms(), traffic=self.traffic, level=level, detail=tuning.detail
        )
        return self._start(feed, b"")

    def _stream(self, start: int) -> Feed:
        """The walsender, from `start` on."""
        tuning = self._tuning
        plain = self._lines.connect()
        often = min(tuning.report_every, tuning.silence / 4)
        pause, slot = report_interval(plain, often), find_slot(plain, self._place.slot)
        self._lines.close()
        stream = self._lines.connect(replication=True, settings=tuning.settings)
        if slot is not None and tuning.failover not in (None, slot.failover):
            set_failover(stream, self._place, wanted=bool(tuning.failover))
        wire = self._lines.wire(stream)
        received = begin_stream(wire, start_statement(self._place, start), self._place, tuning.silence)
        terms = self._terms(report_every=pause)
        return self._start(Receiver(wire, self._folder(), self._place, terms=terms, traffic=self.traffic), received)

    def _terms(self, *, report_every: float = 1.0) -> Terms:
        tuning = self._tuning
        return Terms(tuning.limit, report_every, self._keep_messages, tuning.at, tuning.silence)

    def _folder(self) -> SpillFolder:
        """The slot's folder, from the moment on when we hold the slot."""
        self._spill = self._spill or SpillFolder(self._spill_path, self._tuning.at)
        return self._spill

    def _start(self, feed: Receiver, received: bytes | bytearray) -> Feed:
        self.now = feed
        feed.confirm(self._confirmed)
        feed.start(received)
        return feed
