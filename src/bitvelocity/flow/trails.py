"""The audit trail of an entity, asked where it is kept."""

from __future__ import annotations

from ..errors import QueryError
from ..oltp import Told, TrailQuery, read_trail
from .database import running_database
from .project import Project


def audit_trail(project: Project, entity: str, query: TrailQuery) -> list[Told]:
    """The rows that the query asks for, oldest first."""
    spec = project.spec(entity)
    if spec is None:
        known = ", ".join(spec.name for spec in project.specs)
        raise QueryError(f"There is no entity {entity!r}.", remedy=f"There is: {known}.")
    database = running_database(project)
    if database is None:
        raise QueryError(
            "The embedded PostgreSQL, which has the audit trail, is not running.", entity=spec.name, remedy="bitvelocity up"
        )
    return read_trail(database.dsn, spec, query)
