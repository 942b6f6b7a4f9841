"""The thread that reads the stream: it collects whole transactions, spills those in progress, and keeps the
server informed on time, however slow the consumer is.
"""

from __future__ import annotations

import contextlib
import threading
import time
from struct import pack

from bitvelocity.errors import BitVelocityError, ConnectionLostError

from .connection import Wire
from .failures import KEPT, Place, failure
from .feed import Taken, Terms, Traffic
from .frames import (
    STREAMED,
    Ended,
    Event,
    Frames,
    Keepalive,
    Layout,
    PartedCommit,
    Refusal,
    Segment,
    Splitter,
    StreamAbort,
    StreamCommit,
    refusal,
)
from .pgoutput import PREFIX
from .pieces import PIECE
from .spill import WHOLE, Spilled, SpillFolder

_GATHERING = range(1 << 10, 1 << 17)
"""A receive of this size shows a server that sends row by row: let some more gather before the next one."""
_NAP = 0.0002
_GRANTED, _ERROR = b"WE"
_FLOW = 1 << 14
"""A receive above this size shows that the server has more than the odd commit to send."""
_WORTHWHILE, _GATHER = 1 << 20, 0.02
"""While it flows, a set waits to be of so many bytes, but no longer than so many seconds."""
_PROMPT = 0.1
"""Seconds between two reports that say something new."""


