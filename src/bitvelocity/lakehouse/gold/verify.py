"""Gold proved: every model computed anew from its inputs and compared with what is stored, value by value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse.names import columns_sql, identifier

from .binding import cast_select, open_schemas, silver_inputs, table_name
from .model import Model, ModelColumn
from .silver import Silver, silver_schemas

SAMPLES = 10
CLOSE = 1e-9
"""Doubles that differ by less than this share of themselves are equal."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One key whose row differs. `columns`: name -> (stored, computed); empty when the row is on one side
    only.

    Values are printed: a table may hold what Python's own types cannot.
    """

    key: dict[str, str | None]
    kind: str
    """`missing` in the stored rows, `extra` there, or `different`."""
    columns: dict[str, tuple[str | None, str | None]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "key": self.key,
            "kind": self.kind,
            "columns": {name: list(pair) for name, pair in self.columns.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVerdict:
    """Whether a model's stored rows are what its SQL gives. `samples` name a few of the differences."""

    model: str
    rows: int
    """Rows that the SQL gives."""
    stored: int
    missing: int = 0
    extra: int = 0
    different: int = 0
    samples: tuple[RowDifference, ...] = ()

    @property
    def ok(self) -> bool:
        """No row differs, in no column."""
        return not (self.missing or self.extra or self.different)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "model": self.model,
            "ok": self.ok,
            "rows": self.rows,
            "stored": self.stored,
            "missing": self.missing,
            "extra": self.extra,
            "different": self.different,
            "samples": [sample.as_dict() for sample in self.samples],
        }


def verify_models(
    connection: duckdb.DuckDBPyConnection,
    specs: Sequence[EntitySpec],
    models: Sequence[Model],
    *,
    silver: Silver,
    stored: Mapping[str, str],
) -> Iterator[ModelVerdict]:
    """Compute all models from silver alone, in an empty `connection`, and compare each with its `stored`
    SELECT.
    """
    open_schemas(connection)
    schemas = silver_schemas(specs)
    for entity in dict.fromkeys(entity for model in models for entity in silver_inputs(model)):
        names = schemas[entity].names
        rows = silver.latest(entity, names)
        connection.register("_rows", schemas[entity].empty_table() if rows is None else rows)
        table = table_name("silver", entity)
        connection.execute(f"CREATE TABLE {table} AS SELECT {columns_sql(names)} FROM _rows")
        connection.unregister("_rows")
    for model in models:
        table = table_name("gold", model.name)
        connection.execute(f"CREATE TABLE {table} AS {cast_select(model)}")
        yield compare_rows(connection, model, f"FROM {table}", stored[model.name])


def compare_rows(
    connection: duckdb.DuckDBPyConnection, model: Model, computed: str, stored: str
) -> ModelVerdict:
    """Compare two SELECTs that should both give the rows of a model.

    Rows are matched by key, NULL being a key like any other, and every column is compared exactly (doubles to
    nine digits).
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE _compared AS {_joined(model, computed, stored)}")
    try:
        counts = connection.execute(
            "SELECT count(_computed), count(_stored), count(*) FILTER (_kind = 'missing'), "
            "count(*) FILTER (_kind = 'extra'), count(*) FILTER (_kind = 'different') FROM _compared"
        ).fetchall()
        rows, have, missing, extra, different = counts[0]
        samples = _samples(connection, model) if missing or extra or different else ()
    finally:
        connection.execute("DROP TABLE _compared")
    return ModelVerdict(
        model=model.name,
        rows=rows,
        stored=have,
        missing=missing,
        extra=extra,
        different=different,
        samples=tuple(samples),
    )


def _joined(model: Model, computed: str, stored: str) -> str:
    """Both sides by key. A key that stands twice meets itself by number, so that no double can hide."""
    names = model.column_names
    keys = columns_sql(model.key)
    same = " AND ".join(
        f"c.{identifier(name)} IS NOT DISTINCT FROM s.{identifier(name)}" for name in model.key
    )
    differs = " OR ".join(_differs(column) for column in model.columns)
    pairs = ", ".join(
        f"c.{identifier(name)} AS {identifier('c ' + name)}, s.{identifier(name)} AS {identifier('s ' + name)}"
        for name in names
    )
    number = f"row_number() OVER (PARTITION BY {keys}) AS _number"
    return (
        f"SELECT _computed, _stored, {pairs}, "
        f"CASE WHEN _stored IS NULL THEN 'missing' WHEN _computed IS NULL THEN 'extra' "
        f"WHEN {differs} THEN 'different' END AS _kind "
        f"FROM (SELECT *, 1 AS _computed, {number} FROM ({computed})) c "
        f"FULL JOIN (SELECT *, 1 AS _stored, {number} FROM ({stored})) s "
        f"ON {same} AND c._number = s._number"
    )


def _differs(column: ModelColumn) -> str:
    """Exactly, but for doubles: their sums depend on the order of the rows in the last digits."""
    computed, stored = f"c.{identifier(column.name)}", f"s.{identifier(column.name)}"
    different = f"{computed} IS DISTINCT FROM {stored}"
    if column.type.duckdb != "DOUBLE":
        return different
    near = f"abs({computed} - {stored}) <= {CLOSE} * greatest(abs({computed}), abs({stored}))"
    return f"({different} AND NOT coalesce({near}, false))"


def _samples(connection: duckdb.DuckDBPyConnection, model: Model) -> Sequence[RowDifference]:
    found = connection.sql(
        f"SELECT CAST(COLUMNS(*) AS VARCHAR) FROM _compared WHERE _kind IS NOT NULL LIMIT {SAMPLES}"
    ).to_arrow_table()
    return [_sample(row, model) for row in found.to_pylist()]


def _sample(row: dict[str, Any], model: Model) -> RowDifference:
    side = "s " if row["_kind"] == "extra" else "c "
    pairs = {name: (row[f"s {name}"], row[f"c {name}"]) for name in model.column_names}
    changed = (
        {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
        if row["_kind"] == "different"
        else {}
    )
    return RowDifference({name: row[side + name] for name in model.key}, row["_kind"], changed)
