"""A look at the whole as Prometheus reads it. Names, labels and units are a promise: they change with a major version."""

from __future__ import annotations

from collections.abc import Iterator

from ..streams.lag import samples
from .standing import Status

STATES = ("ok", "warn", "bad")

Sample = tuple[str, str, str, dict[str, str], float]
"""Name without its prefix, type, help, labels, value."""


def prometheus(found: Status) -> str:
    """The text format, one block of HELP, TYPE and samples for each name."""
    lines: list[str] = []
    told: set[str] = set()
    for name, kind, about, labels, value in _samples(found):
        full = f"bitvelocity_{name}"
        if full not in told:
            told.add(full)
            lines += [f"# HELP {full} {about}", f"# TYPE {full} {kind}"]
        inner = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{full}{{{inner}}} {value:.15g}" if inner else f"{full} {value:.15g}")
    return "\n".join(lines) + "\n"


def _samples(found: Status) -> Iterator[Sample]:
    yield "up", "gauge", "1 while a pipeline runs.", {}, float(found.running is not None)
    yield "level", "gauge", "1 when all that the source had committed is in the lake.", {}, float(found.level)
    if found.freshness_seconds is not None:
        yield "freshness_seconds", "gauge", "Age of what readers see.", {}, found.freshness_seconds
    if found.heartbeat_seconds is not None:
        about = "How long the last heartbeat took from the source to the lake."
        yield "heartbeat_seconds", "gauge", about, {}, found.heartbeat_seconds
    if found.watermark:
        yield "position_bytes", "gauge", "Commit LSN that readers see.", {}, float(found.watermark.position)
        yield "gold_position_bytes", "gauge", "Commit LSN that gold stands at.", {}, float(found.watermark.gold_position)
    if found.running:
        yield "changes_total", "counter", "Changes since the pipeline started.", {}, float(found.running["rows"])
    about = "Records of topics that are no changes, or wait behind such ones."
    yield "dead_letters_parked", "gauge", about, {}, float(found.parked)
    yield from _slot(found)
    behind = [*(found.way.lags if found.way else ()), *(lag for route in found.routes for lag in route.lags)]
    yield from samples(behind, [depth for queued in found.queues for depth in queued.waiting])
    yield from _routes(found)
    yield from _queues(found)
    if found.way and found.way.heartbeat_age is not None:
        about = "Seconds since Debezium's last heartbeat."
        yield "debezium_heartbeat_age_seconds", "gauge", about, {}, found.way.heartbeat_age
    for table in found.tables:
        labels = {"layer": table.layer, "table": table.name}
        yield "rows", "gauge", "Rows of a table of the lake.", labels, float(table.rows)


def _routes(found: Status) -> Iterator[Sample]:
    for route in found.routes:
        about = "1 while something is in the way of a route; it is tried again by itself."
        yield "route_stands_still", "gauge", about, {"route": route.name, "bus": route.bus}, float(route.trouble is not None)
    for route in found.routes:
        about = "Commit LSN up to which the topics of a route are complete; -1 where it has not begun."
        yield "route_position_bytes", "gauge", about, {"route": route.name, "bus": route.bus}, float(route.position)


def _queues(found: Status) -> Iterator[Sample]:
    for queued in found.queues:
        about = "1 when the queues of a route could be asked; else what waits in them is not told."
        yield "route_queues_answer", "gauge", about, {"route": queued.route, "bus": queued.bus}, float(not queued.trouble)
    for queued in found.queues:
        for one in queued.dead:
            about = "Records of a queue that were rejected, or handed out too often, and wait for somebody."
            yield "queue_dead_records", "gauge", about, {"topic": one.topic}, float(one.records)


def _slot(found: Status) -> Iterator[Sample]:
    slot = found.slot
    if slot is None:
        return
    labels = {"slot": slot.slot}
    for state in STATES:
        yield "slot_state", "gauge", "1 for the state that the slot is in.", {**labels, "state": state}, float(slot.state == state)
    yield "slot_exists", "gauge", "1 while the source has the slot.", labels, float(slot.exists)
    if not slot.exists:
        return
    yield "slot_active", "gauge", "1 while somebody reads the slot.", labels, float(slot.active_pid is not None)
    about = "1 while a backlog is read through COPY, out of a copy of the slot."
    yield "slot_catching_up", "gauge", about, labels, float(slot.catching_up)
    yield "slot_lag_bytes", "gauge", "WAL that was written and is not confirmed.", labels, float(slot.lag_bytes)
    yield "slot_retained_bytes", "gauge", "WAL that the source keeps for the slot.", labels, float(slot.retained_bytes)
    if slot.safe_wal_size is not None:
        about = "WAL that may be written before the slot is in danger."
        yield "slot_safe_wal_bytes", "gauge", about, labels, float(slot.safe_wal_size)
    lost = slot.invalidation_reason is not None or slot.wal_status == "lost"
    yield "slot_invalidated", "gauge", "1 when the server gave the slot up.", labels, float(lost)
    about = "Bytes of open transactions that the server wrote to its disk."
    yield "slot_spilled_bytes_total", "counter", about, labels, float(slot.spilled_bytes)
    about = "Transactions that the server sent before their commit."
    yield "slot_streamed_transactions_total", "counter", about, labels, float(slot.streamed_transactions)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
