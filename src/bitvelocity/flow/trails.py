"""The audit trail of an entity, asked where it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from ..changes import format_lsn
from ..errors import QueryError
from ..lakehouse import read_watermark
from ..oltp import Told, TrailQuery, read_trail, trail_positions
from ..serving import told_above
from .database import running_database
from .project import Project
from .reading import open_reader


@dataclass(frozen=True, slots=True)
class TrailStand:
    """How far change capture has written the trail of an entity: `behind` changes of the lake are not in it yet."""

    entity: str
    position: int
    behind: int
    since: datetime | None
    """When the first of them was committed."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "position": format_lsn(self.position), "since": self.since.isoformat() if self.since else None}


def trail_stands(project: Project, dsn: str) -> tuple[TrailStand, ...]:
    """Of all trails that change capture keeps, or has not finished yet; none before the lake has anything."""
    if all(spec.audit_trail is None for spec in project.specs) or read_watermark(project.lake) is None:
        return ()
    positions = trail_positions(dsn, project.specs)
    with open_reader(project) as reader:
        return tuple(TrailStand(name, lsn, *told_above(reader, name, lsn)) for name, lsn in sorted(positions.items()))


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
