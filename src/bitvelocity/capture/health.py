"""How the slot is doing: what the source keeps for us, how far behind we are, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from bitvelocity.changes import parse_lsn

from .connection import Connection, connect, our_errors
from .failures import START_AGAIN, Place
from .slot import Slot, copy_name, find_slot

State = Literal["ok", "warn", "bad"]

_WAL = """
select case when pg_is_in_recovery() then pg_last_wal_replay_lsn() else pg_current_wal_lsn() end,
       (select setting::bigint * 1048576 from pg_settings where name = 'max_slot_wal_keep_size')
"""
_COUNTERS = """
select spill_txns, spill_bytes, stream_txns, stream_bytes from pg_stat_replication_slots where slot_name = %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on a slot is worth a look (`warn`) or is in danger (`bad`), in bytes."""

    warn_retained: int = 1 << 30
    bad_retained: int = 16 << 30
    warn_lag: int = 256 << 20
    warn_left: int = 4 << 30
    """Room left below max_slot_wal_keep_size."""
    bad_left: int = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotHealth:
    """What the server says of a slot, and what that means."""

    slot: str
    exists: bool
    state: State
    findings: tuple[str, ...] = ()
    """What is noteworthy, one sentence each."""
    remedy: str | None = None
    active_pid: int | None = None
    """The server's process for whoever reads the slot, or its copy."""
    catching_up: bool = False
    """A backlog is being read through COPY, out of a temporary copy of the slot."""
    wal_end: int = 0
    """Where the server's WAL ended when it was asked."""
    confirmed_flush: int = 0
    restart: int = 0
    lag_bytes: int = 0
    """WAL that was written and not yet confirmed."""
    retained_bytes: int = 0
    """WAL that the server keeps for the slot."""
    keep_limit: int | None = None
    """max_slot_wal_keep_size in bytes; None: the server keeps WAL without limit."""
    safe_wal_size: int | None = None
    """What may still be written before the slot is in danger; None: no limit is set."""
    wal_status: str | None = None
    invalidation_reason: str | None = None
    spilled_transactions: int = 0
    """Transactions that the server had to write to its own disk."""
    spilled_bytes: int = 0
    streamed_transactions: int = 0
    streamed_bytes: int = 0


def slot_health(dsn: str, slot: str = "bitvelocity", *, thresholds: Thresholds | None = None) -> SlotHealth:
    """Ask the source how the slot is doing. Cheap enough to ask every few seconds."""
    place = Place(slot, "")
    with our_errors(place), connect(dsn, place) as connection:
        found = find_slot(connection, slot)
        return judge(_measure(connection, found), thresholds or Thresholds()) if found else _absent(slot)


def _absent(slot: str) -> SlotHealth:
    return SlotHealth(
        slot=slot,
        exists=False,
        state="bad",
        findings=("There is no such slot: nothing is captured, and the source keeps nothing for us.",),
        remedy="At the first start it is made with the snapshot. If it was there before: " + START_AGAIN,
    )


def _measure(connection: Connection, slot: Slot) -> SlotHealth:
    row = connection.execute(_WAL).fetchone()
    now, limit = (parse_lsn(row[0]), row[1]) if row else (0, -1)
    copy = find_slot(connection, copy_name(slot.name))
    counters = connection.execute(_COUNTERS, [slot.name]).fetchone() or (0, 0, 0, 0)
    return SlotHealth(
        slot=slot.name,
        exists=True,
        state="ok",
        active_pid=slot.active_pid or (copy.active_pid if copy else None),
        catching_up=copy is not None,
        wal_end=now,
        confirmed_flush=slot.confirmed,
        restart=slot.restart,
        lag_bytes=max(0, now - slot.confirmed),
        retained_bytes=max(0, now - slot.restart) if slot.restart else 0,
        keep_limit=limit if limit >= 0 else None,
        safe_wal_size=slot.safe_wal_size,
        wal_status=slot.wal_status,
        invalidation_reason=slot.invalidation_reason,
        spilled_transactions=counters[0],
        spilled_bytes=counters[1],
        streamed_transactions=counters[2],
        streamed_bytes=counters[3],
    )


@dataclass(frozen=True, slots=True)
class _Finding:
    state: State
    says: str
    remedy: str | None = None


def judge(health: SlotHealth, thresholds: Thresholds) -> SlotHealth:
    """The same health with its state, findings and remedy."""
    findings = sorted(_findings(health, thresholds), key=lambda finding: _GRAVITY.index(finding.state))
    if not findings:
        return health
    remedy = next((finding.remedy for finding in findings if finding.remedy), None)
    return replace(
        health, state=findings[0].state, findings=tuple(finding.says for finding in findings), remedy=remedy
    )


_GRAVITY: tuple[State, ...] = ("bad", "warn", "ok")


def _findings(health: SlotHealth, thresholds: Thresholds) -> Iterator[_Finding]:
    if health.invalidation_reason or health.wal_status == "lost":
        reason = health.invalidation_reason or "its WAL was removed"
        yield _Finding("bad", f"The server gave the slot up: {reason}. Changes were lost.", START_AGAIN)
        return
    yield from _retained(health, thresholds)
    left = health.safe_wal_size
    if left is not None and left <= thresholds.warn_left:
        state: State = "bad" if left <= thresholds.bad_left else "warn"
        yield _Finding(
            state,
            f"Only {megabytes(left)} more WAL, then the server gives the slot up (max_slot_wal_keep_size).",
            "Let the reader catch up now, or raise max_slot_wal_keep_size (no restart needed).",
        )
    if health.catching_up:
        yield _Finding("ok", "A backlog is being read through COPY.")
    if health.active_pid is None:
        yield _Finding("warn", "Nobody reads the slot at the moment.", "Start `bitvelocity up`.")
    if health.lag_bytes >= thresholds.warn_lag:
        yield _Finding(
            "warn",
            f"The reader is {megabytes(health.lag_bytes)} of WAL behind.",
            "It catches up by itself when the load is lower; `bitvelocity status` names the slow station.",
        )


def _retained(health: SlotHealth, thresholds: Thresholds) -> Iterator[_Finding]:
    if health.retained_bytes < thresholds.warn_retained:
        return
    unlimited = " No limit is set, so the source's disk may fill." if health.keep_limit is None else ""
    yield _Finding(
        "bad" if health.retained_bytes >= thresholds.bad_retained else "warn",
        f"The source keeps {megabytes(health.retained_bytes)} of WAL for the slot.{unlimited}",
        "Start the reader; end transactions that stay open for hours; set max_slot_wal_keep_size. "
        "A slot that nobody will read again must be dropped.",
    )


def megabytes(count: int) -> str:
    """A size for people: "12 MB"."""
    return f"{count / (1 << 20):,.0f} MB"
