"""`bitvelocity init`: a project of your own, from the commerce example."""

from __future__ import annotations

from pathlib import Path

import click

from ...templates import copy_project
from ..output import json_option, print_json, say


@click.command(short_help="Make a project from the commerce example.")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Make a project in FOLDER: entities, gold models and settings of a shop, ready to run and to change."""
    files = copy_project("commerce", folder)
    if as_json:
        print_json({"folder": folder, "files": files})
        return
    for file in files:
        say(f"  {file.relative_to(folder)}")
    say(f"\nMade {folder}. Next:", bold=True)
    say(f"  cd {folder} && bitvelocity up")
