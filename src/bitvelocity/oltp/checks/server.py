"""The server: version, what it logs, how many readers it has room for, and settings that end them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from ..binaries import OLDEST
from ..ddl import quote
from .source import Source
from .verdict import Check, bad, fine, warn

END_OF_LIFE = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}
"""The day of a major version's last release."""
RELOAD = "select pg_reload_conf();"
PER_READER = 2
"""Slots and senders that should be free: one for a reconciliation, one for the next start. A slot more is for the copy out
of which a backlog is read; without it the walsender reads that, too, at a third more of the server's CPU."""
SHORT_TIMEOUT = 5_000
DAY = 86_400_000


def version(source: Source) -> Iterator[Check]:
    major, today = source.facts["number"] // 10_000, source.facts["today"]
    what = f"PostgreSQL {source.facts['version']}"
    end = END_OF_LIFE.get(major)
    if major < OLDEST:
        yield bad("version", f"{what} is older than {OLDEST}", f"Upgrade to PostgreSQL {max(END_OF_LIFE)}.")
    elif end and today > end:
        yield warn("version", f"{what} had its last release on {end}", f"Upgrade to PostgreSQL {max(END_OF_LIFE)}.")
    else:
        yield fine("version", what)


def wal_level(source: Source) -> Iterator[Check]:
    """From 19 on the effective level counts: it rises by itself."""
    level = source.setting("effective_wal_level") or source.setting("wal_level")
    if level == "logical" or (source.setting("effective_wal_level") and level == "replica"):
        yield fine("wal_level", f"wal_level is {level}")
    else:
        remedy = "alter system set wal_level = logical; then restart the server"
        yield bad("wal_level", f"wal_level is {level}: row changes are not logged", remedy)


def room(source: Source) -> Iterator[Check]:
    for what, setting in (("slots", "max_replication_slots"), ("senders", "max_wal_senders")):
        used, most = source.facts[what], source.number(setting)
        remedy = f"alter system set {setting} = {most + 10}; then restart the server"
        if used >= most and not (what == "slots" and source.facts["own_slot"]):
            yield bad(setting, f"{used} of {most} in use: none is left for capture", remedy)
        elif most - used < PER_READER:
            yield warn(setting, f"{used} of {most} in use: a reconciliation needs one more", remedy)
        elif what == "slots" and most - used == PER_READER and not source.facts["own_copy"]:
            yield warn(setting, f"{used} of {most} in use: a backlog's copy of our slot needs one more", remedy)
        else:
            yield fine(setting, f"{used} of {most} in use")


def encoding(source: Source) -> Iterator[Check]:
    """One that cannot be converted to UTF8 lets nobody in: the connection's own check says so."""
    name = source.facts["encoding"]
    if name == "SQL_ASCII":
        what = "the encoding is SQL_ASCII, which takes any bytes: text that is not UTF-8 would stop capture"
        remedy = "Dump the database, create it anew with encoding UTF8 from template0, and restore."
        yield warn("encoding", what, remedy)
    else:
        yield fine("encoding", name if name == "UTF8" else f"{name}, converted to UTF8 by the server")


def collation(source: Source) -> Iterator[Check]:
    made, now = source.facts["collation_made"], source.facts["collation_now"]
    if made and now and made != now:
        name = quote(source.state.database)
        what = f"indexes were built with collation version {made}, the system has {now}: unique keys may have doubles"
        yield warn("collation", what, f"reindex database {name}; alter database {name} refresh collation version;")


def sender_timeout(source: Source) -> Iterator[Check]:
    name, value = "wal_sender_timeout", source.number("wal_sender_timeout")
    remedy = f"alter role {quote(source.state.role)} set wal_sender_timeout = '60s';"
    if value == 0:
        yield warn(name, "0: the server never gives up a reader whose machine is gone, and its slot stays taken", remedy)
    elif 0 < value < SHORT_TIMEOUT:
        yield warn(name, f"{value} ms: a short pause of the network ends the stream", remedy)
    else:
        yield fine(name, f"{value // 1000} s")


def keep_size(source: Source) -> Iterator[Check]:
    name, size = "max_slot_wal_keep_size", source.number("max_slot_wal_keep_size")
    if size < 0:
        remedy = f"alter system set {name} = '16GB'; {RELOAD}"
        yield warn(name, "no limit: a slot that is not read fills the source's disk", remedy)
    elif size < 1 << 30:
        remedy = f"alter system set {name} = '16GB'; {RELOAD}"
        yield warn(name, f"{size >> 20} MB: a short stop of the reader loses the slot, and with it changes", remedy)
    else:
        yield fine(name, f"a slot holds back at most {size >> 30} GB of WAL")


def idle_timeout(source: Source) -> Iterator[Check]:
    name = "idle_replication_slot_timeout"
    if source.setting(name) is None:
        return
    value = source.number(name)
    if 0 < value < DAY:
        what = f"{value // 60_000} minutes: a reader that stops for longer loses its slot, and with it changes"
        yield warn(name, what, f"alter system set {name} = '3d'; {RELOAD}")
    else:
        yield fine(name, f"{value // DAY} days" if value > 0 else "off")


def durable(source: Source) -> Iterator[Check]:
    if source.setting("fsync") == "off":
        what = "fsync is off: after a power cut the source may lack commits that the lake has"
        yield warn("fsync", what, f"alter system set fsync = on; {RELOAD}")
