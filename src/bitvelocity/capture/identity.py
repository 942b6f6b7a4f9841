"""Which server the source is, how far its WAL reaches, and whether its history is the one that the lake was filled from."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg

from bitvelocity.changes import format_lsn, parse_lsn
from bitvelocity.errors import ConnectionLostError

from .connection import Connection, connect, our_errors
from .failures import KEPT, Place, commits_lost, source_behind
from .slot import in_recovery

_MESSAGE_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """A cluster, the timeline that it is on, and the end of its WAL."""

    system: str
    timeline: int
    end: int
    standby: bool = False
    left: Mapping[int, int] = field(default_factory=dict)
    """The timelines that it came from, each with the LSN at which it left it."""

    def knows(self, position: int, timeline: int) -> bool:
        """Whether a commit at `position`, read from a server of this cluster on `timeline`, happened here too."""
        return position <= 0 or timeline == self.timeline or position < self.left.get(timeline, 0)


def identify(dsn: str) -> Identity:
    """Ask the server; needs REPLICATION, as the stream does."""
    place = Place("", "")
    with our_errors(place), connect(dsn, place, replication=True) as connection:
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
        standby = in_recovery(connection)
        assert row is not None  # the command has always one row
        left = _left(connection, int(row[1])) if int(row[1]) > 1 else {}
    return Identity(str(row[0]), int(row[1]), parse_lsn(row[2]), standby, left)


def _left(connection: Connection, timeline: int) -> dict[int, int]:
    """A timeline's history as its server keeps it; empty where that file is gone."""
    text = b""
    with suppress(psycopg.Error):
        answer = connection.execute(f"TIMELINE_HISTORY {timeline:d}".encode()).pgresult
        text = (answer and answer.get_value(0, 1)) or b""
    lines = [line.split() for line in text.decode(errors="replace").splitlines() if line.strip() and line.lstrip()[0] != "#"]
    return {int(words[0]): parse_lsn(words[1]) for words in lines}


def check_history(source: Identity, position: int, known: tuple[str, int] | None = None) -> None:
    """The source must know of all commits up to `position`: one that took over after a failover may not.

    `known` is the cluster and the timeline that they were read from. A new primary that has written on past `position` looks
    level; but where it left that timeline, it tells. A standby that has just started has still to replay what it had
    received; it is asked again.
    """
    if known is not None and known[0] == source.system and not source.knows(position, known[1]):
        if source.standby and source.timeline < known[1]:
            raise ConnectionLostError(f"The standby is still on timeline {source.timeline}; the lake was filled from {known[1]}.", safe=KEPT)
        branch = source.left.get(known[1])
        raise commits_lost(known[1], source.timeline, format_lsn(branch) if branch else None, format_lsn(position))
    if position <= source.end:
        return
    if source.standby:
        raise ConnectionLostError(
            f"The standby has replayed up to {format_lsn(source.end)} only; the lake stands at {format_lsn(position)}.",
            safe=KEPT,
        )
    raise source_behind(format_lsn(source.end), format_lsn(position))


def write_past(dsn: str, position: int) -> None:
    """Let the source write WAL that means nothing until it ends above `position`: what comes next stands above it then."""
    place = Place("", "")
    with our_errors(place), connect(dsn, place) as connection:
        while (left := _until(connection, position)) >= 0:
            connection.execute("select pg_logical_emit_message(true, 'bv.past', repeat('x', %s))", [min(left + 1, _MESSAGE_BYTES)])


def _until(connection: Connection, position: int) -> int:
    row = connection.execute("select (%s::pg_lsn - pg_current_wal_insert_lsn())::bigint", [format_lsn(position)]).fetchone()
    return int(row[0]) if row else -1
