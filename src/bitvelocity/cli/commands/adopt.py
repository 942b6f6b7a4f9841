"""`bitvelocity adopt`: entities from a database that knows nothing of us."""

from __future__ import annotations

import os
from pathlib import Path

import click

from ...errors import SettingsError
from ...flow import adopt_database
from ..output import json_option, print_json, say


@click.command(short_help="Write entities from an existing database.")
@click.argument("dsn", default="")
@click.option("--into", "folder", type=click.Path(path_type=Path), default=Path("adopted"), show_default=True)
@click.option("--schema", "schemas", multiple=True, help="Schemas to adopt (default: all but the system's).")
@json_option
def command(dsn: str, folder: Path, schemas: tuple[str, ...], as_json: bool) -> None:
    """Read the database at DSN (or $BITVELOCITY_DSN) and write a project that captures it as it is.

    No table is altered. What cannot be captured is named with its reason and the statement that would help.
    The DSN is not written down when it holds a password: set BITVELOCITY_DSN then.
    """
    dsn = dsn or os.environ.get("BITVELOCITY_DSN", "")
    if not dsn:
        raise SettingsError("Which database?", remedy="bitvelocity adopt postgresql://user@host/database")
    made = adopt_database(dsn, folder, schemas or None)
    if as_json:
        print_json({"folder": folder, "entities": [s.name for s in made.specs], "problems": made.problems})
        return
    say(f"Wrote {folder}: {len(made.specs)} entities.", bold=True)
    for spec in made.specs:
        say(f"  {spec.qualified:<40} -> {spec.name}")
    for problem in made.problems:
        say(f"\n  {problem.table}: {problem.reason}", fg="yellow")
        say(f"    Remedy: {problem.remedy}")
    say(f"\nNext: cd {folder} && bitvelocity up")
