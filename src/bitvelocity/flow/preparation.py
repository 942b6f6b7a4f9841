"""Bring the source to what the project declares, as far as that destroys nothing."""

from __future__ import annotations

from ..oltp import Plan, apply, plan, prepare_capture
from .project import Project


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
