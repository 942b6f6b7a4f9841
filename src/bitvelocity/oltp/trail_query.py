"""Reading an audit trail: who changed what, when, in the course of what."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import errors, sql

from ..changes import parse_lsn
from ..contracts.spec import EntitySpec
from ..contracts.trail import trail_of
from ..errors import QueryError
from .connect import connect
from .failures import explained


@dataclass(frozen=True, slots=True, kw_only=True)
class TrailQuery:
    """What is asked for; what is not given does not matter. Moments are in PostgreSQL's words ("2024-01-15", "yesterday")."""

    key: Sequence[str] = ()
    user: str | None = None
    since: str | None = None
    until: str | None = None
    correlation_id: str | None = None
    limit: int | None = 100
    """The last so many."""


@dataclass(frozen=True, slots=True)
class Told:
    """One row of a trail."""

    audit_id: int
    key: Mapping[str, Any]
    operation: str
    at: datetime
    user: str | None
    correlation_id: str | None
    source: str | None
    old: Mapping[str, Any] | None
    new: Mapping[str, Any] | None

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Column -> old and new value, of those that differ; old is None where it is not known."""
        old, new = self.old or {}, self.new or {}
        return {name: (old.get(name), new.get(name)) for name in {**old, **new} if old.get(name) != new.get(name)}

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_trail(dsn: str, spec: EntitySpec, query: TrailQuery) -> list[Told]:
    """The rows of the trail, oldest first. A TRUNCATE ended every row, so it belongs to each key's story."""
    if spec.audit_trail is None:
        raise QueryError(
            f"{spec.name} keeps no audit trail.",
            entity=spec.name,
            remedy=f'Declare audit_trail="cdc" and apply. What the lake has of one row: bitvelocity trace {spec.name} KEY',
        )
    if len(query.key) > len(spec.key):
        raise QueryError(
            f"{len(query.key)} values for a key of {len(spec.key)}.", entity=spec.name,
            remedy=f"Give the values of ({', '.join(spec.key)}), or the first of them.",
        )  # fmt: skip
    with connect(dsn) as connection:
        connection.read_only = True
        try:
            connection.execute("set timezone = 'UTC'")
            rows = connection.execute(*_statement(spec, query)).fetchall()
        except errors.DataError as error:
            said = (error.diag.message_primary or str(error)).strip()
            raise QueryError(said, entity=spec.name, remedy='Give keys as the table has them, times as in "2024-01-15 10:30".') from error
        except errors.UndefinedTable as error:
            raise QueryError(f"The trail of {spec.name} is not in the database.", entity=spec.name, remedy="bitvelocity apply") from error
        except psycopg.Error as error:
            raise explained(error, doing="Reading the audit trail", entity=spec.name) from error
    width = len(spec.key)
    return [
        Told(row[0], dict(zip(spec.key, row[1 : width + 1], strict=True)), *row[width + 1 : -2], *map(_values, row[-2:]))
        for row in reversed(rows)
    ]


def trail_positions(dsn: str, specs: Sequence[EntitySpec]) -> dict[str, int]:
    """Entity -> commit LSN up to which change capture has written its trail; those that a trigger keeps are not named."""
    names = {spec.qualified: spec.name for spec in specs if spec.audit_trail is not None}
    with connect(dsn) as connection:
        connection.read_only = True
        try:
            rows = connection.execute("select relation, lsn::text from bv.trail_position where relation = any(%s)", [list(names)]).fetchall()
        except errors.UndefinedTable:
            return {}
        except psycopg.Error as error:
            raise explained(error, doing="Asking how far the audit trails are") from error
    return {names[relation]: parse_lsn(lsn) for relation, lsn in rows}


def _values(printed: str | None) -> Mapping[str, Any] | None:
    """Numbers as they are printed: money is never a float."""
    return None if printed is None else json.loads(printed, parse_float=Decimal)


def _statement(spec: EntitySpec, query: TrailQuery) -> tuple[sql.Composed, list[Any]]:
    trail = trail_of(spec)
    columns = ["audit_id", *spec.key, "operation_type", "operation_timestamp", "operation_user", "correlation_id", "source"]
    conditions = list(_conditions(spec, query))
    where = sql.SQL(" and ").join(text for text, _ in conditions) if conditions else sql.SQL("true")
    limit = sql.SQL("" if query.limit is None else " limit {}").format(*([] if query.limit is None else [sql.Literal(query.limit)]))
    text = sql.SQL("select {}, old_values::text, new_values::text from {} where {} order by audit_id desc{}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(trail.schema, trail.table), where, limit
    )
    return text, [value for _, value in conditions]


def _conditions(spec: EntitySpec, query: TrailQuery) -> Iterator[tuple[sql.Composable, Any]]:
    for name, value in zip(spec.key, query.key, strict=False):
        column = sql.Identifier(name)
        yield sql.SQL("({} = %s or operation_type = 'TRUNCATE')").format(column), value
    asked = (
        (sql.SQL("operation_user = %s"), query.user),
        (sql.SQL("operation_timestamp >= %s"), query.since),
        (sql.SQL("operation_timestamp < %s"), query.until),
        (sql.SQL("correlation_id = %s"), query.correlation_id),
    )
    yield from ((text, given) for text, given in asked if given is not None)
