"""Rows of `COPY ... TO STDOUT` (text format) to Arrow string columns. Pure, and no step is done per value.

The server sends one row per CopyData message: values as it prints them, a tab between them, `\\N` for NULL, a
newline at the end, and a backslash before each tab, newline, carriage return, backspace, form feed, vertical
tab or backslash that is part of a value.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from struct import Struct

import numpy as np
import numpy.typing as npt

from .frames import Refusal, refusal
from .pgoutput.buffer import TAIL, Buffer, Offsets, Strings

_U32 = Struct(">I").unpack_from
_DATA, _ERROR, _READY = b"dEZ"
_HEAD = 5
_TAB, _BACKSLASH, _N = b"\t\\N"
_MEANS = np.arange(256, dtype=np.uint8)
_MEANS[list(b"bfnrtv")] = list(b"\b\f\n\r\t\v")


Cells = npt.NDArray[np.uint8]


class CopyRows:
    """Collects the rows of one COPY: `feed` bytes, `cut` rows off, until `done`."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._starts: array[int] = array("q")
        self._at = 0
        self.done = False
        self.refusal: Refusal | None = None

    def __len__(self) -> int:
        return len(self._data)

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take bytes as they came from the server."""
        self._data += chunk
        data, at, end = self._data, self._at, len(self._data)
        while end - at >= _HEAD:
            after = at + 1 + _U32(data, at + 1)[0]
            if after > end:
                break
            if data[at] == _DATA:
                self._starts.append(at)
            else:
                self._other(at, after)
            at = after
        self._at = at

    def _other(self, at: int, after: int) -> None:
        """A message that is no row: note what it says, and blank it, lest it look like values."""
        kind = self._data[at]
        if kind == _ERROR:
            self.refusal = refusal(bytes(self._data[at + _HEAD : after]))
        self.done = self.done or kind == _READY
        self._data[at:after] = bytes(after - at)

    def cut(self) -> tuple[bytearray, array[int]] | None:
        """All whole rows so far and where their messages begin."""
        if not self._starts:
            return None
        data, starts, end = self._data, self._starts, self._at
        self._data, self._starts, self._at = data[end:], array("q"), 0
        del data[end:]
        return data, starts


@dataclass(frozen=True, slots=True)
class _Fields:
    """Where the values stand: one row of the matrices per table row, one column per table column."""

    at: Offsets
    end: Offsets


def parse_copy(data: bytearray, starts: array[int], width: int) -> list[Strings]:
    """The rows whose messages begin at `starts`, as `width` columns. Owns `data` from here on."""
    if not width:
        return []
    data += b"\0" * TAIL
    cells = np.frombuffer(data, np.uint8)
    fields = _fields(data, np.frombuffer(starts, np.int64), width)
    null = (fields.end - fields.at == 2) & (cells[fields.at] == _BACKSLASH) & (cells[fields.at + 1] == _N)
    backslashes = np.flatnonzero(cells == _BACKSLASH)
    if len(backslashes) > np.count_nonzero(null):
        escaped = backslashes[~np.isin(backslashes, fields.at[null])]
        data, fields = _unescape(cells, escaped, fields)
    buffer = Buffer(data)
    return [
        buffer.strings(buffer.spans(fields.at[:, j], fields.end[:, j] - fields.at[:, j]), ~null[:, j])
        for j in range(width)
    ]


def _fields(data: bytearray, starts: Offsets, width: int) -> _Fields:
    cells = np.frombuffer(data, np.uint8)
    ends = starts + Buffer(data).u32(starts + 1)  # of the row without its newline
    cells[(starts[:, None] + np.arange(_HEAD)).ravel()] = 0  # lengths may look like tabs and backslashes
    tabs = np.flatnonzero(cells == _TAB).reshape(len(starts), width - 1)
    return _Fields(np.column_stack([starts + _HEAD, tabs + 1]), np.column_stack([tabs, ends]))


def _unescape(cells: Cells, backslashes: Offsets, fields: _Fields) -> tuple[bytearray, _Fields]:
    """Take the escaping backslashes out. In a run of backslashes every other one escapes the one after it."""
    begins = np.append(True, np.diff(backslashes) != 1)
    in_run = np.arange(len(backslashes)) - np.maximum.accumulate(
        np.where(begins, np.arange(len(backslashes)), 0)
    )
    escapes = backslashes[in_run % 2 == 0]
    cells[escapes + 1] = _MEANS[cells[escapes + 1]]
    keep = np.ones(len(cells), np.bool_)
    keep[escapes] = False
    gone = np.cumsum(~keep)
    return bytearray(cells[keep].tobytes()), _Fields(
        fields.at - gone[fields.at - 1], fields.end - gone[fields.end - 1]
    )
