"""Bring the source to what the project declares, as far as that destroys nothing."""

from __future__ import annotations

from dataclasses import dataclass

from ..oltp import Plan, apply, plan, prepare_capture
from .project import Project


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was done: the plan for our own tables (None when all are adopted)."""

    plan: Plan | None


def prepare(project: Project, dsn: str, *, apply_plan: bool = True, allow_destructive: bool = False) -> Prepared:
    """Carry out the plan for managed entities and publish all of them for capture."""
    managed = [spec for spec in project.specs if spec.managed]
    made = None
    if managed:
        made = plan(dsn, managed, allow_destructive=allow_destructive)
        if apply_plan:
            apply(dsn, made)
    adopted = [spec for spec in project.specs if not spec.managed]
    if adopted:
        prepare_capture(dsn, project.specs, publication=project.settings.capture.publication)
    return Prepared(made)
