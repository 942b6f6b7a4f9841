"""Which server the source is, and how far its WAL reaches."""

from __future__ import annotations

from dataclasses import dataclass

from bitvelocity.changes import format_lsn, parse_lsn
from bitvelocity.errors import ConnectionLostError

from .connection import connect, our_errors
from .failures import KEPT, Place, source_behind
from .slot import in_recovery


@dataclass(frozen=True, slots=True)
class Identity:
    """A cluster, the timeline that it is on, and the end of its WAL."""

    system: str
    timeline: int
    end: int
    standby: bool = False


def identify(dsn: str) -> Identity:
    """Ask the server; needs REPLICATION, as the stream does."""
    place = Place("", "")
    with our_errors(place), connect(dsn, place, replication=True) as connection:
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        standby = in_recovery(connection)
    assert row is not None  # the command has always one row
    return Identity(str(row[0]), int(row[1]), parse_lsn(row[2]), standby)


def check_history(source: Identity, position: int) -> None:
    """The source must know of all commits up to `position`: one that took over after a failover may not.

    A standby that has just started has still to replay what it had received; it is asked again.
    """
    if position <= source.end:
        return
    if source.standby:
        raise ConnectionLostError(
            f"The standby has replayed up to {format_lsn(source.end)} only; the lake stands at {format_lsn(position)}.",
            safe=KEPT,
        )
    raise source_behind(format_lsn(source.end), format_lsn(position))
