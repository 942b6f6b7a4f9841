"""The audit contexts of a piece as columns: with small transactions they are as many as the rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from .alike import Found, find_values
from .buffer import INLINE, TAIL, Buffer, Flags, Offsets, Strings, Views, validity
from .context import NOBODY, PREFIX, Context, parse_context

_PAD = bytes(4)
"""Spans begin behind four bytes."""


@dataclass(frozen=True, slots=True)
class _Field:
    """A field of all contexts: views into the piece, or, of those that were read one by one, into `apart`."""

    views: Views
    valid: Flags
    apart: pa.Buffer

    def strings(self, rows: Offsets, piece: pa.Buffer) -> Strings:
        valid = self.valid[rows]
        if not valid.any():
            return pa.nulls(len(rows), pa.string())
        buffers = [validity(valid), pa.py_buffer(self.views[rows].data), piece, self.apart]
        return pa.Array.from_buffers(pa.string_view(), len(rows), buffers).cast(pa.string())


class Contexts:
    """The contexts of a piece, numbered: 0 is nobody, 1 the one carried over, then one for each message.

    `at` is where the messages' flags stand. Messages alike are read together, any other by itself.
    """

    def __init__(self, buffer: Buffer, at: Offsets, carried: Context) -> None:
        size = at + 9 + len(PREFIX)
        self._buffer = buffer
        self._begin = size + 4
        self._length = buffer.u32(size)
        self._carried = carried

    def __getitem__(self, number: int) -> Context:
        return (NOBODY, self._carried)[number] if number < 2 else self._parsed(number - 2)

    def columns(self, rows: Offsets) -> list[Strings]:
        """One column per field: row `i` has the context number `rows[i]`."""
        return [field.strings(rows, self._buffer.arrow) for field in self._fields]

    @cached_property
    def _fields(self) -> list[_Field]:
        found = find_values(self._buffer, self._begin, self._length)
        others = np.flatnonzero(~found.done)
        contexts = [self._carried, *(self._parsed(number) for number in others.tolist())]
        which = np.append(1, others + 2)
        return [self._field(found, which, values, number) for number, values in enumerate(zip(*contexts, strict=True))]

    def _field(self, found: Found, which: Offsets, values: Context, number: int) -> _Field:
        """`values` are those of the contexts `which`, that were read one by one."""
        nobody = np.zeros(2, np.int64)
        starts, ends = found.starts[:, number], found.ends[:, number]
        views = self._buffer.spans(np.append(nobody + len(_PAD), starts), np.append(nobody, ends - starts))
        valid = np.append(nobody > 0, starts > 0)
        valid[which] = [value is not None for value in values]
        apart = Buffer(_PAD + b"".join(value or b"" for value in values) + bytes(TAIL))
        lengths = np.array([len(value or b"") for value in values], np.int64)
        own = apart.spans(len(_PAD) + np.cumsum(lengths) - lengths, lengths)
        own[lengths > INLINE, 2] = 1  # the second buffer
        views[which] = own
        return _Field(views, valid, apart.arrow)

    def _parsed(self, number: int) -> Context:
        begin, length = int(self._begin[number]), int(self._length[number])
        return parse_context(bytes(self._buffer.raw[begin : begin + length]))
