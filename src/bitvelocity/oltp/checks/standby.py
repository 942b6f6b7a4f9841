"""When the DSN is a standby: what must hold so that it can be decoded, and how far it is behind."""

from __future__ import annotations

from collections.abc import Iterator

from .server import RELOAD
from .source import Source
from .verdict import Check, bad, fine, warn

DECODES_SINCE = 16


def standby(source: Source) -> Iterator[Check]:
    if not source.standby:
        return
    if source.state.major < DECODES_SINCE:
        what = f"the server is a standby, and PostgreSQL {source.state.major} cannot decode on one"
        yield bad("standby", what, f"Set [database] dsn to the primary, or upgrade to {DECODES_SINCE}.")
        return
    yield fine("standby", "the server is a standby")
    if source.setting("hot_standby_feedback") != "on":
        what = "off: the primary's vacuum removes rows of the catalog that the slot needs, and the slot is lost"
        yield bad("hot_standby_feedback", what, f"alter system set hot_standby_feedback = on; {RELOAD}")
    if not source.setting("primary_slot_name"):
        what = "not set: while the standby is not connected its feedback is forgotten, and the slot may be lost"
        remedy = (
            "On the primary: select pg_create_physical_replication_slot('standby'); "
            f"here: alter system set primary_slot_name = 'standby'; {RELOAD}"
        )
        yield warn("primary_slot_name", what, remedy)
    yield from _lag(source)


def _lag(source: Source) -> Iterator[Check]:
    row = source.rows("replay")[0]
    if row["paused"]:
        yield bad("replica lag", "replay is paused: nothing comes through", "select pg_wal_replay_resume();")
    elif row["waiting"] > 0 and (row["seconds"] or 0) > source.wanted.limits.replay_seconds:
        what = f"the standby is {row['seconds']:,.0f} s and {row['waiting'] / (1 << 20):,.1f} MB behind what it has received"
        yield warn("replica lag", what, "End long queries on the standby, or lower max_standby_streaming_delay.")
    else:
        yield fine("replica lag", f"{row['waiting'] / (1 << 20):,.1f} MB wait to be replayed")


def failover(source: Source) -> Iterator[Check]:
    """A slot that is to follow to a standby waits for the standbys that are named: one that is gone stops capture."""
    if source.standby or not (named := source.setting("synchronized_standby_slots")):
        return
    for row in source.rows("awaited", names=[name.strip().strip('"') for name in named.split(",")]):
        what = f"{row['name']} of synchronized_standby_slots {'is not read' if row['there'] else 'does not exist'}"
        remedy = f"alter system set synchronized_standby_slots = ''; {RELOAD}"
        yield bad("standby slots", f"{what}: changes are held back from slots with failover", remedy)
