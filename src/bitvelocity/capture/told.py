"""Which messages of a transaction sent ahead of its commit may have gone with a savepoint that was rolled back.

PostgreSQL sends a row under the id of its savepoint, but a logical message under that of the whole transaction. When a
savepoint is rolled back after it was sent, only the order tells whether a message was in it: it was not when
a row that stayed was sent between the message and the news of the rollback.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from .frames import STREAMED, Layout, Segment, frame_starts
from .pgoutput import IS_ROW, PREFIX, Piece

_PREFIX_AT = STREAMED.payload + 14
"""Behind the kind (1), the transaction's id (4), the flags (1) and the LSN (8)."""
_CHUNK = 1 << 18


class Told:
    """Where the file of a transaction has messages, and where it stood when a savepoint's rollback was told.

    `every_message`: not audit contexts alone.
    """

    def __init__(self, *, every_message: bool = False) -> None:
        self.aborts: list[int] = []
        self._contexts: list[int] = []
        self._others: list[int] | None = [] if every_message else None
        self._size = 0

    def add(self, segment: Segment) -> None:
        """The segment goes to the file's end."""
        for at in segment.messages:
            if segment.data.startswith(PREFIX, at + _PREFIX_AT):
                self._contexts.append(self._size + at)
            elif self._others is not None:
                self._others.append(self._size + at)
        self._size += len(segment.data)

    def abort(self) -> None:
        """A savepoint was rolled back."""
        if not self.aborts or self.aborts[-1] != self._size:
            self.aborts.append(self._size)

    def is_unsure(self, file: Path, aborted: frozenset[int]) -> bool:
        """Whether any message that counts may have been in one of the `aborted` savepoints."""
        return any(
            (row := _first_row(file, message, until, aborted)) is not None and row >= news
            for message, news, until in self._doubtful(self._contexts)
        ) or any(
            _first_row(file, message, news, aborted) is None
            for message, news, _ in self._doubtful(self._others or [])
        )

    def _doubtful(self, messages: list[int]) -> Iterator[tuple[int, int, int]]:
        """The last message before each rollback, where that was told, and where the next message is.

        What is sure of it is sure of those before it; and a context counts only until the next one.
        """
        for message, following in pairwise([*messages, self._size]):
            nth = bisect_right(self.aborts, message)
            if nth < len(self.aborts) and self.aborts[nth] <= following:
                yield message, self.aborts[nth], following


def _first_row(file: Path, start: int, stop: int, aborted: frozenset[int]) -> int | None:
    """Where the first row between two places of the file stands that was not rolled back."""
    gone = np.array(sorted(aborted), np.uint32)
    for at, data, starts in read_frames(file, _CHUNK, start=start):
        piece = Piece(data, starts, STREAMED)
        rows = np.flatnonzero(IS_ROW[piece.kinds] & ~np.isin(piece.buffer.u32(piece.at + 1), gone))
        if len(rows):
            found = at + int(piece.starts[rows[0]])
            return found if found < stop else None
        if at + piece.nulls_at >= stop:
            break
    return None


def read_frames(
    path: Path, size: int, *, start: int = 0, layout: Layout = STREAMED
) -> Iterator[tuple[int, bytearray, array[int]]]:
    """The frames of a file from the one at `start` on, about `size` bytes at a time, and where in the file those stand."""
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        left = b""
        while chunk := file.read(size):
            data = bytearray(left)
            data += chunk
            starts, end = frame_starts(data, layout)
            left = bytes(memoryview(data)[end:])
            if starts:
                del data[end:]
                yield start, data, starts
            start += end
