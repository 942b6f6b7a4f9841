"""Bring the source to what the project declares, as far as that destroys nothing."""

from __future__ import annotations

from ..errors import LakeError
from ..oltp import Plan, apply, plan, prepare_capture
from .beat import read_beat
from .project import Project
from .routes import routes_of


def check_startable(project: Project) -> None:
    """Refuse before a server is started what is bound to fail behind it: a route of nothing, a second pipeline on this lake."""
    routes_of(project.settings, project.specs)
    if beat := read_beat(project):
        raise LakeError(
            f"The lake at {project.lake} has a writer already: `bitvelocity up` runs for this project (process {beat['pid']}).",
            safe="Nothing was started.", remedy="Look at it: bitvelocity status. Or stop it first.",
        )  # fmt: skip


def prepare(project: Project, dsn: str, *, apply_plan: bool = True, allow_destructive: bool = False) -> Plan:
    """Plan what the source lacks, publication included, and carry it out; adopted tables are only published."""
    dsn = project.settings.capture.primary or dsn  # a standby cannot be written to
    settings = project.settings.capture
    publication = settings.publication
    made = plan(
        dsn,
        project.specs,
        allow_destructive=allow_destructive,
        publication=publication,
        ddl_markers=settings.ddl_markers,
    )
    if apply_plan and any(spec.managed for spec in project.specs):
        apply(dsn, made)
    elif apply_plan:
        prepare_capture(dsn, project.specs, publication=publication)
    return made
