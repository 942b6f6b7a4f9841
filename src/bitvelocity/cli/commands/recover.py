"""`bitvelocity recover`: after the slot was lost."""

from __future__ import annotations

from pathlib import Path

import click

from ...capture.snapshots import Found
from ...flow import open_project, recover, source_database
from ..output import json_option, print_json, project_option, say


@click.command(short_help="After the slot was lost: find what was missed, deletes too, and go on.")
@click.option("--force", is_flag=True, help="Although the slot looks good, as when somebody made it anew by hand.")
@click.option("--other-timeline", is_flag=True, help="Although a failover or a restore lost commits that the lake has: take them back.")
@project_option
@json_option
def command(force: bool, other_timeline: bool, folder: Path, as_json: bool) -> None:
    """Make a new slot, compare each table with the lake by sums over parts of its rows, and read the parts that differ.

    What was missed comes into the lake as inserts, updates and deletes just below the new slot's beginning; bronze and
    silver keep their history. Safe to kill: the next recover, or up, goes on with it.
    """
    project = open_project(folder)
    with source_database(project) as database:
        found = recover(project, database, force=force, other_timeline=other_timeline)
    if as_json:
        print_json({"tables": [_as_dict(table) for table in found]})
        return
    for table in found:
        _show(table)
    say("Recovered. bitvelocity up goes on; bitvelocity reconcile proves it.", bold=True)


def _show(table: Found) -> None:
    if not table.buckets:
        say(f"  {table.relation:<32} has nothing to be compared with: {table.changes['r']:,} rows read whole")
        return
    counts = ", ".join(f"{table.changes[op]:,} {word}" for op, word in (("c", "new"), ("u", "changed"), ("d", "gone")))
    say(f"  {table.relation:<32} {counts}; {table.differing:,} of {table.buckets:,} parts were read")


def _as_dict(table: Found) -> dict[str, object]:
    return {"table": table.relation, "parts": table.buckets, "differing": table.differing, "changes": dict(table.changes)}
