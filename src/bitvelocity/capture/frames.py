"""Finds pgoutput frames in the bytes of a replication stream and cuts them at commit boundaries. No I/O.

A frame is one CopyData message that carries WAL: `d`, length (4), a few fields, then the pgoutput message. Where it
begins depends on who sent it: that is its `Layout`. Frames stay where they are: what moves on is the buffer and the
offsets at which frames begin.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things stand in a frame: its pgoutput message at `payload`, the LSN of that message at `lsn`, the
    server's clock at `sent` (0: neither is there). `mark` is the byte at offset 5 that tells a frame from other
    messages.
    """

    mark: int
    payload: int
    lsn: int = 0
    sent: int = 0


STREAMED = Layout(ord("w"), 30, lsn=6, sent=22)
"""XLogData of a walsender: `w`, the message's LSN, the end of the WAL, the server's clock."""
COPIED = Layout(0, 11)
"""A row `(data)` of a binary COPY: number of fields (2), length (4). More than 255 fields would be another mark."""
COPIED_WITH_LSN = Layout(0, 23, lsn=11)
"""A row `(lsn, data)` of a binary COPY: number of fields (2), length (4), LSN (8), length (4)."""

_U32 = Struct(">I").unpack_from
_U64 = Struct(">Q").unpack_from
_COMMIT = Struct(">QQq").unpack_from
_DATA, _KEEPALIVE, _ERROR, _DONE = b"dkEc"
_PLAIN_COMMIT, _MESSAGE = b"CM"
_START, _STOP, _STREAM_COMMIT, _STREAM_ABORT = b"SEcA"
_ROWS = b"IUDT"
_TURNS = frozenset((_PLAIN_COMMIT, _MESSAGE, _START, _STREAM_COMMIT, _STREAM_ABORT))
"""Kinds of message that the scan must look at; all others it steps over."""
_SEGMENT_TURNS = frozenset((_STOP, _MESSAGE))
"""The same, in a segment of a transaction that is sent ahead of its commit."""


@dataclass(frozen=True, slots=True)
class Commit:
    """How a transaction ended. `committed_at` counts microseconds since 2000, as the server does."""

    lsn: int
    end_lsn: int
    committed_at: int


@dataclass(frozen=True, slots=True)
class Frames:
    """Whole transactions, and messages between them where those are kept, as they came.

    `starts` are the offsets in `data` at which their frames begin.
    """

    data: bytearray
    starts: array[int]
    transactions: int
    layout: Layout = STREAMED

    def last_commit(self) -> Commit:
        """The commit of the last transaction; `end_lsn` may be confirmed once it is durable.

        A message that stands alone ends itself, at no known time.
        """
        at = self.starts[-1] + self.layout.payload
        if self.data[at] == _MESSAGE:
            lsn = _U64(self.data, at + 2)[0]
            return Commit(lsn, lsn + 1, 0)
        return Commit(*_COMMIT(self.data, at + 2))


@dataclass(frozen=True, slots=True)
class Segment:
    """Raw frames of a transaction that is still in progress, streamed ahead of its commit."""

    xid: int
    data: bytes
    starts: array[int]
    """Where in `data` its frames begin."""
    messages: tuple[int, ...] = ()
    """Where in `data` frames with logical messages begin."""


@dataclass(frozen=True, slots=True)
class StreamCommit:
    """A streamed transaction committed."""

    xid: int
    commit: Commit


@dataclass(frozen=True, slots=True)
class StreamAbort:
    """A streamed transaction (`subxid == xid`) or one savepoint of it was rolled back."""

    xid: int
    subxid: int


@dataclass(frozen=True, slots=True)
class Keepalive:
    """The server is alive and has sent all that it has up to `wal_end`.

    `between`: it came between two transactions, so all commits below `wal_end` have been received whole.
    """

    wal_end: int
    reply: bool
    between: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """The server ended the stream with an error."""

    sqlstate: str
    message: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ended the stream in good order."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A message that was watched for follows a row at once, and nothing here tells which of them was first."""


