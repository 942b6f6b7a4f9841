"""Where a change stands in its source."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """`(commit_lsn, ordinal)`: total order of changes over all entities of one PostgreSQL source.

    Never a bare LSN: a COPY gives one LSN to many rows. `ordinal` counts the row changes of the transaction from 0,
    over all its tables. Rows of the initial snapshot have the LSN one below the slot's consistent point, so that
    every streamed transaction stands above them.
    """

    commit_lsn: int
    ordinal: int = 0

    def __str__(self) -> str:
        return f"{format_lsn(self.commit_lsn)}:{self.ordinal}"


def format_lsn(lsn: int) -> str:
    """As PostgreSQL prints it: `format_lsn(0x16B374D848)` is "16/B374D848"."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """The inverse of `format_lsn`."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)
