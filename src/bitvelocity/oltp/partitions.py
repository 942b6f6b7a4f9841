"""Range partitions by time, ahead of now and behind: made by `bv.ensure_partitions` in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from ..contracts.spec import EntitySpec, Partition
from .connect import connect
from .ddl import literal, qualified
from .failures import explained
from .statements import load


def default_partition_sql(spec: EntitySpec) -> str:
    """The partition of the rows that no range takes."""
    target = qualified(spec.schema, f"{spec.table}_default")
    return f"create table {target} partition of {qualified(spec.schema, spec.table)} default"


def ensure_sql(spec: EntitySpec) -> str:
    """Make what is missing around now."""
    partition = _partition(spec)
    table = literal(qualified(spec.schema, spec.table))
    return (
        f"select bv.ensure_partitions({table}, '{partition.step}',"
        f" now() - interval '{partition.behind} {partition.step}', now() + interval '{partition.ahead} {partition.step}')"
    )


def missing_partitions(connection: psycopg.Connection[Any], spec: EntitySpec) -> list[str]:
    """Names of partitions around now that are not there and could be made."""
    partition = _partition(spec)
    rows = connection.execute(
        load("partitions")["missing"].sql,
        {
            "schema": spec.schema,
            "table": spec.table,
            "step": partition.step,
            "behind": f"{partition.behind} {partition.step}",
            "ahead": f"{partition.ahead} {partition.step}",
            "every": f"1 {partition.step}",
        },
    ).fetchall()
    return [name for name, low, high in rows if not _default_holds(connection, spec, low, high)]


def ensure_partitions(
    dsn: str, specs: Sequence[EntitySpec], *, since: datetime | None = None, until: datetime | None = None
) -> dict[str, list[str]]:
    """Make missing partitions of the partitioned tables; entity -> names of new ones.

    Run it daily: `ahead` of a partition says how long a missed run may last. `since` and `until` widen the range,
    for an import of history.
    """
    made: dict[str, list[str]] = {}
    with connect(dsn) as connection:
        for spec in specs:
            if spec.partition is not None and spec.managed:
                made[spec.name] = _ensure(connection, spec, since, until)
    return {name: names for name, names in made.items() if names}


def expire_partitions(dsn: str, specs: Sequence[EntitySpec], *, lock_timeout: str = "2s") -> dict[str, list[str]]:
    """Drop the partitions of these tables that are older than the retention; entity -> what went.

    Dropping locks the whole table for a moment; when that moment does not come within `lock_timeout`, nothing is done.
    """
    gone: dict[str, list[str]] = {}
    for spec in specs:
        if spec.retention is None:
            continue
        with connect(dsn) as connection:
            connection.execute("select set_config('lock_timeout', %s, true)", [lock_timeout])
            parameters = {"parent": qualified(spec.schema, spec.table), "retention": spec.retention}
            try:
                gone[spec.name] = [name for (name,) in connection.execute(load("partitions")["expire"].sql, parameters)]
                connection.commit()
            except psycopg.Error as error:
                raise explained(error, doing="Dropping old partitions", entity=spec.name) from error
    return {name: names for name, names in gone.items() if names}


def rows_in_default(connection: psycopg.Connection[Any], spec: EntitySpec) -> bool:
    """Some rows found no range: partitions were made too late, or the values are far off."""
    leaf = sql.Identifier(spec.schema, f"{spec.table}_default")
    row = connection.execute(sql.SQL("select exists (select from {})").format(leaf)).fetchone()
    return bool(row and row[0])


def _ensure(
    connection: psycopg.Connection[Any], spec: EntitySpec, since: datetime | None, until: datetime | None
) -> list[str]:
    partition = _partition(spec)
    try:
        rows = connection.execute(
            load("partitions")["ensure"].sql,
            {
                "parent": qualified(spec.schema, spec.table),
                "step": partition.step,
                "behind": f"{partition.behind} {partition.step}",
                "ahead": f"{partition.ahead} {partition.step}",
                "since": since,
                "until": until,
            },
        ).fetchall()
        connection.commit()
    except psycopg.Error as error:
        raise explained(error, doing="Making partitions", entity=spec.name) from error
    return [name for (name,) in rows]


def _default_holds(connection: psycopg.Connection[Any], spec: EntitySpec, low: datetime, high: datetime) -> bool:
    partition = _partition(spec)
    bound = sql.SQL("bv.uuid7_floor(%s)" if partition.by == "uuid7" else "%s::timestamptz")
    query = sql.SQL("select to_regclass(%s) is not null").format()
    there = connection.execute(query, [qualified(spec.schema, f"{spec.table}_default")]).fetchone()
    if not there or not there[0]:
        return False
    row = connection.execute(
        sql.SQL("select exists (select from {} where {} >= {} and {} < {})").format(
            sql.Identifier(spec.schema, f"{spec.table}_default"),
            sql.Identifier(partition.column),
            bound,
            sql.Identifier(partition.column),
            bound,
        ),
        [low, high],
    ).fetchone()
    return bool(row and row[0])


def _partition(spec: EntitySpec) -> Partition:
    assert spec.partition is not None
    return spec.partition