@dataclass(frozen=True, slots=True)
class PartedCommit:
    """The transaction of which parts were taken before its end has come whole."""

    commit: Commit


Event = Segment | StreamCommit | StreamAbort | PartedCommit | Doubt | Keepalive | Refusal | Ended


class Splitter:
    """Collects the frames of a stream: `feed` bytes and act on the events, `cut` whole transactions off.

    Events come in the stream's order, and at a `StreamCommit` only the transactions before it can be cut. `watched` is
    how messages begin (flags left out) whose place among the rows matters: where only LSNs tell it, and the layout has
    none, there is a `Doubt`.
    """

    def __init__(self, layout: Layout = STREAMED, *, keep_messages: bool = False, watched: bytes = b"") -> None:
        self.layout, self._keep_messages = layout, keep_messages
        self._watched = watched if not layout.lsn else b""
        self._data = bytearray()
        self._starts: array[int] = array("q")
        self._at = 0  # the first byte that was not looked at
        self._whole = 0  # frames up to and including the last COMMIT
        self._commits = 0
        self._xid: int | None = None  # of the streamed segment that we are in
        self._parted = False  # parts of the transaction that we are in were taken
        self.frames = 0
        self.stray_messages = 0
        """Messages outside of any transaction that were dropped, as nobody asked for messages."""

    def __len__(self) -> int:
        return len(self._data)

    @property
    def ready(self) -> bool:
        """Whether at least one whole transaction can be cut."""
        return self._whole > 0

    def feed(self, chunk: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Take bytes as they came from the server. Iterate to the end before the next call."""
        self._data += chunk
        while True:
            if self._xid is not None:
                yield from self._segment()
                if self._xid is not None:
                    return
            event = self._scan()
            if event is not None:
                yield event
            elif self._xid is None:
                break
        if not self._starts:  # nothing to keep but, perhaps, the beginning of a frame
            self._drop(0, self._at)

    def cut(self) -> Frames | None:
        """Cut off all whole transactions that were fed so far."""
        if not self._whole:
            return None
        data, starts, whole = self._data, self._starts, self._whole
        last = starts[whole - 1]
        end: int = last + 1 + _U32(data, last + 1)[0]
        self._data, self._starts = data[end:], array("q", [s - end for s in starts[whole:]])
        del data[end:], starts[whole:]
        cut = Frames(data, starts, self._commits, self.layout)
        self._at, self._whole, self._commits = self._at - end, 0, 0
        return cut

    def part(self, xid: int, *, last: bool = False) -> Segment:
        """Take what has come of a transaction `xid` that is too large to be waited for; cut the whole ones first.

        Its end is told as a `PartedCommit`, upon which the `last` part is due.
        """
        taken = Segment(xid, bytes(memoryview(self._data)[: self._at]), self._starts)
        self._drop(0, self._at)
        self._starts = array("q")
        self._parted = not last
        return taken

    def _scan(self) -> Event | None:
        """Step over plain frames, keeping their offsets, until there is something to act on."""
        data, at, end = self._data, self._at, len(self._data)
        keep, before = self._starts.append, len(self._starts)
        mark, payload = self.layout.mark, self.layout.payload
        event: Event | None = None
        while event is None and self._xid is None and end - at >= 5:
            after = at + 1 + _U32(data, at + 1)[0]
            if after > end:
                break
            if data[at] == _DATA and data[at + 5] == mark:
                kind = data[at + payload]
                if kind not in _TURNS:
                    keep(at)
                elif kind == _PLAIN_COMMIT:
                    keep(at)
                    event = self._end(at)
                elif kind != _MESSAGE:
                    event = self._turn(kind, at)
                elif len(self._starts) > self._whole or self._parted:
                    event = Doubt() if self._watched and self._is_doubtful(at) else None
                    keep(at)
                elif self._keep_messages:
                    keep(at)
                    self._whole = len(self._starts)
                else:
                    self.stray_messages += 1
            else:
                event = self._control(at, after)
            at = after
        self._at = at
        self.frames += len(self._starts) - before
        return event

    def _is_doubtful(self, at: int) -> bool:
        """A message that ends a savepoint comes after the row that follows it: both have one LSN."""
        prefix = at + self.layout.payload + 10
        if self._data[prefix : prefix + len(self._watched)] != self._watched:
            return False
        return not self._starts or self._data[self._starts[-1] + self.layout.payload] in _ROWS

    def _end(self, at: int) -> Event | None:
        """A transaction that came whole has ended."""
        if self._parted:
            return PartedCommit(Commit(*_COMMIT(self._data, at + self.layout.payload + 2)))
        self._whole, self._commits = len(self._starts), self._commits + 1
        return None

    def _turn(self, kind: int, at: int) -> Event | None:
        """Begin a streamed segment, or tell how a streamed transaction ended."""
        payload = at + self.layout.payload + 1
        if kind == _START:
            self._xid = _U32(self._data, payload)[0]
            return None
        if kind == _STREAM_COMMIT:
            return StreamCommit(_U32(self._data, payload)[0], Commit(*_COMMIT(self._data, payload + 5)))
        return StreamAbort(_U32(self._data, payload)[0], _U32(self._data, payload + 4)[0])

    def _control(self, at: int, after: int) -> Event | None:
        data = self._data
        if data[at] == _DATA and data[at + 5] == _KEEPALIVE:
            between = self._xid is None and len(self._starts) == self._whole and not self._parted
            return Keepalive(_U64(data, at + 6)[0], bool(data[at + 22]), between)
        if data[at] == _ERROR:
            return refusal(bytes(data[at + 5 : after]))
        return Ended() if data[at] == _DONE else None  # else: CopyBothResponse, notices, parameters

    def _segment(self) -> Iterator[Event]:
        """Take the frames of a streamed segment out of the buffer, as many as are there."""
        data, start, end = self._data, self._at, len(self._data)
        at, xid = start, self._xid or 0
        messages: list[int] = []
        starts: array[int] = array("q")
        mark, payload = self.layout.mark, self.layout.payload
        while self._xid is not None and end - at >= 5:
            after = at + 1 + _U32(data, at + 1)[0]
            if after > end:
                break
            if data[at] == _DATA and data[at + 5] == mark:
                starts.append(at - start)
                if (kind := data[at + payload]) in _SEGMENT_TURNS:
                    if kind == _STOP:
                        self._xid = None
                    else:
                        messages.append(at - start)
            elif (event := self._control(at, after)) is not None:
                yield event
            at = after
        if at > start:
            taken = bytes(memoryview(data)[start:at])
            self._drop(start, at)
            self.frames += len(starts)
            yield Segment(xid, taken, starts, tuple(messages))

    def _drop(self, start: int, stop: int) -> None:
        del self._data[start:stop]
        self._at = start


def refusal(body: bytes) -> Refusal:
    """The fields of an ErrorResponse that people and programs need."""
    fields = {part[:1]: part[1:].decode("utf-8", "replace") for part in body.split(b"\0") if part}
    detail = f" ({fields[b'D']})" if b"D" in fields else ""
    return Refusal(fields.get(b"C", ""), fields.get(b"M", "the server gave no reason") + detail)


def frame_starts(data: bytes | bytearray, layout: Layout = STREAMED) -> tuple[array[int], int]:
    """Offsets of the WAL frames in a piece of a spilled transaction, and where its last whole frame ends."""
    starts: array[int] = array("q")
    at, end = 0, len(data)
    while end - at >= 5:
        after = at + 1 + _U32(data, at + 1)[0]
        if after > end:
            break
        if data[at] == _DATA and data[at + 5] == layout.mark:  # keepalives may stand between
            starts.append(at)
        at = after
    return starts, at