class Receiver:
    """Reads one replication stream from `start` to `close`. `take` and `confirm` belong to the consumer."""

    def __init__(
        self,
        wire: Wire,
        spill: SpillFolder,
        place: Place,
        *,
        terms: Terms,
        traffic: Traffic,
        layout: Layout = STREAMED,
    ) -> None:
        self._wire, self._spill, self._place, self._at = wire, spill, place, terms.at
        self._limit, self._report_every = terms.limit, terms.report_every
        self._until = terms.until
        self._piece = min(PIECE, terms.limit)
        self._traffic = traffic
        self._changed = threading.Condition()
        self._splitter = Splitter(layout, keep_messages=terms.keep_messages, watched=PREFIX)
        self.unsure: int | None = None
        """Where the commit stands of a transaction sent ahead, in which a message may belong to a savepoint that was
        rolled back: reading ends before it, and whoever goes on must have it sent whole."""
        self._parting = False  # a transaction too large for memory is coming
        self._ready: list[Frames | Spilled] = []
        self._pending = 0  # bytes in `_ready` that are in memory
        self._sent = self._confirmed = self._reported = 0
        self._reported_at = 0.0
        self._silence, self._heard_at = terms.silence, time.monotonic()
        self._asked = False
        self._failure: BitVelocityError | None = None
        self._stopping = self._flowing = self._done = False
        self._thread = threading.Thread(target=self._run, name="bitvelocity-capture", daemon=True)

    @property
    def held(self) -> int:
        """Bytes that have come and were not taken."""
        return self._size()

    @property
    def finished(self) -> bool:
        """Nothing more will come. A stream goes on until it is closed."""
        return self._done and not self._has_whole()

    def start(self, received: bytes | bytearray) -> None:
        """Begin to read. The stream must have been asked for on the wire, and `received` have come of it."""
        self._take_in(received)
        self._thread.start()

    def take(self, timeout: float) -> Taken:
        """All whole transactions since the last call; waits up to `timeout` seconds for the first.

        While the server has much to send, it waits a moment longer, since tiny sets are dear.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._has_whole() or self._failure or self._done, timeout)
            self._changed.wait_for(self._is_worthwhile, _GATHER)
            self._cut()
            if not self._ready and self._failure is not None:
                raise self._failure
            taken = Taken(tuple(self._ready), self._sent)
            self._ready.clear()
            self._pending = 0
            self._changed.notify_all()
            return taken

    def confirm(self, lsn: int) -> None:
        """Everything below `lsn` is durable. The server hears of it within half a second."""
        self._confirmed = max(self._confirmed, lsn)

    def leave(self) -> None:
        """Stop reading; what has come whole can still be taken, and then it is `finished`."""
        failure = self._failure
        self.close()
        self._failure, self._done = failure, True  # that reading was interrupted is no failure

    def close(self) -> None:
        """Report the last position and stop reading."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            with contextlib.suppress(OSError):
                self._wire.interrupt()
            self._thread.join()

    def _size(self) -> int:
        return self._pending + len(self._splitter)

    def _is_worthwhile(self) -> bool:
        return bool(self._failure) or self._done or not self._flowing or self._size() > _WORTHWHILE

    def _has_whole(self) -> bool:
        return bool(self._ready) or self._splitter.ready

    def _cut(self) -> None:
        if (frames := self._splitter.cut()) is not None:
            self._ready.append(frames)
            self._pending += len(frames.data)

    def _run(self) -> None:
        before = self._traffic.cpu
        try:
            while not (self._stopping or self._done):
                self._step()
                self._traffic.cpu = before + time.thread_time()
        except BitVelocityError as error:
            self._failure = error
        except Exception as error:  # whatever happens in this thread, the consumer must hear of it
            self._failure = _lost(error)
        finally:
            with self._changed:
                self._changed.notify_all()
        if self._stopping:
            with contextlib.suppress(Exception):  # a courtesy: what is not reported comes again
                self._report()

    def _step(self) -> None:
        chunk = self._wire.receive()
        if chunk:
            self._take_in(chunk)
            self._at("received")
            self._hold_back()
            self._heard_at = time.monotonic()
        elif self._is_silent(self._silence):
            raise silent(self._silence)
        self._report_if_due()
        if len(chunk) in _GATHERING:
            time.sleep(_NAP)

    def _take_in(self, chunk: memoryview | bytes | bytearray) -> None:
        traffic, splitter = self._traffic, self._splitter
        with self._changed:
            frames, strays = splitter.frames, splitter.stray_messages
            for event in splitter.feed(chunk):
                self._act(event)
                if self._done:
                    break
            if len(splitter) > self._piece and not self._done:
                self._cut()
                self._part(self._piece if self._parting else self._limit)
            self._flowing = len(chunk) > _FLOW
            traffic.bytes += len(chunk)
            traffic.frames += splitter.frames - frames
            traffic.stray_messages += splitter.stray_messages - strays
            self._done |= self._until is not None and self._whole_up_to() >= self._until
            if self._has_whole():
                self._changed.notify_all()

    def _whole_up_to(self) -> int:
        """The LSN up to which everything has come whole."""
        self._cut()
        last = self._ready[-1] if self._ready else None
        commit = last.last_commit() if isinstance(last, Frames) else last.commit if last else None
        return max(self._sent, commit.end_lsn if commit else 0)

    def _part(self, limit: int) -> None:
        """Move what has come of a transaction that memory should not hold to its file."""
        if len(self._splitter) > limit:
            self._spill.keep(self._splitter.part(WHOLE))
            self._parting = True

    def _act(self, event: Event) -> None:
        match event:
            case Segment():
                self._spill.keep(event)
            case Keepalive():
                if event.between:
                    self._sent = max(self._sent, event.wal_end)
                self._asked |= event.reply
            case StreamCommit():
                self._cut()
                if self._spill.is_unsure(event.xid):
                    self.unsure, self._done = event.commit.end_lsn, True
                    return
                self._ready.append(self._spill.commit(event))
                self._traffic.streamed += 1
            case PartedCommit():
                self._spill.keep(self._splitter.part(WHOLE, last=True))
                whole = StreamCommit(WHOLE, event.commit)
                self._ready.append(self._spill.commit(whole, self._splitter.layout))
                self._parting = False
            case StreamAbort():
                self._spill.abort(event)
            case Refusal():
                raise failure(event.sqlstate, event.message, self._place)
            case Ended():
                raise ConnectionLostError("The source ended the stream.", safe=KEPT)

    def _hold_back(self) -> None:
        """Stop reading while the consumer has enough to do; the server is kept informed meanwhile."""
        if not self._is_full():
            return
        began = time.monotonic()
        while self._is_full() and not self._stopping:
            with self._changed:
                self._changed.wait_for(
                    lambda: not self._is_full() or self._stopping, min(1.0, self._report_every)
                )
            self._report_if_due()
        self._traffic.waited += time.monotonic() - began

    def _is_full(self) -> bool:
        return self._size() > self._limit and self._has_whole()

    def _report_if_due(self) -> None:
        passed = time.monotonic() - self._reported_at
        news = self._confirmed > self._reported and passed > _PROMPT
        if self._asked or news or passed > self._report_every:
            self._report()

    def _is_silent(self, seconds: float) -> bool:
        return time.monotonic() - self._heard_at > seconds

    def _report(self) -> None:
        """Standby status: received, flushed and applied up to what the consumer confirmed; one long silent is to answer."""
        lsn = self._confirmed
        self._wire.send(pack(">cQQQQB", b"r", lsn, lsn, lsn, 0, self._is_silent(self._silence / 2)))
        self._reported, self._reported_at, self._asked = lsn, time.monotonic(), False
        self._at("reported")


def begin_stream(wire: Wire, statement: bytes, place: Place, patience: float) -> bytearray:
    """Ask for the stream, wait until the server grants it, and give what came with that."""
    wire.query(statement)
    received, at = bytearray(), 0
    deadline = time.monotonic() + patience
    while True:
        received += wire.receive()
        if time.monotonic() > deadline:
            raise silent(patience)
        while len(received) - at >= 5:
            after = at + 1 + int.from_bytes(received[at + 1 : at + 5], "big")
            if received[at] == _GRANTED:
                return received
            if after > len(received):
                break
            if received[at] == _ERROR:
                answer = refusal(bytes(received[at + 5 : after]))
                raise failure(answer.sqlstate, answer.message, place)
            at = after


def silent(seconds: float) -> ConnectionLostError:
    """The connection stands, and nothing comes through it."""
    return ConnectionLostError(f"The source has said nothing for {seconds:g} s, though it was asked to.", safe=KEPT)


def _lost(error: Exception) -> ConnectionLostError:
    lost = ConnectionLostError(
        f"The connection to the source was lost: {error or type(error).__name__}", safe=KEPT
    )
    lost.__cause__ = error
    return lost
