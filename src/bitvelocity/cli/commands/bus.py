"""`bitvelocity bus`: what is done to the topics as a whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import click

from ...flow import Migrated, Migration, Move, migration, open_project
from ...flow.migrating import Moved
from ..output import json_option, print_json, project_option, say

_TRANSPORTS = click.Choice(["embedded", "kafka", "nats", "rabbitmq"])
_TELL_S = 2.0


@click.group(short_help="The topics: copy them to another transport.")
def command() -> None:
    """What is done to the topics of a project as a whole. Each of these takes --json."""


@command.command(short_help="Copy the topics to another transport.")
@click.option("--to", "target", type=_TRANSPORTS, required=True, help="The transport to copy to.")
@click.option("--from", "source", type=_TRANSPORTS, help="The transport to copy from (default: that of [streams]).")
@click.option("--topic", "topics", multiple=True, help="Only this topic; may be given several times (default: all of the project).")
@click.option("--group", "groups", multiple=True, help="A group of readers whose position goes along; embedded ones all do.")
@click.option("--dry-run", is_flag=True, help="Say what would be copied, and write nothing.")
@project_option
@json_option
def migrate(
    target: str, source: str | None, topics: Sequence[str], groups: Sequence[str], *, dry_run: bool, folder: Path, as_json: bool
) -> None:
    """Copy topics with their records to another transport, compare them record by record, and say what to change then.

    Records keep their key, time, partition and place, and have the offset that they had in the header `bv-offset`. Nothing
    is taken away where they come from. `up` must not run. Safe to kill: the next run goes on with it, and doubles nothing.
    """
    project = open_project(folder)
    move = Move(source=source or project.settings.streams.bus, target=target, topics=topics, groups=groups)
    quiet = (lambda _: None) if as_json else say
    with migration(project, move, quiet) as work:
        if dry_run:
            _show_plan(work, as_json=as_json)
            return
        done, change = work.run(_Progress(silent=as_json).tell), work.to_change()
    if as_json:
        print_json({"topics": [_as_dict(one) for one in done.topics], "groups": done.groups, "lake": done.lake, "change": change})
    else:
        _show(done, change)


class _Progress:
    """A line for each topic, now and then."""

    def __init__(self, *, silent: bool) -> None:
        self._silent, self._told = silent, 0.0

    def tell(self, topic: str, copied: int, total: int) -> None:
        if not self._silent and (time.monotonic() - self._told > _TELL_S):
            self._told = time.monotonic()
            say(f"  {topic:<40} {copied:,} of {total:,}")


def _show_plan(work: Migration, *, as_json: bool) -> None:
    plan, groups = work.plan(), work.groups()
    if as_json:
        print_json({"topics": [_as_dict(one) for one in plan], "groups": groups})
        return
    for one in plan:
        say(f"  {one.topic.name:<40} {one.records:,} offsets in {_partitions(one)}")
    say(f"  groups: {', '.join(groups) or 'none'}")
    say("Nothing was written.", bold=True)


def _show(done: Migrated, change: Sequence[str]) -> None:
    if not done.topics:
        say("There is nothing to copy.")
        return
    for one in done.topics:
        say(f"  {one.topic.name:<40} {one.copied:,} records in {_partitions(one)}, the same on both")
    for group, count in done.groups.items():
        say(f"  group {group}: {count} position{'s' * (count != 1)} carried over")
    say("Copied. Change bitvelocity.toml, then start up again:", bold=True)
    for line in change:
        say(f"  {line}")


def _partitions(one: Moved) -> str:
    return f"{one.topic.partitions} partition{'s' * (one.topic.partitions != 1)}"


def _as_dict(one: Moved) -> dict[str, object]:
    return {"topic": one.topic.name, "partitions": one.topic.partitions, "offsets": one.records, "records": one.copied}
