"""DDL markers: event triggers that tell the stream of every change of a table, in the transaction of the change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import psycopg

from ..contracts.spec import EntitySpec
from .statements import load
from .steps import Step

TAGS = ("ALTER TABLE", "CREATE TABLE", "ALTER TYPE")
TRIGGERS = {
    "bv_ddl": f"ddl_command_end when tag in {TAGS} execute function bv.mark_ddl()",
    "bv_rewrite": "table_rewrite execute function bv.mark_rewrite()",
}


def marker_steps(connection: psycopg.Connection[Any], managed: Sequence[EntitySpec], *, wanted: bool) -> Iterator[Step]:
    """Make or remove the triggers. PostgreSQL lets only superusers: others do without, for the stream itself tells of columns."""
    row = connection.execute(load("state")["markers"].sql, {"triggers": list(TRIGGERS)}).fetchone()
    there, may = row if row else ([], False)
    for name, rest in TRIGGERS.items():
        if managed and wanted and may and name not in there:
            yield Step(
                sql=f"create event trigger {name} on {rest}",
                reason="The stream is told when a table or an enum type changes, and how (setting ddl_markers).",
            )
        elif name in there and may and not wanted:
            yield Step(sql=f"drop event trigger {name}", reason="DDL markers are not wanted (setting ddl_markers).")
