"""One heartbeat in the source's WAL: no table, no privilege."""

from __future__ import annotations

import psycopg

from .connect import connect
from .failures import explained

PREFIX = "bv.heartbeat"
_BEAT = "select pg_logical_emit_message(true, %s, extract(epoch from clock_timestamp())::text) - '0/0'::pg_lsn"


def beat_once(dsn: str) -> int:
    """Write one, in a transaction of its own; the LSN that a reader has passed when it has seen it."""
    try:
        with connect(dsn, autocommit=True) as connection:
            row = connection.execute(_BEAT, [PREFIX]).fetchone()
    except psycopg.Error as error:
        raise explained(error, doing="Writing a heartbeat") from error
    assert row is not None  # the query has always one row
    return int(row[0])
