"""All checks in one list: the project's files, the machine, the source, the slot, the lake."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..capture import SlotHealth
from ..changes import format_lsn
from ..errors import BitVelocityError
from ..lakehouse import mismatches, read_watermark
from ..oltp import find_binaries, server_account
from ..oltp.checks import Check, Wanted, bad, fine, look
from .beat import read_beat
from .database import Database, running_database
from .listening import check_topics
from .outreach import look_at_routes
from .project import Project, open_project
from .slots import health_of_slot

ENOUGH_DISK = 2 << 30


def diagnose(start: Path) -> list[Check]:
    """Check what can be checked without changing anything; the first thing that is missing hides what needs it."""
    try:
        project = open_project(start)
    except BitVelocityError as error:
        return [_failed("project", error)]
    count = f"{len(project.specs)} entities, {len(project.models)} models"
    checks = [fine("project", f"{project.root}: {count}"), _disk(project)]
    if project.settings.capture.source != "postgres":
        return [*checks, *_shapes(project), *check_topics(project)]
    if project.embedded:
        checks.append(_programs())
    database = running_database(project)
    checks += [*_shapes(project), *look_at_routes(project)]
    if database is None:
        return [*checks, fine("source", "the embedded PostgreSQL is not running (bitvelocity up starts it)")]
    return [*checks, *_source(project, database), _slot(project, database)]


def _disk(project: Project) -> Check:
    folder = next(path for path in (project.lake, *project.lake.parents) if path.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        what = "cannot be written" if folder.is_dir() else "is no folder"
        mend = "Make it a folder that this user can write, or set [lake] path in bitvelocity.toml."
        return bad("lake", f"{folder} {what}", mend)
    free = shutil.disk_usage(folder).free
    what = f"{project.lake}: {free >> 30} GB free"
    if free > ENOUGH_DISK:
        return fine("lake", what)
    return bad("lake", what, "Free some room, or set [lake] path to another disk.")


def _programs() -> Check:
    try:
        found, account = find_binaries(), server_account()
    except BitVelocityError as error:
        return _failed("programs", error)
    return fine("programs", f"PostgreSQL {found.version} in {found.bindir}, run by {account.name}")


def _source(project: Project, database: Database) -> list[Check]:
    capture = project.settings.capture
    wanted = Wanted(
        specs=project.specs, publication=capture.publication, slot=capture.slot, begun=_has_begun(project)
    )
    try:
        return look(database.dsn, wanted)
    except BitVelocityError as error:
        return [_failed("source", error)]


def _shapes(project: Project) -> list[Check]:
    """Tables that were altered while their entities were not."""
    return [
        Check("entities", "warn", f"{item.entity}: {item.what} (since {format_lsn(item.lsn)})", item.remedy)
        for item in mismatches(project.lake, project.specs)
    ]


def _has_begun(project: Project) -> bool:
    try:
        return read_watermark(project.lake) is not None
    except BitVelocityError:
        return True  # a watermark that cannot be read; the pipeline itself says what to do


def _slot(project: Project, database: Database) -> Check:
    try:
        health = health_of_slot(project, database.dsn)
    except BitVelocityError as error:
        return _failed("slot", error)
    if not health.exists and not _has_begun(project):
        return fine("slot", "none yet (the first bitvelocity up makes it)")
    if health.catching_up and read_beat(project) is None:
        return _orphan(health)
    return Check("slot", health.state, " ".join(health.findings) or "healthy", health.remedy)


def _orphan(health: SlotHealth) -> Check:
    """The copy goes with its connection: a server that is at work notices only then that we were killed."""
    what = f"process {health.active_pid} of the server reads a backlog out of a copy of the slot, and no pipeline of this project runs"
    remedy = f"select pg_terminate_backend({health.active_pid});" if health.active_pid else "It goes by itself in a moment."
    return Check("slot", "warn", f"{what}: one that was killed, or another project with this slot", remedy)


def _failed(name: str, error: BitVelocityError) -> Check:
    return bad(name, error.what, error.remedy)
