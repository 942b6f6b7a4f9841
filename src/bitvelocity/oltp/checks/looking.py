"""What must be right in the source for change capture: each check a verdict, one sentence, and the remedy.

A check is a function of the source that yields verdicts; `CHECKS` has them in the order in which people read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import psycopg

from ...contracts.spec import EntitySpec
from ...errors import DatabaseError
from ..connect import connect, describe
from ..publish import PUBLICATION
from . import publication as publications
from . import retained, role, server, tables, trails
from . import standby as standbys
from .source import Source, Wanted
from .verdict import Check, bad, fine, warn

CHECKS: tuple[Callable[[Source], Iterator[Check]], ...] = (
    server.version, server.wal_level, server.encoding, server.collation, server.durable,
    role.privilege, role.reading, role.policies, role.login, role.timeouts,
    server.room, publications.publication, publications.strangers, tables.tables, tables.default_partitions,
    trails.trails,
    server.keep_size, server.idle_timeout, server.sender_timeout,
    retained.other_slots, retained.open_transactions, retained.decoding_memory, retained.disk,
    standbys.standby, standbys.failover,
)  # fmt: skip


def check(
    dsn: str,
    specs: Sequence[EntitySpec],
    *,
    publication: str = PUBLICATION,
    slot: str = "bitvelocity",
    begun: bool = False,
) -> list[Check]:
    """Look at everything that capture needs from the source. Changes nothing.

    `begun`: the lake has a position, so that publication and slot must be there.
    """
    return look(dsn, Wanted(specs=specs, publication=publication, slot=slot, begun=begun))


def look(dsn: str, wanted: Wanted) -> list[Check]:
    """As `check`, with all that can be said of what is wanted."""
    try:
        connection = connect(dsn, autocommit=True)
    except DatabaseError as error:
        return [bad("connection", error.what, error.remedy)]
    with connection:
        connection.execute("set default_transaction_read_only = on; set statement_timeout = '60s'")
        source = Source.read(connection, wanted)
        first = fine("connection", f"{describe(dsn)} answers")
        return [first, *(found for one in CHECKS for found in _looked(one, source))]


def _looked(one: Callable[[Source], Iterator[Check]], source: Source) -> list[Check]:
    """What cannot be looked at is said, and hides nothing else."""
    try:
        return list(one(source))
    except psycopg.Error as error:
        reason = error.diag.message_primary or str(error).strip()
        return [warn(one.__name__.replace("_", " "), f"could not be looked at: {reason}", "grant pg_monitor to the role")]
