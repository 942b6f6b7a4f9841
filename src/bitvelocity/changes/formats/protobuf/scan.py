"""Fields of many messages at once: one step for each field of the longest message, none for each message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Data: TypeAlias = "npt.NDArray[np.uint8]"
Places: TypeAlias = "npt.NDArray[np.int64]"
Numbers: TypeAlias = "npt.NDArray[np.uint64]"
_VARINT, _EIGHT, _LENGTHY, _FOUR = 0, 1, 2, 5
_SHORT = "a value is longer or shorter than its schema says"


@dataclass(frozen=True, slots=True)
class Found:
    """Fields, in the order in which they stand in each message: whose they are, what is in them, and where their bytes are."""

    rows: Places
    numbers: Numbers
    wires: Numbers
    values: Numbers
    starts: Places
    sizes: Places

    def of(self, number: int) -> Found:
        """The fields of one number, message by message."""
        which = np.nonzero(self.numbers == np.uint64(number))[0]
        return self.take(which[np.argsort(self.rows[which], kind="stable")])

    def take(self, which: Any) -> Found:
        return Found(*(getattr(self, name)[which] for name in self.__slots__))


def scan(data: Data, starts: Places, ends: Places) -> Found:
    """All fields of messages that begin and end there."""
    rows, at, steps = np.nonzero(starts < ends)[0], starts, list[tuple[Any, ...]]()
    at = at[rows]
    while len(rows):
        end = ends[rows]
        tags, at = varints(data, at, end)
        values, first, behind = _values(data, tags & np.uint64(7), at, end)
        steps.append((rows, tags >> np.uint64(3), tags & np.uint64(7), values, first, behind - first))
        rows, at = rows[behind < end], behind[behind < end]
    columns: Any = zip(*steps, strict=True) if steps else [(np.empty(0, np.int64),)] * 6
    kinds: Any = (np.int64, np.uint64, np.uint64, np.uint64, np.int64, np.int64)
    joined: Any = [np.concatenate(one).astype(kind) for one, kind in zip(columns, kinds, strict=True)]
    return Found(*joined)


def _values(data: Data, wires: Numbers, at: Places, ends: Places) -> tuple[Numbers, Places, Places]:
    """What stands behind tags: numbers, and where the bytes of each begin and end."""
    values, first, behind = np.zeros(len(at), np.uint64), at.copy(), at.copy()
    for wire in np.unique(wires).tolist():
        which = wires == wire
        if wire == _VARINT:
            values[which], behind[which] = varints(data, at[which], ends[which])
        elif wire in (_EIGHT, _FOUR):
            values[which], behind[which] = fixed_numbers(data, at[which], ends[which], 8 if wire == _EIGHT else 4)
        elif wire == _LENGTHY:
            sizes, begins = varints(data, at[which], ends[which])
            if (sizes > (ends[which] - begins).astype(np.uint64)).any():
                raise ValueError(_SHORT)
            first[which], behind[which] = begins, begins + sizes.astype(np.int64)
        else:
            raise ValueError(f"a field is written in a way that is not known ({wire})")
    return values, first, behind


def varints(data: Data, at: Places, ends: Places) -> tuple[Numbers, Places]:
    """Numbers in groups of seven bits, and the places behind them."""
    values, behind, rest = np.zeros(len(at), np.uint64), at.copy(), np.arange(len(at))
    for step in range(10):
        places = at[rest] + step
        if (places >= ends[rest]).any():
            raise ValueError(_SHORT)
        held = data[places]
        values[rest] |= (held & 0x7F).astype(np.uint64) << np.uint64(7 * step)
        behind[rest] = places + 1
        rest = rest[held >= 0x80]
        if not len(rest):
            return values, behind
    raise ValueError("a number has more than ten bytes")


def fixed_numbers(data: Data, at: Places, ends: Places, size: int) -> tuple[Numbers, Places]:
    """Numbers of four or eight bytes."""
    if (at + size > ends).any():
        raise ValueError(_SHORT)
    raw = data[at[:, None] + np.arange(size)]
    return np.ascontiguousarray(raw).view(np.uint32 if size == 4 else np.uint64).reshape(-1).astype(np.uint64), at + size


def unpacked(data: Data, found: Found, size: int | None) -> Found:
    """Numbers that stand in one field, as if each had its own. `size`: None for those of seven bits to the byte."""
    rows, at, ends, steps = found.rows, found.starts, found.starts + found.sizes, list[tuple[Any, ...]]()
    rows, at, ends = rows[at < ends], at[at < ends], ends[at < ends]
    while len(rows):
        values, at = varints(data, at, ends) if size is None else fixed_numbers(data, at, ends, size)
        steps.append((rows, values))
        more = at < ends
        rows, at, ends = rows[more], at[more], ends[more]
    rows, values = (np.concatenate(one) for one in zip(*steps, strict=True)) if steps else (found.rows[:0], found.values[:0])
    order = np.argsort(rows, kind="stable")
    nothing = np.zeros(len(rows), np.int64)
    return Found(rows[order], nothing.view(np.uint64), nothing.view(np.uint64), values[order], nothing, nothing)


def cut(data: Data, starts: Places, sizes: Places) -> tuple[Data, Places]:
    """The bytes that stand there, behind each other, and their offsets."""
    offsets = np.append(0, np.cumsum(sizes))
    return data[np.repeat(starts - offsets[:-1], sizes) + np.arange(offsets[-1])], offsets


__all__ = ["Data", "Found", "Numbers", "Places", "cut", "scan", "unpacked", "varints"]
