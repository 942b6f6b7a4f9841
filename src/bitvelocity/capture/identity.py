"""Which server the source is, and how far its WAL reaches."""

from __future__ import annotations

from dataclasses import dataclass

from bitvelocity.changes import parse_lsn

from .connection import connect, our_errors
from .failures import Place


@dataclass(frozen=True, slots=True)
class Identity:
    """A cluster, the timeline that it is on, and the end of its WAL."""

    system: str
    timeline: int
    end: int


def identify(dsn: str) -> Identity:
    """Ask the server; needs REPLICATION, as the stream does."""
    place = Place("", "")
    with our_errors(place), connect(dsn, place, replication=True) as connection:
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
    assert row is not None  # the command has always one row
    return Identity(str(row[0]), int(row[1]), parse_lsn(row[2]))
