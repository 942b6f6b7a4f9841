"""`bitvelocity demo`: a year of retail life, from INSERT to a gold number that proves itself."""

from __future__ import annotations

from pathlib import Path

import click

from ..demo.run import DemoOptions, run_demo
from ..lean import give_memory_back
from ..output import json_option, print_json


@click.command(short_help="Watch real retail life become a lakehouse that proves itself.")
@click.option("--into", "folder", type=click.Path(path_type=Path), default=Path("bitvelocity-demo"), show_default=True)
@click.option("--lines", type=click.IntRange(min=1), default=302_000, show_default=True,
              help="Lines of retail life to replay; those of one product in a basket become one order line.")
@click.option("--all", "everything", is_flag=True, help="The whole year: 1.47 million order lines.")
@click.option("--synthetic", is_flag=True, help="Made-up data of the same shape, even when the real data is here.")
@click.option("--fresh", is_flag=True, help="Forget an earlier demo in the folder and begin again.")
@click.option("--picture", type=click.Path(path_type=Path), help="Write the screen to this SVG file, too.")
@json_option
def command(
    folder: Path,
    lines: int,
    everything: bool,
    synthetic: bool,
    fresh: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Start everything embedded, replay real grocery orders as an application would write them (with audit contexts,
    corrections, cancellations, refunds, deletes), and prove at the end that nothing was lost.

    A second run in the same folder starts warm: it goes on where the first one stopped.
    """
    options = DemoOptions(
        folder=folder,
        lines=None if everything else lines,
        synthetic=synthetic,
        fresh=fresh,
        picture=picture,
        quiet=as_json,
    )
    give_memory_back()
    summary = run_demo(options)
    if as_json:
        print_json(summary)
