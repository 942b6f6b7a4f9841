"""`bitvelocity dead-letters`: records of topics that are no changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from ...flow import find_letters, key_text, open_project, order_letters
from ..output import json_option, print_json, project_option, say

_topic = click.option("--topic", default="", help="Only those of this topic.")
_key = click.option("--key", default="", metavar="HEX", help="Only those of this key, as list prints it.")
_state = click.option(
    "--state", default="parked", type=click.Choice(["parked", "replayed", "dropped", "all"]), help="Which of them; parked ones by default."
)


@click.group(short_help="Records of topics that are no changes: list, show, replay, drop.")
def command() -> None:
    """Records that came over the bus and could not be read, and those of their keys that wait behind them.

    They are set apart with `[streams] dead_letters = "table"`. Each of these takes --json.
    """


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (json_option, project_option, _key, _topic):
        function = option(function)
    return function


@command.command("list", short_help="One line each.")
@_options
@_state
def list_command(topic: str, key: str, state: str, folder: Path, as_json: bool) -> None:
    """Show dead letters, one line each."""
    for row in _told(topic, key, state, folder, as_json=as_json):
        say(f"{row['state']:<8} {row['topic']} [{row['partition']}] {row['offset']:>10} {row['code']:<16} {key_text(row['key'])}")


@command.command(short_help="Why, and what stands in it.")
@_options
@_state
def show(topic: str, key: str, state: str, folder: Path, as_json: bool) -> None:
    """Show dead letters with the reason and the record itself."""
    for row in _told(topic, key, state, folder, as_json=as_json):
        since = f" {row['ended_at']}" if row["ended_at"] else ""
        say(f"{row['topic']}, partition {row['partition']}, offset {row['offset']}: {row['state']}{since}")
        say(f"  {row['class']} ({row['code']}): {row['reason']}")
        say(f"  schema {row['schema_id'] or 'unknown'}, record of {row['timestamp']}, seen {row['seen_at']} by {row['version']}")
        say(f"  key     {key_text(row['key'])}")
        say(f"  value   {'NULL' if row['value'] is None else '0x' + row['value'].hex()}")
        say(f"  headers {row['headers']}")


@command.command(short_help="Read them again, and apply what can be read now.")
@_options
def replay(topic: str, key: str, folder: Path, as_json: bool) -> None:
    """Read parked records again after their cause was mended, and apply them in order; then those that wait behind them."""
    _order("replay", topic, key, folder, as_json=as_json)


@command.command(short_help="Give those up that cannot be read.")
@_options
def drop(topic: str, key: str, folder: Path, as_json: bool) -> None:
    """Give parked records up. Those that wait behind them stay parked until they are replayed."""
    _order("drop", topic, key, folder, as_json=as_json)


def _order(verb: Any, topic: str, key: str, folder: Path, *, as_json: bool) -> None:
    count, running = order_letters(open_project(folder), verb, topic, key)
    if as_json:
        print_json({"ordered": verb, "letters": count, "running": running})
        return
    say(f"{verb} of {count} records is ordered{'' if running else '; bitvelocity up carries it out'}. See: bitvelocity dead-letters list")


def _told(topic: str, key: str, state: str, folder: Path, *, as_json: bool) -> Sequence[dict[str, Any]]:
    """Those that are left to be told in words."""
    found = find_letters(open_project(folder), topic, key, "" if state == "all" else state)
    if as_json:
        print_json([_as_dict(row) for row in found])
        return ()
    if not found:
        say("There are none.")
    return found


def _as_dict(row: dict[str, Any]) -> dict[str, Any]:
    told = {name: row[name] for name in ("topic", "partition", "offset", "class", "code", "reason", "schema_id", "version", "state", "headers")}
    value = None if row["value"] is None else row["value"].hex()
    ended = row["ended_at"] and str(row["ended_at"])
    moments = {"timestamp": str(row["timestamp"]), "seen_at": str(row["seen_at"]), "ended_at": ended}
    return {**told, "key": key_text(row["key"]) or None, "value": value, **moments}
