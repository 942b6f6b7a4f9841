"""The seam of a lake table: append rows and their position in one commit, read by anyone who knows Delta.

Promises of a `Table`, whatever keeps it:

- Order: rows staged are invisible; `commit` makes all of them visible at once, together with the position.
- Repeats: the position only grows. A caller drops what stands at or below `position()` before it stages.
- Done: when `commit` returns, rows, position and log entry survive a power cut (unless made with `sync=False`).
- Readers: a version once read stays readable for the grace period of `maintain`, whatever is rewritten meanwhile.
- Close: a table holds nothing that must be closed; the lease on the lake's root belongs to whoever opened the lake.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

Bound = int | str
"""A smallest or largest value as Delta's statistics print it."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One parquet file of a table. `path` is relative to the table's folder."""

    path: str
    rows: int
    bytes: int
    low: Mapping[str, Bound] = field(default_factory=dict)
    """Smallest value of each statistics column; a column of only NULLs is left out."""
    high: Mapping[str, Bound] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Staged:
    """Rows written and synced, but named by no log entry yet. `data` is kept while it is small."""

    file: DataFile
    data: pa.Table | None = None


class Table(Protocol):
    """A table that one process writes. See the promises above."""

    def position(self) -> int:
        """The position of the last commit, -1 when there is none."""
        ...

    def stage(self, rows: pa.Table, more: Iterable[pa.Table] = ()) -> Staged:
        """Write rows, and more of them behind, that stay invisible until they are committed."""
        ...

    def commit(self, staged: Sequence[Staged], position: int, *, replace: bool | Sequence[DataFile] = False) -> int:
        """Make the staged rows visible at `position`; with `replace`, in place of all others or of some. Gives the version."""
        ...

    def discard(self, staged: Sequence[Staged]) -> None:
        """Forget staged rows."""
        ...

    def files(self) -> tuple[DataFile, ...]:
        """The live files."""
        ...

    def maintain(self) -> None:
        """Keep the number of files, log entries and dead files bounded. Changes no data."""
        ...
