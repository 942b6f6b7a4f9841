"""The role that capture logs in as: what it may read, and what could shut it out."""

from __future__ import annotations

from collections.abc import Iterator

from ..ddl import qualified, quote
from .source import Source
from .verdict import Check, bad, fine, warn

SESSIONS = 4
"""Connections that capture holds at its start and during a reconciliation."""
SOON_DAYS = 14


def privilege(source: Source) -> Iterator[Check]:
    name, role = "replication privilege", source.state.role
    if source.state.may_replicate:
        yield fine(name, f"{role} may read the change stream")
    else:
        yield bad(name, f"{role} may not read the change stream", f"alter role {quote(role)} replication;")


def reading(source: Source) -> Iterator[Check]:
    """USAGE on schemas, SELECT on tables: the first snapshot and reconciliations read them."""
    name, role = "read privilege", quote(source.state.role)
    tables = [table.oid for spec in source.wanted.specs if (table := source.table(spec))]
    closed = source.rows("closed", tables=tables)
    schemas = sorted({row["nspname"] for row in closed if not row["usage"]})
    unread = [qualified(row["nspname"], row["relname"]) for row in closed if not row["readable"]]
    if not closed:
        yield fine(name, f"{source.state.role} may read all {len(tables)} tables")
        return
    remedy = ""
    if schemas:
        remedy += f"grant usage on schema {', '.join(map(quote, schemas))} to {role}; "
    if unread:
        remedy += f"grant select on {', '.join(unread)} to {role};"
    what = ", ".join(f"{row['nspname']}.{row['relname']}" for row in closed[:3])
    more = f" and {len(closed) - 3} more" if len(closed) > 3 else ""
    yield bad(name, f"{source.state.role} may not read {what}{more}", remedy.strip())


def policies(source: Source) -> Iterator[Check]:
    for row in source.rows("policies", tables=[table.oid for spec in source.wanted.specs if (table := source.table(spec))]):
        what = f"{row['nspname']}.{row['relname']} has row security for {source.state.role}: a snapshot is refused"
        yield bad("row security", what, f"alter role {quote(source.state.role)} bypassrls;")


def login(source: Source) -> Iterator[Check]:
    """Limits on the role that would shut capture out one day."""
    role, facts = source.state.role, source.facts
    if 0 <= facts["connection_limit"] < SESSIONS:
        what = f"{role} may have {facts['connection_limit']} connections; capture needs {SESSIONS} at its start"
        yield warn("connection limit", what, f"alter role {quote(role)} connection limit -1;")
    if facts["days_valid"] is not None and facts["days_valid"] < SOON_DAYS:
        what = f"the password of {role} is good until {facts['valid_until']}"
        yield warn("password", what, f"alter role {quote(role)} valid until 'infinity';")


def timeouts(source: Source) -> Iterator[Check]:
    """Capture sets these aside for its own sessions."""
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
             "transaction_timeout")  # fmt: skip
    found = [f"{name} = {source.number(name) / 1000:g} s" for name in names if source.number(name) > 0]
    if found:
        yield fine("timeouts", f"{', '.join(found)}: set aside in the sessions of capture")
