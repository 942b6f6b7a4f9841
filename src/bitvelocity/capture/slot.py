"""The replication slot: our bookmark in the source's WAL, and what must hold before it can be read."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from bitvelocity.changes import parse_lsn
from bitvelocity.errors import CaptureError

from .connection import Connection
from .failures import (
    Place,
    failover_too_old,
    publication_missing,
    slot_active,
    slot_foreign,
    slot_invalid,
    slot_synced,
    standby_too_old,
    wal_level_low,
)

_FACTS = "select to_jsonb(s), current_database() from pg_replication_slots s where slot_name = %s"
_HEARD = """
select r.pid, r.reply_time, (select setting::float8 / 1000 from pg_settings where name = 'wal_sender_timeout')
  from pg_replication_slots s join pg_stat_replication r on r.pid = s.active_pid where s.slot_name = %s
"""
_FAILOVER_SINCE = 170_000
_STANDBY_SINCE = 160_000


@dataclass(frozen=True, slots=True)
class Slot:
    """What the server says of a slot; fields that its version does not have are None."""

    name: str
    plugin: str | None
    database: str | None
    active_pid: int | None
    confirmed: int
    restart: int
    wal_status: str | None
    safe_wal_size: int | None
    invalidation_reason: str | None
    failover: bool = False
    """It follows to the standby."""
    synced: bool = False
    """It was copied from the primary."""


def find_slot(connection: Connection, name: str) -> Slot | None:
    """The slot as it stands, None when there is none."""
    row = connection.execute(_FACTS, [name]).fetchone()
    return _slot(row[0]) if row else None


def _slot(facts: dict[str, Any]) -> Slot:
    reason = facts.get("invalidation_reason")
    if reason is None and (facts.get("wal_status") == "lost" or facts.get("conflicting")):
        reason = "its WAL was removed" if facts.get("wal_status") == "lost" else "it conflicts with recovery"
    return Slot(
        name=facts["slot_name"],
        plugin=facts["plugin"],
        database=facts["database"],
        active_pid=facts["active_pid"],
        confirmed=parse_lsn(facts["confirmed_flush_lsn"] or "0/0"),
        restart=parse_lsn(facts["restart_lsn"] or "0/0"),
        wal_status=facts.get("wal_status"),
        safe_wal_size=facts.get("safe_wal_size"),
        invalidation_reason=reason,
        failover=bool(facts.get("failover")),
        synced=bool(facts.get("synced")),
    )


def in_recovery(connection: Connection) -> bool:
    """The server is a standby, or still on its way up."""
    row = connection.execute("select pg_is_in_recovery()").fetchone()
    return bool(row and row[0])


def check_source(connection: Connection, place: Place) -> None:
    """Refuse early, and in words, what START_REPLICATION would refuse late."""
    if connection.info.server_version < _STANDBY_SINCE and in_recovery(connection):
        raise standby_too_old(connection.info.server_version // 10_000)
    level = connection.execute(
        "select setting from pg_settings where name in ('wal_level', 'effective_wal_level') order by name"
    ).fetchone()
    if level and level[0] != "logical":
        raise wal_level_low(f"wal_level is {level[0]}")
    if not connection.execute(
        "select 1 from pg_publication where pubname = %s", [place.publication]
    ).fetchone():
        raise publication_missing(place)
    may = connection.execute(
        "select rolreplication or rolsuper from pg_roles where rolname = current_user"
    ).fetchone()
    if not (may and may[0]):
        raise CaptureError(
            "The user of the DSN may not read the change stream.",
            safe="Nothing was touched.",
            remedy="alter role <user> replication; grant select on the published tables to <user>.",
            code="MissingPrivilege",
        )


def check_slot(connection: Connection, slot: Slot, place: Place) -> None:
    """The slot must be ours and still be good."""
    check_ours(connection, slot, place)
    if slot.invalidation_reason:
        raise slot_invalid(place, slot.invalidation_reason)
    if slot.synced and in_recovery(connection):
        raise slot_synced(place)


def check_ours(connection: Connection, slot: Slot, place: Place) -> None:
    """The slot must be one that we could have made, here."""
    if slot.plugin != "pgoutput":
        raise slot_foreign(place, f"a slot of {slot.plugin or 'physical replication'}")
    if slot.database != connection.info.dbname:
        raise slot_foreign(place, f"a slot of the database {slot.database}")


def wait_until_free(connection: Connection, place: Place, patience: float) -> None:
    """Wait for the last reader to be gone: a process that was killed holds its slot a moment longer.

    A copy of the slot, by which a backlog is read, counts as the slot. A reader whose connection broke without a word holds
    the slot until wal_sender_timeout: the server has not heard of it since we look. One that is heard of is somebody else.
    """
    began, first = time.monotonic(), _heard(connection, place)
    while (pid := _reader(connection, place.slot) or _reader(connection, copy_name(place.slot))) is not None:
        waited, heard = time.monotonic() - began, _heard(connection, place)
        silent = heard is not None and heard == first and waited < heard.timeout + patience
        if waited > patience and not silent:
            raise slot_active(place, f"process {pid} of the server")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class _Heard:
    """When the server last heard of a slot's reader, and after how many seconds without a word it gives one up."""

    pid: int
    at: datetime
    timeout: float


