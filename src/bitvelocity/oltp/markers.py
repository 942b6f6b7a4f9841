"""DDL markers: an event trigger that tells the stream of every change of a table, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from ..contracts.spec import EntitySpec
from .statements import load
from .steps import Step

TRIGGER = "bv_ddl"
TAGS = ("ALTER TABLE", "CREATE TABLE", "ALTER TYPE")


def marker_steps(connection: psycopg.Connection[Any], managed: Sequence[EntitySpec], *, wanted: bool) -> Iterator[Step]:
    """Make or remove the trigger. PostgreSQL lets only superusers: others do without, for the stream itself tells of columns."""
    row = connection.execute(load("state")["markers"].sql, {"trigger": TRIGGER}).fetchone()
    there, may = row if row else (False, False)
    if managed and wanted and may and not there:
        tags = ", ".join(f"'{tag}'" for tag in TAGS)
        yield Step(
            sql=f"create event trigger {TRIGGER} on ddl_command_end when tag in ({tags}) execute function bv.mark_ddl()",
            reason="The stream is told when a table or an enum type changes, and how (setting ddl_markers).",
        )
    elif there and may and not wanted:
        yield Step(sql=f"drop event trigger {TRIGGER}", reason="DDL markers are not wanted (setting ddl_markers).")
