"""`bitvelocity apply`: make the database what the entities say."""

from __future__ import annotations

from pathlib import Path

import click

from ...errors import DeclarationError
from ...flow import open_project, prepare, source_database
from ..output import json_option, print_json, project_option, say


@click.command(short_help="Make the database what the entities say.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@click.option("--allow-destructive", is_flag=True, help="Carry out steps that drop or narrow columns.")
@project_option
@json_option
def command(dry_run: bool, allow_destructive: bool, folder: Path, as_json: bool) -> None:
    """Plan what the source needs (tables, columns, partitions, indexes, audit trigger, publication) and do it.

    Nothing is dropped or narrowed unless --allow-destructive says so. Adopted tables are never altered.
    """
    project = open_project(folder)
    if not project.specs:
        raise DeclarationError(
            f"{project.settings.entities_file} declares no entity.", remedy="Declare one; see docs/how-to."
        )
    with source_database(project) as database:
        plan = prepare(project, database.dsn, apply_plan=not dry_run, allow_destructive=allow_destructive)
    if as_json:
        print_json({"applied": not dry_run, "plan": plan.as_dict()})
        return
    if plan.conflicts:
        say(f"{plan.text()}\n\nNothing will be done before what is refused is settled.".strip(), bold=True)
    elif not plan.steps:
        say("Nothing to do: the database is what the entities say.")
    else:
        say(plan.text())
        say("This is the plan; nothing was done." if dry_run else f"Done: {len(plan.steps)} steps.", bold=True)
    for refused in plan.refused:
        say(f"refused: {refused.reason}\n  Remedy: {refused.remedy}", fg="yellow")
