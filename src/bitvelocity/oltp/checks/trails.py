"""The audit trails: are they there, and can they say what a row was before."""

from __future__ import annotations

from collections.abc import Iterator

from ...contracts.trail import trail_of
from .source import Source
from .verdict import Check, bad, warn


def trails(source: Source) -> Iterator[Check]:
    for spec in source.wanted.specs:
        table = source.table(spec)
        if spec.audit_trail is None or table is None:
            continue
        trail = trail_of(spec)
        if trail.qualified not in source.catalog.tables:
            yield bad("audit trail", f"{trail.qualified} is not in the database", "bitvelocity apply")
        parts = source.catalog.leaves(table) if table.kind == "p" else [table]
        if spec.audit_trail == "cdc" and any(part.replica_identity != "f" for part in parts):
            what = f"the trail of {spec.qualified} has no old values: its changes carry the key only"
            yield warn("audit trail", what, 'Declare replica_identity="full" and apply, or audit_trail="sync".')
