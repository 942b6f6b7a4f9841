"""What the server's refusals mean to the person who runs capture: one pure table from SQLSTATE to error and
remedy.
"""

from __future__ import annotations

from dataclasses import dataclass

from bitvelocity.errors import CaptureError, ConnectionLostError

KEPT = "What was committed downstream stays; the source keeps the rest for the slot."
LOST = (
    "What was committed downstream stays. Changes between that position and now are no longer in the WAL."
)
START_AGAIN = (
    "Run `bitvelocity recover`: it makes a new slot, compares the tables with silver, and brings in what was missed, deletes "
    "too. Raise max_slot_wal_keep_size (and idle_replication_slot_timeout) so that it does not happen again."
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where capture stands: the names that its messages need."""

    slot: str
    publication: str


_REMEDIES = {
    "28": "Check user, password and pg_hba.conf (a line for `replication` is not needed).",
    "42501": "alter role <user> replication; grant select on the published tables to <user>.",
    "42": "A table is not what was asked for. Was it the WHERE of a reading? Ask again: bitvelocity snapshot start <entity> --where ...",
    "3D000": "Name an existing database in the DSN.",
    "53": "Raise max_replication_slots and max_wal_senders, or drop slots that nobody reads.",
    "22P05": "The database holds text that is not valid in its encoding: repair those rows.",
    "22021": "The database holds text that is not valid in its encoding: repair those rows.",
    "": "See the server's log for the cause.",
}
"""Remedy for a SQLSTATE or a class of them."""


def failure(sqlstate: str | None, message: str, place: Place) -> CaptureError:
    """The error for what the server answered: lost connections retry by themselves, others need a person."""
    state = sqlstate or ""
    if not state or state.startswith(("08", "57P")):
        return ConnectionLostError(f"The connection to the source was lost: {message}", safe=KEPT)
    if state == "55006":
        return slot_active(place, message)
    if state in ("42704", "58P01", "55000"):
        return _gone_or_unready(state, message, place)
    remedy = next(_REMEDIES[known] for known in (state, state[:2], "") if known in _REMEDIES)
    return CaptureError(
        f"The source refused: {message}.", safe=KEPT, remedy=remedy, code=f"CaptureError:{state}"
    )


def _gone_or_unready(state: str, message: str, place: Place) -> CaptureError:
    if "wal_level" in message:
        return wal_level_low(message)
    if state == "42704":
        return publication_missing(place) if "publication" in message else slot_gone(place)
    return slot_invalid(place, message)


def read_on_standby() -> CaptureError:
    """A reading beside the stream puts marks into the WAL, and a standby writes none."""
    return CaptureError(
        "The source is a standby, and a table cannot be read beside the stream there: its marks must be written on the primary.",
        safe="Nothing was read; the stream goes on.",
        remedy="Set [capture] primary to the primary's DSN, start `bitvelocity up` again, then: bitvelocity snapshot resume <entity>.",
        code="Standby",
    )


def slot_gone(place: Place) -> CaptureError:
    """The slot that remembered our place is not there."""
    return CaptureError(
        f'The replication slot "{place.slot}" does not exist any more: the source has forgotten our place.',
        safe=LOST,
        remedy=f"Find out who dropped it (failover to a server without it? another project?). {START_AGAIN}",
        code="SlotGone",
    )


def slot_invalid(place: Place, reason: str) -> CaptureError:
    """The server gave the slot up."""
    return CaptureError(
        f'The server invalidated the replication slot "{place.slot}": {reason}.',
        safe=LOST,
        remedy=START_AGAIN,
        code="SlotInvalid",
    )


def slot_active(place: Place, message: str) -> CaptureError:
    """Somebody else reads the slot."""
    return CaptureError(
        f'The replication slot "{place.slot}" is being read by somebody else: {message}.',
        safe=KEPT,
        remedy="Stop the other reader (another `bitvelocity up`?), or give this project a slot of its own. "
        "A slot of a process that just died is free again within wal_sender_timeout.",
        code="SlotActive",
    )


def slot_foreign(place: Place, found: str) -> CaptureError:
    """The slot's name is taken by something that is not ours."""
    return CaptureError(
        f'The replication slot "{place.slot}" exists, but it is {found}.',
        safe="Nothing was touched.",
        remedy="Give this project a slot name of its own.",
        code="SlotForeign",
    )


def slot_synced(place: Place) -> CaptureError:
    """The slot is the standby's copy of the primary's."""
    return CaptureError(
        f'The replication slot "{place.slot}" is a copy that this standby keeps of the primary\'s, and cannot be read here.',
        safe=KEPT,
        remedy="Point [database] dsn at the primary (host=first,second target_session_attrs=read-write), or promote this "
        "server, or give the reader of the standby a slot of its own name.",
        code="SlotSynced",
    )


def standby_too_old(major: int) -> CaptureError:
    """A standby of a version that cannot decode."""
    return CaptureError(
        f"The server is a standby, and PostgreSQL {major} cannot read changes on one; 16 is the first that can.",
        safe="Nothing was touched.",
        remedy="Set [database] dsn to the primary, or upgrade.",
        code="Standby",
    )


def failover_too_old() -> CaptureError:
    """A server that has no failover slots."""
    return CaptureError(
        "Failover slots exist from PostgreSQL 17 on.",
        safe="Nothing was touched.",
        remedy="Set [capture] failover = false, or upgrade the server.",
        code="Failover",
    )


def source_behind(end: str, position: str) -> CaptureError:
    """The source ends before what the lake has."""
    return CaptureError(
        f"The source's WAL ends at {end}: it does not know of commits that the lake has.",
        position=position,
        safe="Nothing was read or written.",
        remedy="After a failover: a standby took over that had not received them. Bring the old primary back, or: "
        "bitvelocity recover --other-timeline. So that it does not happen again, set synchronized_standby_slots.",
        code="SourceBehind",
    )


def commits_lost(timeline: int, now: int, branch: str | None, position: str) -> CaptureError:
    """The source took over without commits that the lake has, and has written on."""
    what = f"it left timeline {timeline} at {branch}" if branch else f"its history does not tell of timeline {timeline}"
    return CaptureError(
        f"The source is on timeline {now}, and {what}: it does not know of commits that the lake has.",
        position=position,
        safe="Nothing was read or written.",
        remedy="After a failover or a restore: bring the server with those commits back, or run `bitvelocity recover --other-timeline`, "
        "which makes silver equal to what the source has now. So that it does not happen again, set synchronized_standby_slots.",
        code="CommitsLost",
    )


def publication_missing(place: Place) -> CaptureError:
    """The publication is not in this database."""
    return CaptureError(
        f'The publication "{place.publication}" does not exist in this database.',
        safe=KEPT,
        remedy="Run `bitvelocity apply`, or create publication ... for table ... "
        "with (publish_via_partition_root = true). It must exist before the changes that it is to carry.",
        code="PublicationMissing",
    )


def wal_level_low(level: str) -> CaptureError:
    """The server does not write what logical decoding needs."""
    return CaptureError(
        f"The source does not log enough for change capture: {level}.",
        safe="Nothing was touched.",
        remedy="alter system set wal_level = logical; then restart PostgreSQL.",
        code="WalLevel",
    )
