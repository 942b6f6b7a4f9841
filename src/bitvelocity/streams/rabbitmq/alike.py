"""Headers of messages that one program wrote: the same names in the same order, so that only their values are looked for.

What stands between two values is compared as one word in all messages at once. Where one message differs, nothing is told,
and the maps are walked through (`decoding`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..slices import Bytes, Ints, Slices, has, same_names, wide
from .encoding import AGAIN, KEY, Binary

_TEXTS, _VALUES = (0xA1, 0xB1), (0xA0, 0xA1, 0xB0, 0xB1)
_MOST = 255
_AGAIN = re.compile(rf"^{AGAIN}[0-9]+:")


@dataclass(frozen=True, slots=True)
class Item:
    """One header: its name, all that stands before the length of its value, and of how many bytes that length is."""

    name: bytes
    before: bytes
    width: int


@dataclass(frozen=True, slots=True)
class Alike:
    """Keys and headers of messages that have the same names. Without a key there is none in any of them."""

    key: Slices
    names: Sequence[bytes]
    values: Slices

    def maps(self, rows: int, values: Binary) -> Binary:
        """The headers as a column; `values` are those of all records."""
        return same_names([_word(name) for name in self.names], rows, values)


def alike(raw: Bytes, named: Ints, body: Ints) -> Alike | None:
    """The headers of all messages, whose maps lie from `named` to `body`; None if they are not as those of the first."""
    if not len(named) or len(raw) >= 1 << 31 or (items := _items(raw, int(named[0]), int(body[0]))) is None:
        return None
    if not has(raw, named + 8, (len(items) * 2).to_bytes(4)).all():
        return None
    at = named + 12
    starts, ends = np.empty((2, len(named), len(items)), np.int64)
    for number, item in enumerate(items):
        if not has(raw, at, item.before).all():
            return None
        at = at + len(item.before)
        lengths = wide(raw, at, ">u4" if item.width == 4 else ">u1")
        starts[:, number] = at = at + item.width
        ends[:, number] = at = at + lengths
    return _apart(items, starts, ends) if (at == body).all() else None


def _apart(items: Sequence[Item], starts: Ints, ends: Ints) -> Alike:
    """The key, which is the first header if it is one, and the others."""
    rows, skip = len(starts), int(bool(items) and items[0].name == KEY.encode())
    nothing, keyed = np.zeros(rows, np.int64), np.full(rows, bool(skip))
    key = Slices(starts[:, 0], ends[:, 0], keyed) if skip else Slices(nothing, nothing, keyed)
    starts, ends = starts[:, skip:].ravel(), ends[:, skip:].ravel()
    return Alike(key, [item.name for item in items[skip:]], Slices(starts, ends, np.ones(len(starts), np.bool_)))


def _items(raw: Bytes, at: int, body: int) -> Sequence[Item] | None:
    """The map of one message, if it has the kinds of names and values that we write and no value is NULL."""
    data = raw[at + 8 : body].tobytes()
    count, at = int.from_bytes(data[:4]) // 2, 4
    found = list[Item]()
    while len(found) < min(count, _MOST + 1) and at + 2 <= len(data):
        begin, kind = at, data[at]
        width = _width(kind)
        name = at + 1 + width
        at = name + int.from_bytes(data[at + 1 : name])
        if kind not in _TEXTS or at >= len(data) or data[at] not in _VALUES:
            return None
        item = Item(data[name:at], data[begin : at + 1], _width(data[at]))
        at += 1
        at += item.width + int.from_bytes(data[at : at + item.width])
        found.append(item)
    return found if len(found) == count <= _MOST and at == len(data) else None


def _width(kind: int) -> int:
    return 1 if kind < 0xB0 else 4


def _word(name: bytes) -> str:
    """As the record had it, and as text."""
    return _AGAIN.sub("", name.decode("utf-8", "replace"))


__all__ = ["Alike", "alike"]
