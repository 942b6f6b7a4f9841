"""All checks in one list: the project's files, the machine, the source, the slot, the lake."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..capture import slot_health
from ..errors import BitVelocityError
from ..lakehouse import read_watermark
from ..oltp import Check, check, find_binaries
from .database import Database, running_database
from .project import Project, open_project

ENOUGH_DISK = 2 << 30


def diagnose(start: Path) -> list[Check]:
    """Check what can be checked without changing anything; the first thing that is missing hides what needs it."""
    try:
        project = open_project(start)
    except BitVelocityError as error:
        return [_bad("project", error)]
    count = f"{len(project.specs)} entities, {len(project.models)} models"
    checks = [Check("project", ok=True, what=f"{project.root}: {count}", remedy=None), _disk(project)]
    if project.embedded:
        checks.append(_programs())
    database = running_database(project)
    if database is None:
        checks.append(
            Check("source", ok=True, what="the embedded PostgreSQL is not running (bitvelocity up starts it)", remedy=None)
        )
        return checks
    return [*checks, *_source(project, database), *_slot(project, database)]


def _disk(project: Project) -> Check:
    folder = next(path for path in (project.lake, *project.lake.parents) if path.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        what = "cannot be written" if folder.is_dir() else "is no folder"
        mend = "Make it a folder that this user can write, or set [lake] path in bitvelocity.toml."
        return Check("lake", ok=False, what=f"{folder} {what}", remedy=mend)
    free = shutil.disk_usage(folder).free
    enough = free > ENOUGH_DISK
    remedy = None if enough else "Free some room, or set [lake] path to another disk."
    return Check("lake", ok=enough, what=f"{project.lake}: {free >> 30} GB free", remedy=remedy)


def _programs() -> Check:
    try:
        found = find_binaries()
    except BitVelocityError as error:
        return _bad("programs", error)
    return Check("programs", ok=True, what=f"PostgreSQL {found.version} in {found.bindir}", remedy=None)


def _source(project: Project, database: Database) -> list[Check]:
    try:
        return check(database.dsn, project.specs, publication=project.settings.capture.publication)
    except BitVelocityError as error:
        return [_bad("source", error)]


def _slot(project: Project, database: Database) -> list[Check]:
    try:
        health = slot_health(database.dsn, project.settings.capture.slot)
    except BitVelocityError as error:
        return [_bad("slot", error)]
    if not health.exists and read_watermark(project.lake) is None:
        return [Check("slot", ok=True, what="none yet (the first bitvelocity up makes it)", remedy=None)]
    what = " ".join(health.findings) or "healthy"
    return [Check("slot", ok=health.state != "bad", what=what, remedy=health.remedy)]


def _bad(name: str, error: BitVelocityError) -> Check:
    return Check(name, ok=False, what=error.what, remedy=error.remedy)
