"""Whoever holds the source's tables as they were, and can tell them from what they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from .batch import Batch


@dataclass(frozen=True, slots=True)
class Sums:
    """The rows of a table in buckets by their keys: bucket -> (rows, sum of their hashes).

    Both sides compute them alike. The text of a value is what the source prints (a decimal without zeros at its end, NULL
    as U+001E); texts are joined with U+001F. The bucket of a row is the first 4 hexadecimal digits of the MD5 of its key's text
    modulo `buckets`; the hash is the first 15 digits of the MD5 of the text of `columns`.
    """

    key: tuple[str, ...]
    columns: tuple[str, ...]
    buckets: int
    of: Mapping[int, tuple[int, int]]


class Twin(Protocol):
    """Holds a copy of the source's tables. For one table after the other: `sums`, `open`, `changed` for all rows, `gone`.

    Sums that differ only say where to look: what `changed` and `gone` give is found by comparing values.
    """

    def sums(self, relation: str, columns: Sequence[str]) -> Sums | None:
        """Of a table whose source has these columns; None: nothing is held that could be compared."""
        ...

    def open(self, relation: str, buckets: Sequence[int]) -> None:
        """Look into these buckets now."""
        ...

    def changed(self, batch: Batch) -> Batch:
        """Of rows as the source has them: those that are not held (`c`), or not so (`u`)."""
        ...

    def gone(self) -> Iterator[Batch]:
        """Rows that are held, and that no batch has shown (`d`)."""
        ...
