"""What must be done so that a database is what the entities say: planned first, printed, then carried out.

The wanted tables are made by PostgreSQL itself, in a schema of their own, inside a transaction that is rolled back. So
both sides of the comparison come from the same catalog, in the same spelling, and a plan right after `apply` is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg

from ..contracts.sets import in_order
from ..contracts.spec import EntitySpec
from ..contracts.trail import trails_of
from ..errors import DatabaseError
from .catalog import Catalog, read_catalog
from .connect import connect
from .failures import explained
from .house import State, house_steps, read_state, role_steps
from .markers import marker_steps
from .publish import PUBLICATION, publication_steps, read_publication
from .renamed import renamed_tables
from .shadow import SEARCH_PATH, Wanted, wanted_tables
from .steps import Refused, Step
from .tables import new_tables, table_steps
from .trail import position_steps
from .upkeep import after_steps


@dataclass(frozen=True, slots=True)
class Plan:
    """Ordered steps, and what is refused. Falsy when there is nothing to do."""

    steps: tuple[Step, ...]
    refused: tuple[Refused, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)

    @property
    def conflicts(self) -> tuple[Refused, ...]:
        """Where entity and database disagree in a way that `apply` must not go over."""
        return tuple(refused for refused in self.refused if refused.blocks)

    def text(self) -> str:
        """The SQL with the reason of each step, as the dry run prints it; psql would run it."""
        return "\n\n".join(step.text() for step in self.steps)

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "steps": [asdict(step) for step in self.steps],
            "refused": [asdict(refused) for refused in self.refused],
        }


def plan(
    dsn: str, specs: Sequence[EntitySpec], *, allow_destructive: bool = False, publication: str = PUBLICATION,
    ddl_markers: bool = True,
) -> Plan:
    """Compare the database with the entities. Changes nothing.

    Adopted entities (`managed=False`) are never altered, they only take their place in the publication. Tables, indexes
    and constraints that no entity declares are left alone, in the publication too.
    """
    managed = in_order([spec for spec in specs if spec.managed])
    managed = (*managed, *trails_of(managed))
    with connect(dsn) as connection:
        try:
            found = _compare(connection, managed, specs, allow_destructive=allow_destructive, publication=publication)
            found += marker_steps(connection, managed, wanted=ddl_markers)
        except psycopg.Error as error:
            raise explained(error, doing="Comparing the entities with the database") from error
        finally:
            connection.rollback()
    steps = tuple(item for item in found if isinstance(item, Step))
    refused = tuple(item for item in found if isinstance(item, Refused))
    return Plan((*(s for s in steps if not s.alone), *(s for s in steps if s.alone)), refused)


def _compare(
    connection: psycopg.Connection[Any],
    managed: Sequence[EntitySpec],
    specs: Sequence[EntitySpec],
    *,
    allow_destructive: bool,
    publication: str,
) -> list[Step | Refused]:
    connection.execute(SEARCH_PATH)  # before anything is read: it decides which names are printed with a schema
    state = read_state(connection)
    catalog = read_catalog(connection, sorted({spec.schema for spec in specs}))
    _refuse_missing(catalog, specs)
    wanted = wanted_tables(connection, managed, state)
    found = read_publication(connection, catalog, specs, publication)
    return [
        *renamed_tables(connection, catalog, specs, found),
        *house_steps(state, managed),
        *_tables(connection, wanted, catalog, allow_destructive=allow_destructive),
        *position_steps(connection, managed, tables=state.tables, functions=state.functions.keys()),
        *role_steps(connection, catalog, managed, state),
        *publication_steps(found, catalog, specs, major=state.major),
        *(step for want in wanted for step in after_steps(want, catalog)),
    ]


def _tables(
    connection: psycopg.Connection[Any], wanted: Sequence[Wanted], catalog: Catalog, *, allow_destructive: bool
) -> Iterator[Step | Refused]:
    new = [want for want in wanted if want.spec.qualified not in catalog.tables]
    yield from new_tables(new)
    for want in wanted:
        if want not in new:
            yield from table_steps(connection, want, catalog, allow_destructive=allow_destructive)


def _refuse_missing(catalog: Catalog, specs: Sequence[EntitySpec]) -> None:
    for spec in specs:
        if not spec.managed and spec.qualified not in catalog.tables:
            raise DatabaseError(
                f"The table {spec.qualified} is not in the database.",
                entity=spec.name,
                safe="Nothing was changed.",
                remedy="Remove the entity, or adopt the database again: bitvelocity adopt.",
            )


__all__ = ["Plan", "Refused", "State", "Step", "plan"]
