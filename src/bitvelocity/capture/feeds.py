"""Which feed reads the slot: COPY while far behind, the walsender when level; one after the other, and none of them
begins before the last one has let go of the slot.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bitvelocity.errors import CaptureError

from .catchup import Backlog, CatchUp, backlog, copy_slot
from .connection import our_errors
from .failures import Place
from .feed import Feed, Terms, Traffic
from .lines import Lines
from .receive import Receiver, begin_stream
from .slot import find_slot, report_interval, set_failover, start_statement, wait_until_free
from .spill import SpillFolder
from .tuning import Tuning

_LOOK_SHARE = 64
"""The walsender's backlog is asked for only after one part of so many has come of what makes a backlog."""


class Feeds:
    """The feeds of one slot, of which `now` is the one that reads; None before `begin`."""

    def __init__(self, lines: Lines, place: Place, tuning: Tuning, *, spill: Path, keep_messages: bool) -> None:
        self._lines, self._place, self._tuning = lines, place, tuning
        self._spill_path, self._keep_messages = spill, keep_messages
        self._spill: SpillFolder | None = None
        self._confirmed = self._start_at = 0
        self._with_lsn = tuning.detail
        self._can_copy = tuning.feed != "walsender"
        self._dear = 0  # COPY costs too much while decoding must begin here, or before
        self._look_at, self._looked = time.monotonic() + tuning.look_every, 0
        self.now: Feed | None = None
        self.traffic = Traffic()

    @property
    def spilled_bytes(self) -> int:
        return self._spill.bytes if self._spill else 0

    def begin(self, start: int, seen: int) -> Feed:
        """Ask for the changes above `start`; from here on the slot is ours, and so is its folder."""
        self._start_at = max(start, seen)
        with our_errors(self._place):
            self._wait_until_free()
            return self._catch_up(self._start_at) or self._stream(start)

    def consider(self, seen: int) -> None:
        """Let the walsender end behind what has come whole when so much waits that COPY is cheaper, going back included."""
        feed, tuning = self.now, self._tuning
        if tuning.feed != "auto" or not self._can_copy or not isinstance(feed, Receiver) or isinstance(feed, CatchUp):
            return
        came = self.traffic.bytes - self._looked
        if feed.finished or came < tuning.behind // _LOOK_SHARE or time.monotonic() < self._look_at:
            return
        self._look_at, self._looked = time.monotonic() + tuning.look_every, self.traffic.bytes
        found = self._look(seen)
        if found.waiting - feed.held >= max(tuning.behind, found.back) and found.restart > self._dear:
            feed.leave()

    def _look(self, seen: int) -> Backlog:
        """The backlog; none where it cannot be asked for now, for a look is no reason to stop."""
        with suppress(CaptureError), our_errors(self._place), self._lines.brief() as connection:
            return backlog(connection, self._place, seen)
        return Backlog()

    def go_over(self, seen: int) -> Feed:
        """The feed that goes on where the one before has ended: the walsender when level, COPY when far behind."""
        last, start = self.now, max(self._start_at, seen)
        if last is not None:
            last.close()
        self._lines.close()
        self._folder().forget_open()
        self._tuning.at("feed left")
        with our_errors(self._place):
            self._wait_until_free()
            if isinstance(last, Receiver) and last.unsure is not None:
                return self._stream(start, whole_until=last.unsure)
            if isinstance(last, CatchUp) and not last.doubtful:
                self._can_copy = self._can_copy and not last.refused
                self._dear = last.restart if last.dear else self._dear
                return self._stream(start)
            self._with_lsn = self._with_lsn or isinstance(last, CatchUp)
            return self._catch_up(start, in_doubt=isinstance(last, CatchUp)) or self._stream(start)

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

    def _catch_up(self, start: int, *, in_doubt: bool = False) -> Feed | None:
        """The feed for a backlog, where there is one and COPY can be had; `in_doubt`: for what is left of one."""
        tuning = self._tuning
        if not self._can_copy:
            return None
        control = self._lines.connect()
        found = backlog(control, self._place, start)
        always = tuning.feed == "copy" or in_doubt
        if found.waiting < (0 if always else tuning.behind) or (found.is_dear and not always):
            self._lines.close()
            return None
        copy = copy_slot(self._lines.connect(settings=tuning.settings), control, self._place, start)
        if copy is None:
            self._can_copy = False
            self._lines.close()
            return None
        self._lines.keep(copy.wire)
        level = None if tuning.feed == "copy" else tuning.behind // 4
        feed = CatchUp(
            copy, self._folder(), terms=self._terms(), traffic=self.traffic, level=level, with_lsn=self._with_lsn
        )
        return self._start(feed, b"")

    def _stream(self, start: int, *, whole_until: int | None = None) -> Feed:
        """The walsender, from `start` on; with nothing ahead of its commit, should it read only `until` somewhere."""
        tuning = self._tuning
        plain = self._lines.connect()
        often = min(tuning.report_every, tuning.silence / 4)
        pause, slot = report_interval(plain, often), find_slot(plain, self._place.slot)
        self._lines.close()
        stream = self._lines.connect(replication=True, settings=tuning.settings)
        if slot is not None and tuning.failover not in (None, slot.failover):
            set_failover(stream, self._place, wanted=bool(tuning.failover))
        wire = self._lines.wire(stream)
        statement = start_statement(self._place, start, ahead=whole_until is None)
        received = begin_stream(wire, statement, self._place, tuning.silence)
        terms = replace(self._terms(report_every=pause), until=whole_until)
        return self._start(Receiver(wire, self._folder(), self._place, terms=terms, traffic=self.traffic), received)

    def _terms(self, *, report_every: float = 1.0) -> Terms:
        tuning = self._tuning
        return Terms(tuning.limit, report_every, self._keep_messages, tuning.at, tuning.silence)

    def _folder(self) -> SpillFolder:
        """The slot's folder, from the moment on when we hold the slot."""
        self._spill = self._spill or SpillFolder(
            self._spill_path, self._tuning.at, every_message=self._keep_messages
        )
        return self._spill

    def _start(self, feed: Receiver, received: bytes | bytearray) -> Feed:
        self.now = feed
        feed.confirm(self._confirmed)
        feed.start(received)
        return feed
