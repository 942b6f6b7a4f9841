"""Silver tables made anew from bronze: those that must be, before the pipeline writes to them; others when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..errors import LakeError
from ..lakehouse import Rebuilt, kept_as_text, outdated, rebuild
from .project import Project

Say = Callable[[str], None]


def renew_silver(project: Project, say: Say = lambda _: None) -> list[Rebuilt]:
    """Rebuild silver of the entities whose columns, types or key are not those that it was written with."""
    done = []
    for found in outdated(project.lake, project.kept):
        say(f"Making silver.{found.entity} anew from bronze: {'; '.join(dict.fromkeys(found.reasons))}.")
        spec = next(spec for spec in project.kept if spec.name == found.entity)
        done.append(rebuild(project.lake, spec, sync=project.settings.lake.sync))
    return done


def rebuild_silver(project: Project, names: Iterable[str] = (), say: Say = lambda _: None) -> list[Rebuilt]:
    """Rebuild silver of these entities with the types that this version gives them; without names, of all that need it.

    The lake must have no writer.
    """
    wanted = list(names) or [
        *(found.entity for found in outdated(project.lake, project.specs)),
        *(entity for entity, _, _ in kept_as_text(project.lake, project.specs)),
    ]
    done = []
    for name in dict.fromkeys(wanted):
        spec = project.spec(name)
        if spec is None:
            known = ", ".join(spec.name for spec in project.specs)
            raise LakeError(f"There is no entity {name!r}.", safe="Nothing was changed.", remedy=f"Entities: {known}.")
        say(f"Making silver.{spec.name} anew from bronze")
        done.append(rebuild(project.lake, spec, sync=project.settings.lake.sync))
    return done
