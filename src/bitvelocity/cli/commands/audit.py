"""`bitvelocity audit`: who changed what."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from ...flow import audit_trail, open_project
from ...oltp import TrailQuery
from ..audit_view import show_trail
from ..output import json_option, print_json, project_option


@click.command(short_help="Who changed what: the audit trail of an entity.")
@click.argument("entity")
@click.argument("key", nargs=-1)
@click.option("--user", help="Changes of this person or program only.")
@click.option("--since", metavar="TIME", help='At or after: "2024-01-15", "2024-01-15 10:30", "yesterday" (UTC).')
@click.option("--until", metavar="TIME", help="Before.")
@click.option("--correlation-id", metavar="ID", help="In the course of this.")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="The last so many; 0 shows all.")
@project_option
@json_option
def command(
    entity: str, key: tuple[str, ...], limit: int, folder: Path, as_json: bool, **asked: str | None
) -> None:
    """Show the changes of an ENTITY, or of the row with a KEY, oldest first: by whom, when, and from what to what.

    Reads the table `<table>_audit` in the source, which an entity with audit_trail= keeps. Leading values of a key of
    several columns will do.
    """
    rows = audit_trail(open_project(folder), entity, TrailQuery(key=key, limit=limit or None, **asked))
    if as_json:
        print_json({"rows": [row.as_dict() for row in rows]})
        return
    show_trail(Console(), rows, limit)
