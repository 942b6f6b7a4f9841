"""`bitvelocity status`: where every station stands."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from ...capture import SlotHealth
from ...changes import format_lsn
from ...flow import Status, open_project, prometheus, status
from ...flow.behind import Way
from ...flow.hindrance import Trouble
from ...flow.outbound import RouteStand
from ...flow.queued import Queued
from ...streams.lag import DEAD
from ..output import json_option, print_json, project_option, say


@click.command(short_help="Lag, freshness, rows and slot health, per station.")
@project_option
@json_option
@click.option("--prometheus", "as_metrics", is_flag=True, help="Print metrics in Prometheus' text format.")
def command(folder: Path, as_json: bool, as_metrics: bool) -> None:
    """Show lag, freshness, rows and slot health per station. Starts and changes nothing."""
    found = status(open_project(folder))
    if as_metrics:
        click.echo(prometheus(found), nl=False)
    elif as_json:
        print_json(found.as_dict())
    else:
        _show(found)


def _show(found: Status) -> None:
    beat = found.running
    if beat:
        say(f"running   pid {beat['pid']}, {_changes(beat['rows'])} since start, {beat['rows_per_second']:,.0f}/s now")
    else:
        say("running   no (bitvelocity up starts it)")
    if found.slot and (found.slot.exists or found.watermark):
        _show_slot(found.slot)
    if found.way:
        _show_way(found.way)
    if found.watermark:
        say(f"lake      at {format_lsn(found.watermark.position)}, {_age(found)}")
    for table in found.tables:
        say(f"  {table.layer:<7} {table.name:<24} {table.rows:>14,} rows")
    for route in found.routes:
        _show_route(route, running=bool(beat))
        for queued in found.queues:
            if queued.route == route.name:
                _show_queued(queued)
    for trail in found.trails:
        since = f", the first since {trail.since:%Y-%m-%d %H:%M:%S}" if trail.since else ""
        stands = f"{_changes(trail.behind)} behind{since}" if trail.behind else "level"
        say(f"trail     {trail.entity}: at {format_lsn(trail.position)}, {stands}")
    for kept in found.kept:
        say(f"model     {kept.model}: {kept.reason}")
    for note in found.notes:
        say(f"note      {note}", dim=True)


def _changes(count: int) -> str:
    return f"{count:,} change{'s' * (count != 1)}"


def _show_slot(slot: SlotHealth) -> None:
    colour = {"ok": None, "warn": "yellow", "bad": "red"}[slot.state]
    kept = f"{slot.lag_bytes:,} bytes behind, {slot.retained_bytes >> 20:,} MB of WAL kept" if slot.exists else "missing"
    say(f"slot      {slot.slot}: {kept}", fg=colour)
    for finding in slot.findings:
        say(f"          {finding}", fg=colour)
    if slot.remedy:
        say(f"          Remedy: {slot.remedy}")


def _show_way(way: Way) -> None:
    if way.route == "debezium":
        _show_debezium(way)
    else:
        _show_bus(way)
    for lag in way.lags:
        behind = f"{lag.records:,} records, {lag.seconds:,.1f} s behind" if lag.records else "level"
        said = "nothing was taken yet" if lag.records < 0 else behind
        say(f"  topic   {f'{lag.partition.topic} [{lag.partition.number}]':<32} {said}")


def _show_route(route: RouteStand, *, running: bool) -> None:
    at = f"at {format_lsn(route.position)}" if route.position >= 0 else "nothing told yet"
    say(f"route     {route.name}: to {route.bus}, {at}, {route.state}", fg="yellow" if route.trouble else None)
    for one in route.topics:
        stands = f"{_changes(one.records)}, {one.seconds:,.1f} s behind" if one.records else "level"
        say(f"  topic   {one.topic:<32} {stands}")
    if trouble := route.trouble:
        often = "once" if trouble.times == 1 else f"{trouble.times:,} times since {datetime.fromtimestamp(trouble.since, UTC):%Y-%m-%d %H:%M:%S} UTC"
        again = _again(trouble) if running else "tried again by the next bitvelocity up"
        say(f"          {trouble.what} ({often}; {again})", fg="yellow")
        if trouble.remedy:
            say(f"          Remedy: {trouble.remedy}")


def _show_queued(queued: Queued) -> None:
    for one in queued.depths:
        stands = f"{one.records:,} {'set apart' if one.group == DEAD else 'waiting'}" if one.records else "empty"
        say(f"  queue   {f'{one.topic}.{one.group}':<32} {stands}")
    if queued.trouble:
        say(f"          What waits in its queues is not known: {queued.trouble}", fg="yellow")


def _again(trouble: Trouble) -> str:
    left = trouble.again - time.time()
    return f"tried again in {left:,.0f} s, or once the other side answers" if left > 0 else "it is tried again now"


def _show_debezium(way: Way) -> None:
    age = way.heartbeat_age
    beats = "no heartbeats" if age is None else f"last heartbeat {age:,.1f} s ago"
    asked = "it cannot be asked now" if way.trouble else f"{len(way.topics)} topics, {beats}"
    say(f"source    Debezium over {way.bus}; {asked}", fg="yellow" if way.trouble else None)


def _show_bus(way: Way) -> None:
    route = "" if way.route == "bus" else ", until it is empty: the route is direct now"
    asked = "it cannot be asked now" if way.trouble else f"{len(way.topics)} topics, boundaries in {way.boundaries}"
    say(f"route     over the bus {way.bus}{route}; {asked}", fg="yellow" if way.trouble else None)


def _age(found: Status) -> str:
    fresh = found.freshness_seconds
    if fresh is None:
        return "of unknown age"
    if found.level:
        return "level with the source"
    behind = "" if found.slot and found.slot.exists else " (whether the source has more is not known)"
    return f"its last commit is {fresh:,.1f} s old{behind}"
