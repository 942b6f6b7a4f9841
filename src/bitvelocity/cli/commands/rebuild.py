"""`bitvelocity rebuild`: silver anew from bronze."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from ...flow import open_project, rebuild_silver
from ..output import json_option, print_json, project_option, say


@click.command(short_help="Make silver anew from bronze.")
@click.argument("entities", nargs=-1, metavar="[ENTITY]...")
@project_option
@json_option
def command(entities: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Type all changes in bronze again, and put them in the place of what silver has.

    Without an entity: those whose columns, types or key are not what the entity says now. `up` does that by itself,
    but leaves alone a column that an earlier version kept as text; this gives it its type. `up` must not be running.
    """
    project = open_project(folder)
    done = rebuild_silver(project, entities, (lambda _: None) if as_json else lambda text: say(text, dim=True))
    if as_json:
        print_json([asdict(rebuilt) for rebuilt in done])
        return
    for rebuilt in done:
        say(f"silver.{rebuilt.entity}: {rebuilt.rows:,} changes typed anew.")
    say("Gold computes what it has anew at the next `bitvelocity up`." if done else "Silver is as the entities say.")
