"""Audit contexts that one program wrote: the same fields in the same order, so that only their values are looked for.

What stands between two values is compared in all messages at once, and a value ends at its quotation mark. Messages with
anything else than plain ASCII, and few or odd ones, are not found here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .buffer import TAIL, Buffer, Flags, Offsets
from .context import FIELDS, PLAIN

_FORMS = 4
"""So many ways to write a context are looked for in one piece."""
_FEW = 16
"""With so few messages, reading each is cheaper."""
_WIDEST = 256
_QUOTE, _BACKSLASH = b'"\\'
_FIRST, _LAST = 0x20, 0x7E


@dataclass(frozen=True, slots=True)
class Found:
    """A row for each message, an item for each field: where its value begins and ends; 0 where there is none."""

    starts: Offsets
    ends: Offsets
    done: Flags
    """The messages that were read."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What stands before each value and behind the last; `fields`: which field each value is, if it is any."""

    literals: list[bytes]
    fields: list[int]

    @property
    def quotes(self) -> int:
        return sum(literal.count(_QUOTE) for literal in self.literals)


@dataclass(frozen=True, slots=True)
class _Quotes:
    """The quotation marks of some messages: the offsets of all in one row, `at`, and which of these each message has."""

    at: Offsets
    which: Offsets
    """Numbers of the messages."""
    begin: Offsets
    end: Offsets
    first: Offsets
    count: Offsets

    def pick(self, which: Offsets) -> _Quotes:
        of = (self.which, self.begin, self.end, self.first, self.count)
        return _Quotes(self.at, *(items[which] for items in of))


def find_values(buffer: Buffer, begin: Offsets, length: Offsets) -> Found:
    """The values of messages whose contents are `length` bytes from `begin` on."""
    shape = (len(begin), len(FIELDS))
    found = Found(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(len(begin), np.bool_))
    if len(begin) <= _FEW:
        return found
    quotes = _quotes(buffer, begin, length)
    for _ in range(_FORMS):
        left = np.flatnonzero(~found.done[quotes.which])
        if len(left) <= _FEW:
            break
        first = int(quotes.which[left[0]])
        form = _form(bytes(buffer.raw[begin[first] : begin[first] + length[first]]))
        if form is None:
            break
        _fill(buffer, found, form, quotes.pick(left[quotes.count[left] == form.quotes]))
    return found


def _quotes(buffer: Buffer, begin: Offsets, length: Offsets) -> _Quotes:
    """Of the messages that are short and of plain letters."""
    wide = max(1, int(min(length.max(), _WIDEST)))
    which = np.flatnonzero((length <= wide) & (begin + wide + TAIL <= len(buffer.raw)))
    cells = buffer.rows(begin[which], wide)
    cells[np.arange(wide) >= length[which, None]] = _FIRST
    plain = (cells - _FIRST <= _LAST - _FIRST) & (cells != _BACKSLASH)
    if not plain.all():
        clean = plain.all(axis=1)
        which, cells = which[clean], cells[clean]
    row, column = np.divmod(np.flatnonzero(cells == _QUOTE), wide)
    count = np.bincount(row, minlength=len(which))
    begin, length = begin[which], length[which]
    return _Quotes(begin[row] + column, which, begin, begin + length, np.cumsum(count) - count, count)


def _form(content: bytes) -> _Form | None:
    """The form of a message; None if not even its own expression knows it."""
    match = PLAIN.fullmatch(content)
    if match is None:
        return None
    groups = [group for group in range(1, PLAIN.groups + 1) if match[group] is not None]
    ends = [0, *(match.end(group) for group in groups)]
    starts = [*(match.start(group) for group in groups), len(content)]
    literals = [content[end:start] for end, start in zip(ends, starts, strict=True)]
    return _Form(literals, [group - 1 for group in groups])


def _fill(buffer: Buffer, found: Found, form: _Form, quotes: _Quotes) -> None:
    """Note the values of those messages that have the form."""
    at, passed, edges = quotes.begin, 0, []
    has = np.ones(len(at), np.bool_)
    for literal in form.literals[:-1]:
        has &= buffer.matches(at, literal)
        passed += literal.count(_QUOTE)
        end = quotes.at[quotes.first + passed]
        edges.append((at + len(literal), end))
        at = end
    has &= buffer.matches(at, form.literals[-1])
    has &= at + len(form.literals[-1]) == quotes.end
    which = quotes.which[has]
    found.done[which] = True
    for field, (start, end) in zip(form.fields, edges, strict=True):
        if field < len(FIELDS):
            found.starts[which, field], found.ends[which, field] = start[has], end[has]