def _heard(connection: Connection, place: Place) -> _Heard | None:
    row = connection.execute(_HEARD, [place.slot]).fetchone()
    return _Heard(row[0], row[1], row[2]) if row and row[1] and row[2] else None


def _reader(connection: Connection, name: str) -> int | None:
    slot = find_slot(connection, name)
    return slot.active_pid if slot else None


def copy_name(slot: str) -> str:
    """The name of the slot's temporary copy; names have up to 63 bytes."""
    return f"{slot[:58]}_copy"


def drop_slot(connection: Connection, place: Place) -> None:
    """Let the source forget; only for a slot from which nothing was ever made durable."""
    connection.execute("select pg_drop_replication_slot(%s)", [place.slot])


def report_interval(connection: Connection, at_most: float) -> float:
    """Seconds between reports that keep a server of this wal_sender_timeout (0: none) from giving us up."""
    row = connection.execute(
        "select setting::float8 / 1000 from pg_settings where name = 'wal_sender_timeout'"
    ).fetchone()
    timeout: float = row[0] if row and row[0] else at_most * 4
    return min(at_most, timeout / 4)


@dataclass(frozen=True, slots=True)
class NewSlot:
    """A slot just made: where it begins, and the name of the snapshot that shows the tables at that point."""

    consistent_point: int
    snapshot: str


def create_slot(replication: Connection, place: Place, *, failover: bool) -> NewSlot:
    """Make the slot and export its snapshot, which lives until the next command on this connection.

    PostgreSQL waits here for all transactions that are running to end.
    """
    if failover:
        _require_failover(replication)
    options = sql.SQL("SNAPSHOT 'export', FAILOVER true" if failover else "SNAPSHOT 'export'")
    statement = sql.SQL("CREATE_REPLICATION_SLOT {} LOGICAL pgoutput ({})").format(
        sql.Identifier(place.slot), options
    )
    row = replication.execute(statement).fetchone()
    assert row is not None  # the command has always one row
    return NewSlot(parse_lsn(row[1]), row[2])


def set_failover(replication: Connection, place: Place, *, wanted: bool) -> None:
    """Let the slot follow to the standby from now on, or no longer. Nobody may be reading it."""
    if wanted:
        _require_failover(replication)
    statement = sql.SQL("ALTER_REPLICATION_SLOT {} (FAILOVER {})")
    replication.execute(statement.format(sql.Identifier(place.slot), sql.SQL(str(wanted).lower())))


def _require_failover(connection: Connection) -> None:
    if connection.info.server_version < _FAILOVER_SINCE:
        raise failover_too_old()


def start_statement(place: Place, start: int, *, ahead: bool = True) -> bytes:
    """The command that begins the stream at `start` (0: where the slot stands).

    `ahead`: large transactions may be sent ahead of their commit.
    """
    from_lsn = sql.SQL(f"{start >> 32:X}/{start & 0xFFFFFFFF:X}")
    statement = sql.SQL(
        "START_REPLICATION SLOT {} LOGICAL {} "
        "(proto_version '2', publication_names {}, messages 'true', streaming {})"
    )
    publications = sql.Literal(sql.Identifier(place.publication).as_string())
    streaming = sql.Literal("on" if ahead else "off")
    return statement.format(sql.Identifier(place.slot), from_lsn, publications, streaming).as_bytes()
