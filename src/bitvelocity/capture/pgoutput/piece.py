"""A piece of a stream: frames, ready to be decoded."""

from __future__ import annotations

from array import array

import numpy as np
import numpy.typing as npt

from ..frames import STREAMED, Layout
from .buffer import TAIL, Buffer, Offsets
from .extras import Wants, wanted

EPOCH = 946_684_800_000_000
"""PostgreSQL's year 2000 in microseconds since 1970."""
_MAX_COLUMNS = 1664
_PAD = b"n" * _MAX_COLUMNS + b"\0" * TAIL
"""A tuple of nothing but NULLs: where rows without an image are read from."""
BEGIN, COMMIT, RELATION, MESSAGE = b"BCRM"
INSERT, UPDATE, DELETE, TRUNCATE = b"IUDT"

OPS = np.zeros(256, np.uint8)
OPS[[INSERT, UPDATE, DELETE, TRUNCATE]] = list(b"cudt")
IS_ROW = OPS > 0

Index = npt.NDArray[np.int64]


class Piece:
    """Frames ready to be decoded. Owns `data` from here on."""

    def __init__(self, data: bytearray, starts: array[int] | Index, layout: Layout = STREAMED) -> None:
        self.layout = layout
        self.nulls_at = len(data)
        data += _PAD
        self.buffer = Buffer(data)
        self.starts: Index = np.frombuffer(starts, np.int64) if len(starts) else np.zeros(0, np.int64)
        self.at: Offsets = self.starts + layout.payload
        self.kinds: npt.NDArray[np.uint8] = self.buffer.bytes[self.at]

    def end(self, frame: int) -> int:
        """Where a frame ends: its length stands behind its first byte, and counts itself."""
        at = int(self.starts[frame]) + 1
        return at + int.from_bytes(self.buffer.raw[at : at + 4], "big")

    def lsns(self, frames: Index) -> Index:
        """The messages' own LSNs."""
        return self.buffer.i64(self.starts[frames] + self.layout.lsn)

    def has_rows(self) -> bool:
        """Whether there is any row change in it."""
        return bool(IS_ROW[self.kinds].any())

    def has(self, wants: Wants) -> bool:
        """Whether there is anything in it for a reader who wants that; only for transactions sent whole."""
        if self.has_rows() or (wants.detail and bool((self.kinds == COMMIT).any())):
            return True
        flags_at = self.at[self.kinds == MESSAGE] + 1
        return bool(wants.messages) and bool(wanted(self.buffer, flags_at, wants.messages).any())
