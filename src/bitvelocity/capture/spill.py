"""Transactions that memory should not hold, kept as raw frames in one file each, decoded at commit: those that
stream ahead of their commit, and those that come whole but are very large.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from bitvelocity.changes import Passing, pass_by
from bitvelocity.errors import CaptureError

from .failures import KEPT
from .frames import STREAMED, Commit, Layout, Segment, StreamAbort, StreamCommit
from .pgoutput import Piece
from .told import Told, read_frames

_SUFFIX = ".frames"
WHOLE = 0
"""In place of the id of a transaction that came whole: it is only one at a time, and its BEGIN tells the id."""


@dataclass(frozen=True, slots=True)
class Spilled:
    """A committed transaction whose frames are in a file."""

    path: Path
    xid: int
    commit: Commit
    aborted: frozenset[int]
    """Its subtransactions that were rolled back."""
    layout: Layout = STREAMED

    def pieces(self, size: int) -> Iterator[Piece]:
        """The frames in pieces of about `size` bytes."""
        with _disk_trouble(self.path):
            for _, data, starts in read_frames(self.path, size, layout=self.layout):
                yield Piece(data, starts, self.layout)

    def remove(self) -> None:
        """Forget it: it is durable elsewhere, or will be streamed again."""
        self.path.unlink(missing_ok=True)


class SpillFolder:
    """The files of transactions in progress, of one slot. What a crash left there is removed at once."""

    def __init__(self, path: Path, at: Passing = pass_by, *, every_message: bool = False) -> None:
        self.path, self._at, self._every_message = path, at, every_message
        self.bytes = 0
        self._open: dict[int, FileIO] = {}
        self._aborted: dict[int, set[int]] = {}
        self._told: dict[int, Told] = {}
        self._committed = 0
        with _disk_trouble(path):
            path.mkdir(parents=True, exist_ok=True)
            for leftover in path.glob(f"*{_SUFFIX}"):
                leftover.unlink()

    def keep(self, segment: Segment) -> None:
        """Append to the transaction's file."""
        with _disk_trouble(self.path):
            file = self._open.get(segment.xid)
            if file is None:
                file = self._open[segment.xid] = FileIO(self._file(segment.xid), "ab")
            if segment.xid != WHOLE:
                told = self._told.setdefault(segment.xid, Told(every_message=self._every_message))
                told.add(segment)
            left = memoryview(segment.data)
            while left:
                left = left[file.write(left) :]
        self.bytes += len(segment.data)
        self._at("spilled")

    def abort(self, event: StreamAbort) -> None:
        """Forget the transaction, or remember which of its savepoints was rolled back."""
        if event.subxid != event.xid:
            self._aborted.setdefault(event.xid, set()).add(event.subxid)
            if (told := self._told.get(event.xid)) is not None:
                told.abort()
            self._at("savepoint aborted")
            return
        self._aborted.pop(event.xid, None)
        self._told.pop(event.xid, None)
        if (file := self._open.pop(event.xid, None)) is not None:
            file.close()
            self._file(event.xid).unlink(missing_ok=True)
            self._at("stream aborted")

    def forget_open(self) -> None:
        """Forget what has come of transactions that are not at their end: from another feed they come from their beginning."""
        for xid in list(self._open):
            self.abort(StreamAbort(xid, xid))
        self._aborted.clear()

    def is_unsure(self, xid: int) -> bool:
        """Whether a message of the transaction may have gone with one of its savepoints: its frames do not tell."""
        told = self._told.get(xid)
        if told is None or not told.aborts:
            return False
        with _disk_trouble(self.path):
            return told.is_unsure(self._file(xid), frozenset(self._aborted.get(xid, ())))

    def commit(self, event: StreamCommit, layout: Layout = STREAMED) -> Spilled:
        """Hand the transaction over. Its file gets a name of its own, as ids may come round again."""
        self._committed += 1
        path = self.path / f"{event.xid}-{self._committed}{_SUFFIX}"
        with _disk_trouble(self.path):
            if (file := self._open.pop(event.xid, None)) is not None:
                file.close()
                self._file(event.xid).rename(path)
            else:
                path.touch()
        self._at("stream committed")
        self._told.pop(event.xid, None)
        aborted = frozenset(self._aborted.pop(event.xid, ()))
        return Spilled(path, event.xid, event.commit, aborted, layout)

    def close(self) -> None:
        """Remove all files: the source streams unconfirmed transactions again."""
        for file in self._open.values():
            file.close()
        self._open.clear()
        with contextlib.suppress(OSError):
            for leftover in self.path.glob(f"*{_SUFFIX}"):
                leftover.unlink()
            self.path.rmdir()

    def _file(self, xid: int) -> Path:
        return self.path / f"{xid}{_SUFFIX}"


@contextlib.contextmanager
def _disk_trouble(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CaptureError(
            f"Transactions in progress cannot be kept in {path}: {error.strerror or error}.",
            safe=KEPT,
            remedy="Make room or choose another folder: it takes the size of the largest open transactions; "
            "a higher logical_decoding_work_mem keeps more of them on the server.",
        ) from error
