"""What the checks look at: one connection to the source, and what was read of it once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from ...contracts.spec import EntitySpec
from ..catalog import Catalog, FoundTable, read_catalog
from ..house import State, read_state
from ..statements import load

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From where on something is worth a warning."""

    retained_bytes: int = 1 << 30
    """WAL that a slot of somebody else holds back."""
    open_seconds: float = 3600.0
    """Age of a transaction that is still open, or prepared."""
    free_bytes: int = 2 << 30
    """Room on the source's disk."""
    replay_seconds: float = 60.0
    """How far a standby that is read from is behind its primary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What capture means to read, and how far it is."""

    specs: Sequence[EntitySpec]
    publication: str
    slot: str
    begun: bool
    """The lake has a position: publication and slot must be there. Before that, `bitvelocity up` makes them."""
    failover: bool = False
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Source:
    """A source database, read as far as all checks need it."""

    connection: psycopg.Connection[Any]
    wanted: Wanted
    state: State
    facts: Row
    settings: Mapping[str, Row]
    catalog: Catalog

    @classmethod
    def read(cls, connection: psycopg.Connection[Any], wanted: Wanted) -> Source:
        """Read once what several checks need. Changes nothing."""
        with connection.cursor(row_factory=dict_row) as cursor:
            facts = cursor.execute(load("checks")["facts"].sql, {"slot": wanted.slot}).fetchone() or {}
            settings = {row["name"]: row for row in cursor.execute(load("checks")["settings"].sql)}
        catalog = read_catalog(connection, sorted({spec.schema for spec in wanted.specs}))
        return cls(connection, wanted, read_state(connection), facts, settings, catalog)

    def rows(self, name: str, **values: object) -> list[Row]:
        """All rows of a statement of `sql/checks.sql`."""
        with self.connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(load("checks")[name].sql, values).fetchall()

    def setting(self, name: str) -> str | None:
        """A server setting as text; None where this version has none of that name."""
        found = self.settings.get(name)
        return str(found["setting"]) if found else None

    def number(self, name: str) -> int:
        """A server setting in bytes or milliseconds; -1 where there is none, as where there is no limit."""
        found = self.settings.get(name)
        if found is None or int(found["setting"]) < 0:
            return -1
        return int(found["setting"]) * int(found["scale"] or 1)

    @property
    def standby(self) -> bool:
        """The server follows another one."""
        return bool(self.facts["standby"])

    def table(self, spec: EntitySpec) -> FoundTable | None:
        """The entity's table, as the catalog has it."""
        return self.catalog.tables.get(spec.qualified)
