"""`bitvelocity query`: SQL over bronze, silver and gold."""

from __future__ import annotations

from pathlib import Path

import click

from ...flow import open_project, open_reader
from ...serving import ask, shut_in
from ..output import json_option, print_json, project_option, say
from ..tables import print_table


@click.command(short_help="SQL over bronze, silver and gold.")
@click.argument("sql")
@click.option("--limit", type=click.IntRange(min=0), default=100, show_default=True, help="Rows to show at most; 0 shows all.")
@project_option
@json_option
def command(sql: str, limit: int, folder: Path, as_json: bool) -> None:
    """Run one SELECT (DuckDB's dialect) at the newest published watermark.

    Tables: gold.<model>, silver.<entity>, silver.<entity>_changes, silver.<entity>_history, bronze.<entity>.
    """
    project = open_project(folder)
    with open_reader(project) as reader:
        shut_in(reader, project.lake)
        answer = ask(reader, sql, limit=limit or None)
    if as_json:
        print_json({"rows": answer.as_dicts(), "more": answer.more})
        return
    print_table(answer.rows)
    if answer.more:
        say(f"(the first {limit} rows; --limit 0 shows all)", dim=True)
