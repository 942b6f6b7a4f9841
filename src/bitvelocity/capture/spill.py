"""Transactions that memory should not hold, kept as raw frames in one file each, decoded at commit: those that
stream ahead of their commit, and those that come whole but are very large.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from bitvelocity.changes import Passing, pass_by
from bitvelocity.errors import CaptureError

from .failures import KEPT
from .frames import STREAMED, Commit, Layout, Segment, StreamAbort, StreamCommit
from .pgoutput import Piece
from .told import Told

_FRAMES, _STARTS = ".frames", ".starts"
"""What came, and where in it the frames begin: found when they come, so that nobody looks for them after COMMIT."""
_INDEX = 1 << 19
"""Bytes of the latter that are read at once."""
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
            yield from _pieces(self.path, size, self.layout)

    def remove(self) -> None:
        """Forget it: it is durable elsewhere, or will be streamed again."""
        _unlink(self.path)


class SpillFolder:
    """The files of transactions in progress, of one slot. What a crash left there is removed at once."""

    def __init__(self, path: Path, at: Passing = pass_by, *, every_message: bool = False) -> None:
        self.path, self._at, self._every_message = path, at, every_message
        self.bytes = 0
        self._open: dict[int, tuple[FileIO, FileIO]] = {}
        self._aborted: dict[int, set[int]] = {}
        self._told: dict[int, Told] = {}
        self._committed = 0
        with _disk_trouble(path):
            path.mkdir(parents=True, exist_ok=True)
            self._empty()

    def keep(self, segment: Segment) -> None:
        """Append to the transaction's file."""
        with _disk_trouble(self.path):
            frames, starts = self._files(segment.xid)
            if segment.xid != WHOLE:
                told = self._told.setdefault(segment.xid, Told(every_message=self._every_message))
                told.add(segment)
            places = np.asarray(segment.starts, np.int64) + frames.tell()
            _append(frames, segment.data)
            _append(starts, places.tobytes())
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
        if self._closed(event.xid):
            _unlink(self._file(event.xid))
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
        path = self.path / f"{event.xid}-{self._committed}{_FRAMES}"
        with _disk_trouble(self.path):
            if self._closed(event.xid):
                for suffix in (_STARTS, _FRAMES):
                    self._file(event.xid).with_suffix(suffix).rename(path.with_suffix(suffix))
            else:
                path.touch()
                path.with_suffix(_STARTS).touch()
        self._at("stream committed")
        self._told.pop(event.xid, None)
        aborted = frozenset(self._aborted.pop(event.xid, ()))
        return Spilled(path, event.xid, event.commit, aborted, layout)

    def close(self) -> None:
        """Remove all files: the source streams unconfirmed transactions again."""
        for xid in list(self._open):
            self._closed(xid)
        with contextlib.suppress(OSError):
            self._empty()
            self.path.rmdir()

    def _empty(self) -> None:
        for suffix in (_FRAMES, _STARTS):
            for leftover in self.path.glob(f"*{suffix}"):
                leftover.unlink()

    def _files(self, xid: int) -> tuple[FileIO, FileIO]:
        """The files of a transaction, open to be appended to."""
        if (files := self._open.get(xid)) is None:
            frames = FileIO(self._file(xid), "ab")
            files = self._open[xid] = frames, FileIO(self._file(xid).with_suffix(_STARTS), "ab")
        return files

    def _closed(self, xid: int) -> bool:
        """Close the files of a transaction; whether it had any."""
        files = self._open.pop(xid, ())
        for file in files:
            file.close()
        return bool(files)

    def _file(self, xid: int) -> Path:
        return self.path / f"{xid}{_FRAMES}"


def _append(file: FileIO, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[file.write(left) :]


def _unlink(frames: Path) -> None:
    for suffix in (_FRAMES, _STARTS):
        frames.with_suffix(suffix).unlink(missing_ok=True)


def _pieces(path: Path, size: int, layout: Layout) -> Iterator[Piece]:
    """A spilled transaction in pieces of about `size` bytes, cut where frames begin."""
    starts, begin = np.zeros(0, np.int64), 0
    with path.open("rb") as frames, path.with_suffix(_STARTS).open("rb") as places:
        while True:
            while (not len(starts) or starts[-1] < begin + size) and (more := places.read(_INDEX)):
                starts = np.append(starts, np.frombuffer(more, np.int64))
            if not len(starts):
                return
            count = max(1, int(np.searchsorted(starts, begin + size)))
            end = int(starts[count]) if count < len(starts) else path.stat().st_size
            data = bytearray(end - begin)
            frames.readinto(data)
            yield Piece(data, starts[:count] - begin, layout)
            starts, begin = starts[count:], end


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
