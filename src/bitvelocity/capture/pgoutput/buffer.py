"""Unaligned gathers from a byte buffer, and Arrow string views that point into it.

A gather takes one item at each of many offsets. numpy does that three times faster with one 4- or 16-byte
item per offset (overlapping, stride 1) than with rows of bytes, and 16 bytes from the length field on are
already the shape of an Arrow view: length, then either 12 bytes of value or 4 of prefix, buffer number and
offset.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Offsets = npt.NDArray[np.int64]
Views = npt.NDArray[np.uint32]
"""Arrow views: one row of four words per value."""
Flags = npt.NDArray[np.bool_]

Strings: TypeAlias = "pa.Array[Any]"
"""An Arrow array of strings or of views of them."""

INLINE = 12
"""Values up to this length stand in the view itself."""
TAIL = 32
"""Bytes after the last value that a gather may touch."""


def _masks() -> npt.NDArray[np.void]:
    """For each short length, the view's words to keep: all of the length, that many bytes of the value."""
    masks = np.zeros((INLINE + 1, 16), np.uint8)
    masks[:, :4] = 255
    masks[:, 4:] = np.tril(np.full((INLINE + 1, INLINE), 255, np.uint8), -1)
    return masks.view("V16").ravel()


_MASKS = _masks()


class Buffer:
    """Bytes that columns are gathered from. `raw` must end with `TAIL` bytes that belong to no value."""

    def __init__(self, raw: bytes | bytearray) -> None:
        size = len(raw) - TAIL
        self.raw = raw
        self.bytes: npt.NDArray[np.uint8] = np.frombuffer(raw, np.uint8)
        self.arrow: pa.Buffer = pa.py_buffer(raw)
        self._u16 = np.ndarray((size,), ">u2", buffer=raw, strides=(1,))
        self._u32 = np.ndarray((size,), ">u4", buffer=raw, strides=(1,))
        self._i64 = np.ndarray((size,), ">i8", buffer=raw, strides=(1,))
        self._v16 = np.ndarray((size,), "V16", buffer=raw, strides=(1,))

    def u16(self, at: Offsets) -> Offsets:
        """Unsigned 2-byte numbers, big-endian."""
        return self._u16[at].astype(np.int64)

    def u32(self, at: Offsets) -> Offsets:
        """Unsigned 4-byte numbers, big-endian."""
        return self._u32[at].astype(np.int64)

    def i64(self, at: Offsets) -> Offsets:
        """Signed 8-byte numbers, big-endian."""
        return self._i64[at].astype(np.int64)

    def rows(self, at: Offsets, width: int) -> npt.NDArray[np.uint8]:
        """A copy of the `width` bytes at each offset, a row for each."""
        items = np.ndarray((len(self.raw) - width + 1,), f"V{width}", buffer=self.raw, strides=(1,))
        return items[at].view(np.uint8).reshape(len(at), width)

    def matches(self, at: Offsets, text: bytes) -> Flags:
        """Whether `text` stands at each offset."""
        found = self.rows(at, len(text)) == np.frombuffer(text, np.uint8)
        return np.asarray(found.all(axis=1))

    def counted(self, at: Offsets, here: Flags | None = None) -> tuple[Views, Offsets]:
        """Views of values that have their 4-byte length before them, and those lengths.

        `at` is where the lengths stand; only where `here` is there a value at all, elsewhere the view
        is empty.
        """
        views = self._v16[at].view(np.uint32).reshape(len(at), 4)
        lengths = views[:, 0].byteswap()
        if here is not None:
            lengths *= here
        views[:, 0] = lengths
        wide = lengths.astype(np.int64)
        _finish(views, at + 4, wide)
        return views, wide

    def spans(self, at: Offsets, lengths: Offsets) -> Views:
        """Views of values at `at` with lengths known otherwise. `at` is 4 or more."""
        views = self._v16[at - 4].view(np.uint32).reshape(len(at), 4)
        views[:, 0] = lengths
        _finish(views, at, lengths)
        return views

    def strings(self, views: Views, valid: Flags | None = None) -> Strings:
        """The Arrow array of `views`; NULL where not `valid`."""
        return strings(views, valid, self.arrow)

    def binaries(self, views: Views) -> pa.Array[Any]:
        """The same for bytes that need not be text."""
        return pa.Array.from_buffers(
            pa.binary_view(), len(views), [None, pa.py_buffer(views.data), self.arrow]
        )


def _finish(views: Views, at: Offsets, lengths: Offsets) -> None:
    """Make whole views of words that hold the length and the first twelve bytes."""
    if not len(lengths):
        return
    if lengths.max() <= INLINE:
        pairs = views.view(np.uint64)
        pairs &= _MASKS.take(lengths).view(np.uint64).reshape(-1, 2)
        return
    short = np.flatnonzero(lengths <= INLINE)
    kept = views[short] & _MASKS.take(lengths[short]).view(np.uint32).reshape(-1, 4)
    views[:, 2] = 0
    views[:, 3] = at
    views[short] = kept


def validity(valid: Flags) -> pa.Buffer | None:
    """The bitmap of an Arrow array; None where nothing is NULL."""
    return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little").data)


def strings(views: Views, valid: Flags | None, data: pa.Buffer | None) -> Strings:
    """An Arrow `string_view` array over ready views."""
    buffers = [None if valid is None else validity(valid), pa.py_buffer(np.ascontiguousarray(views).data)]
    return pa.Array.from_buffers(
        pa.string_view(), len(views), [*buffers, data] if data is not None else buffers
    )


def letters(codes: npt.NDArray[np.uint8], valid: Flags | None = None) -> Strings:
    """An Arrow array of one-letter strings; NULL where not `valid`."""
    views = np.zeros((len(codes), 4), np.uint32)
    views[:, 0] = 1 if valid is None else valid
    views[:, 1] = codes
    return strings(views, valid, None)
