"""What holds WAL back in the source: other slots, transactions that stay open; and the room that is left."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from ..ddl import literal
from .server import RELOAD
from .source import Row, Source
from .verdict import Check, bad, fine, warn

SPILLED_TIMES = 16
"""What a slot spilled, in units of logical_decoding_work_mem, from which on more memory would pay."""


def other_slots(source: Source) -> Iterator[Check]:
    """Slots that nobody reads; those that are read are their readers' business."""
    slots = source.rows("slots", slot=source.wanted.slot)
    idle = [slot for slot in slots if not slot["active"]]
    for slot in idle:
        remedy = f"select pg_drop_replication_slot({literal(slot['slot_name'])});"
        if slot["lost"]:
            what = f"{_named(slot)} was given up by the server, and still takes a place"
            yield warn("other slots", what, remedy)
        elif slot["retained"] >= source.wanted.limits.retained_bytes:
            what = f"{_named(slot)} is read by nobody and holds back {_size(slot['retained'])} of WAL"
            yield warn("other slots", what, remedy)
    if slots:
        most = max(slot["retained"] for slot in slots)
        yield fine("other slots", f"{len(slots)}, {len(idle)} of them read by nobody; the last one is {_size(most)} behind")


def _named(slot: Row) -> str:
    kind = f"{slot['plugin']} in {slot['database']}" if slot["plugin"] else "physical"
    guess = ", a leftover of Debezium?" if "debezium" in slot["slot_name"] or slot["plugin"] == "decoderbufs" else ""
    return f"the slot {slot['slot_name']} ({kind}{guess})"


def open_transactions(source: Source) -> Iterator[Check]:
    """A slot keeps all WAL since the oldest transaction that is open."""
    seconds = source.wanted.limits.open_seconds
    for row in source.rows("transactions", seconds=seconds):
        what = f"process {row['pid']} ({row['usename']}, {row['state']}) has had a transaction open for {_time(row['seconds'])}"
        yield warn("open transactions", f"{what}: all WAL since is kept", f"select pg_terminate_backend({row['pid']});")
    for row in source.rows("prepared", seconds=seconds):
        what = f"the prepared transaction {row['gid']} ({row['owner']}) has waited for {_time(row['seconds'])}"
        where = "" if row["here"] else f" (in the database {row['database']})"
        yield warn("prepared transactions", f"{what}{where}: all WAL since is kept", f"rollback prepared {literal(row['gid'])};")


def decoding_memory(source: Source) -> Iterator[Check]:
    memory = source.number("logical_decoding_work_mem")
    for row in source.rows("spilled", slot=source.wanted.slot):
        if row["spill_bytes"] >= SPILLED_TIMES * memory:
            what = f"the server wrote {_size(row['spill_bytes'])} of open transactions to its disk for the slot"
            more = max(64, 4 * memory >> 20)
            remedy = (
                f"alter system set logical_decoding_work_mem = '{more}MB'; {RELOAD} "
                f"select pg_stat_reset_replication_slot({literal(source.wanted.slot)});"
            )
            yield warn("logical_decoding_work_mem", what, remedy)
        else:
            yield fine("logical_decoding_work_mem", f"{_size(memory)}")


def disk(source: Source) -> Iterator[Check]:
    folder = source.setting("data_directory")
    if not folder or not source.facts["local"]:
        return
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return  # not our machine, or not ours to look at
    what = f"{_size(free)} free under the data"
    if free > source.wanted.limits.free_bytes:
        yield fine("disk", what)
    else:
        yield bad("disk", what, "Make room on that disk.")


def _size(count: int) -> str:
    return f"{count / (1 << 30):,.1f} GB" if count >= 1 << 30 else f"{count / (1 << 20):,.1f} MB"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} hours" if seconds >= 3600 else f"{seconds:,.0f} s"
