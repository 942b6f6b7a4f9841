"""The state behind gold: silver and gold as the last commit left them, and what a commit changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import ModelError

from .binding import cast_select
from .block import Schemas
from .diff import Difference, compare
from .engine import Engine
from .latest import last_changes
from .model import Model
from .planner import InputPlan, Plan, columns_needed, plan_model, schemas_for
from .rows import Rows
from .silver import Changes, silver_schemas
from .small import SmallRows

SMALL = 4_000
"""Rows up to which a table that nobody queries is kept as it is."""


class State:
    """Copies of what the models read, and of what they gave.

    Only the columns that a model reads are kept. Nothing is taken back: after an error a state is thrown
    away.
    """

    def __init__(
        self,
        specs: Sequence[EntitySpec],
        models: Sequence[Model],
        *,
        memory_limit: str = "1GB",
        spill: Path | None = None,
    ) -> None:
        self.engine = Engine(memory_limit=memory_limit, spill=spill)
        silver = silver_schemas(specs)
        schemas = schemas_for(models, silver)
        self.plans = {model.name: plan_model(model, schemas) for model in models}
        for schema in ("silver", "gold", "silver_rows", "gold_rows"):
            self.engine.execute(f"CREATE SCHEMA {schema}")
        read = _columns_read(models, schemas)
        self.silver = {
            spec.name: self._rows(
                f"silver.{spec.name}", _narrow(silver[spec.name], read, spec), spec.lake_key
            )
            for spec in specs
            if f"silver.{spec.name}" in read
        }
        self._fresh_sql = {
            (plan.model.name, null_safe): cast_select(plan.model, body)
            for plan in self.plans.values()
            for null_safe, body in ((False, plan.restricted_sql), (True, plan.null_safe_sql))
        }
        self.gold: dict[str, Rows | SmallRows] = {
            model.name: self._rows(model.table, model.schema, model.key) for model in models
        }
        self._unread = {model.name for model in models if model.table not in read}

    def close(self) -> None:
        """Give the memory back."""
        self.engine.close()

    def tidy(self) -> None:
        """Keep the tables in good order, each in the form that fits its size; between commits."""
        for name in self._unread:
            self.gold[name] = self._fitted(self.plans[name].model, self.gold[name])
        for rows in (*self.silver.values(), *self.gold.values()):
            rows.tidy()

    def count(self, table: str) -> int:
        """How many rows `silver.<entity>` or `gold.<model>` has."""
        schema, name = table.split(".")
        return (self.silver if schema == "silver" else self.gold)[name].count

    def change(self, entity: str, changes: Sequence[Changes]) -> Difference:
        """Bring an entity forward by what commits changed in it; gives what really differs."""
        rows = self.silver[entity]
        last = last_changes(changes, rows.schema, rows.key)
        before = rows.take_all() if last.emptied else rows.take(last.keys)
        rows.add(last.alive)
        return compare(before, last.alive, rows.key)

    def touched(self, plan: InputPlan, changed: pa.Table) -> pa.Table:
        """Keys `_k0, _k1, ...` of the gold rows in which changed rows of one input have part."""
        if plan.direct:
            keys = changed.select(plan.direct)
            return keys.rename_columns([f"_k{number}" for number in range(len(plan.direct))])
        self.engine.put(plan.changed, changed)
        return self.engine.gather(plan.changed, plan.state_sql)

    def recompute(self, plan: Plan, keys: pa.Table) -> Difference:
        """Compute a model again for these keys; gives what really differs."""
        rows = self.gold[plan.model.name]
        after = self._fresh(plan, keys)
        before = rows.take(keys)
        rows.add(after)
        return compare(before, after, rows.key)

    def recompute_all(self, plan: Plan) -> Difference:
        """Compute a whole model again; gives what really differs."""
        rows = self.gold[plan.model.name]
        before = rows.take_all()
        self.fill(plan)
        return compare(before, rows.all(), rows.key)

    def fill(self, plan: Plan) -> None:
        """Compute a model whose rows are not there yet."""
        rows = self.gold[plan.model.name]
        try:
            rows.fill_from(cast_select(plan.model))
        except duckdb.Error as error:
            raise _failed(plan.model, error) from error
        if not plan.one_row_per_key and rows.keys() < rows.count:
            raise _twins(plan.model)

    def _rows(self, table: str, schema: pa.Schema, key: Sequence[str]) -> Rows:
        computed = [item for plan in self.plans.values() for item in plan.computed if item.table == table]
        return Rows(self.engine, table, schema, key=key, computed=computed)

    def _fitted(self, model: Model, rows: Rows | SmallRows) -> Rows | SmallRows:
        """Rows that no model reads, outside of the engine while they are few."""
        if isinstance(rows, Rows) and rows.count <= SMALL:
            small = SmallRows(self.engine, model.schema, model.key)
            small.add(rows.all())
            rows.drop()
            return small
        if isinstance(rows, SmallRows) and rows.count > 2 * SMALL:
            grown = self._rows(model.table, model.schema, model.key)
            grown.fill(rows.all())
            return grown
        return rows

    def _fresh(self, plan: Plan, keys: pa.Table) -> pa.Table:
        null_safe = any(column.null_count for column in keys.columns)
        self.engine.put(plan.touched, keys)
        statement = f"{plan.touched}, null-safe" if null_safe else plan.touched
        sql = self._fresh_sql[plan.model.name, null_safe]
        try:
            fresh = self.engine.gather(statement, sql).cast(plan.model.schema)
        except duckdb.Error as error:
            raise _failed(plan.model, error) from error
        if not plan.one_row_per_key and _has_twins(fresh, plan.model.key):
            raise _twins(plan.model)
        return fresh


def _columns_read(models: Sequence[Model], schemas: Schemas) -> dict[str, set[str]]:
    read: dict[str, set[str]] = {}
    for model in models:
        for table, columns in columns_needed(model, schemas).items():
            read.setdefault(table, set()).update(columns)
    return read


def _narrow(schema: pa.Schema, read: Mapping[str, set[str]], spec: EntitySpec) -> pa.Schema:
    kept = read[f"silver.{spec.name}"] | set(spec.lake_key)
    return pa.schema([field for field in schema if field.name in kept])


def _has_twins(rows: pa.Table, key: Sequence[str]) -> bool:
    names = list(key)
    return rows.select(names).group_by(names).aggregate([]).num_rows < rows.num_rows


def _failed(model: Model, error: duckdb.Error) -> ModelError:
    return model.error(
        f"the model cannot be computed: {str(error).splitlines()[0]}",
        model.lines["sql"],
        "correct the SQL so that it takes such values (nullif for a divisor, try_cast for a text)",
    )


def _twins(model: Model) -> ModelError:
    return model.error(
        f"the SELECT gives more than one row for one {', '.join(model.key)}",
        model.lines["key"],
        "name a key that tells the rows apart, or group by it",
    )
