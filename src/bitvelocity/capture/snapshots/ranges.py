"""A table cut into ranges of its blocks, and how far its reading has come. Pure.

A heap is read by blocks (`ctid`), whatever its key: any key type, no index, no collation. A row that moves meanwhile
was changed, so the stream has it. What moves rows without telling the stream (CLUSTER, VACUUM FULL, pg_repack) gives
the table a new file, and then its reading begins again. Blocks that are added later hold rows of later
transactions; the last range has no end, so that none is missed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

RANGE_BYTES = 16 << 20
"""What a range holds on disk, TOAST included."""


@dataclass(frozen=True, slots=True)
class Range:
    """Blocks from `first` up to but not including `end` (None: to the table's end) of one part."""

    part: int
    first: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Part:
    """A table that rows lie in: the published table itself, or a leaf of it.

    - `file`: the number of its file; another number later means that rows were moved about.
    - `blocks`: how many it had when its reading was planned; 0 where blocks cannot be told apart.
    - `width`: blocks of a range. `next`: the first block that is not read yet; beyond `blocks`: all is read.
    """

    schema: str
    name: str
    file: int
    blocks: int
    width: int
    next: int = 0

    @property
    def done(self) -> bool:
        """Everything was read."""
        return self.next > self.blocks

    def range(self, number: int, first: int) -> Range:
        """The range that begins at a block, as part `number`."""
        end = first + self.width
        return Range(number, first, end if end < self.blocks else None)

    def past(self, done: Range) -> Part:
        """As it stands when `done`, which begins at `next`, was read."""
        return replace(self, next=self.blocks + 1 if done.end is None else done.end)


def part(schema: str, name: str, file: int, *, blocks: int, size: int) -> Part:
    """A part of `blocks` blocks and `size` bytes, TOAST included."""
    width = max(1, RANGE_BYTES * blocks // size) if size > 0 and blocks else 1
    return Part(schema, name, file, blocks, width)


def all_ranges(parts: tuple[Part, ...]) -> Iterator[Range]:
    """Every range that is not read yet, in order."""
    for number, one in enumerate(parts):
        first: int | None = None if one.done else one.next
        while first is not None:
            piece = one.range(number, first)
            yield piece
            first = piece.end


def halved(parts: tuple[Part, ...], number: int) -> tuple[Part, ...]:
    """The parts with ranges half as wide in one of them: what was cut turned out too large to hold."""
    return tuple(
        replace(one, width=max(1, one.width // 2)) if at == number else one for at, one in enumerate(parts)
    )


def share(parts: tuple[Part, ...]) -> float:
    """How much is read, from 0 to 1, by blocks."""
    total = sum(one.blocks + 1 for one in parts)
    return sum(min(one.next, one.blocks + 1) for one in parts) / total if total else 1.0


def as_json(parts: tuple[Part, ...]) -> list[list[Any]]:
    """Parts as plain data."""
    return [[one.schema, one.name, one.file, one.blocks, one.width, one.next] for one in parts]


def from_json(data: list[list[Any]]) -> tuple[Part, ...]:
    """The inverse of `as_json`."""
    return tuple(Part(*row) for row in data)
