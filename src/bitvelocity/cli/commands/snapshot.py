"""`bitvelocity snapshot`: read a table again while the stream runs."""

from __future__ import annotations

import time
from pathlib import Path

import click

from ...capture.snapshots import Run, Verb
from ...flow import open_project, order_reading, show_readings
from ..output import json_option, print_json, project_option, say

_DONE: dict[Verb, str] = {
    "start": "will be read again",
    "pause": "will pause after the chunk that is being read",
    "resume": "will be read on",
    "stop": "will not be read on; what was read stays",
}


@click.group(short_help="Read a table again while the stream runs: start, pause, resume, stop, status.")
def command() -> None:
    """Read the rows of a table again, in chunks, while `up` goes on with the stream.

    Nothing is written into the source but marks in its WAL, and no privilege is needed but SELECT. The rows come into
    the lake as reads; changes that come meanwhile are never undone. Survives kills: what was read is not read again.
    Each of these takes --json.
    """


@command.command(short_help="Read a table, or some rows of it, again.")
@click.argument("entity")
@click.option("--where", metavar="SQL", help="Read only the rows for which this holds, in the source's SQL.")
@project_option
@json_option
def start(entity: str, where: str | None, folder: Path, as_json: bool) -> None:
    """Ask for the rows of ENTITY to be read again. The running `up` does it, or the next one."""
    _order("start", entity, folder, as_json=as_json, where=where)


@command.command(short_help="Let the reading of a table rest.")
@click.argument("entity")
@project_option
@json_option
def pause(entity: str, folder: Path, as_json: bool) -> None:
    """Let the reading of ENTITY rest until it is resumed; over restarts too."""
    _order("pause", entity, folder, as_json=as_json)


@command.command(short_help="Go on with what was paused, or failed.")
@click.argument("entity")
@project_option
@json_option
def resume(entity: str, folder: Path, as_json: bool) -> None:
    """Go on with the reading of ENTITY where it was paused, or where it failed."""
    _order("resume", entity, folder, as_json=as_json)


@command.command(short_help="Give the reading of a table up.")
@click.argument("entity")
@project_option
@json_option
def stop(entity: str, folder: Path, as_json: bool) -> None:
    """Give the reading of ENTITY up, or clear one that failed. What was read stays; it is true in any case."""
    _order("stop", entity, folder, as_json=as_json)


@command.command(short_help="What is read, how far, and what was read.")
@project_option
@json_option
def status(folder: Path, as_json: bool) -> None:
    """Show all readings that are remembered, the newest last."""
    found = show_readings(open_project(folder))
    if as_json:
        print_json(found.as_dict())
        return
    for run in found.runs:
        _show(run)
    for order in found.orders:
        say(f"{order.entity:<24} {order.verb} (not taken up yet)", dim=True)
    if not found.runs and not found.orders:
        say("Nothing was read beside the stream yet.")
    if found.orders and not found.running:
        say("No pipeline runs: bitvelocity up carries orders out.")


def _order(verb: Verb, entity: str, folder: Path, *, as_json: bool, where: str | None = None) -> None:
    project = open_project(folder)
    spec = order_reading(project, verb, entity, where)
    running = show_readings(project).running
    if as_json:
        print_json({"entity": spec.name, "ordered": verb, "running": running})
        return
    say(f"{spec.name} {_DONE[verb]}{'' if running else ' once bitvelocity up runs'}. See: bitvelocity snapshot status")


def _show(run: Run) -> None:
    where = f" where {run.where}" if run.where else ""
    kind = {"again": "", "altered": " (altered)", "joins": " (new)", "first": " (first snapshot)"}[run.kind]
    facts = f"{run.share:>4.0%} {run.rows:>12,} rows, {run.outdated:,} changed meanwhile"
    colour = {"failed": "red", "done": "green"}.get(run.state)
    say(f"{run.entity:<24} {run.state:<8} {facts}, asked {_ago(run)}{kind}{where}", fg=colour)
    if run.waits_for:
        say(f"  waits for transactions of the source to end: {', '.join(map(str, run.waits_for))}")
    if run.error:
        say("  " + run.error.replace("\n", "\n  "))


def _ago(run: Run) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.asked_at))
