"""`bitvelocity trace`: the life of one row."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from ...flow import open_project, open_reader
from ...serving import trace
from ..output import json_option, print_json, project_option
from ..trace_view import show_trace


@click.command(short_help="Every change of one row: who, when, why, and where it stands now.")
@click.argument("entity")
@click.argument("key", nargs=-1, required=True)
@project_option
@json_option
def command(entity: str, key: tuple[str, ...], folder: Path, as_json: bool) -> None:
    """Follow the row of ENTITY with KEY: each change with its author, correlation id and position, then the row's
    place in silver and every gold row that it has part in.

    Of a composite key the leading values are enough, as long as they name one row.
    """
    project = open_project(folder)
    with open_reader(project) as reader:
        found = trace(reader, project.specs, project.models, entity, *key)
    if as_json:
        print_json(found.as_dict())
    else:
        show_trace(Console(), found)
