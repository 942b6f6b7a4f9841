"""The whole life of one row: every change with its author, and where it stands in silver and gold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
from sqlglot import exp

from ..changes import Position
from ..contracts import EntitySpec, Type
from ..errors import QueryError
from ..lakehouse.gold import Model, Plan, plan_models
from .query import Reader

OPERATIONS = {"c": "INSERT", "u": "UPDATE", "d": "DELETE", "t": "TRUNCATE", "r": "SNAPSHOT"}
MOST_CHANGES = 1000
MOST_GOLD_ROWS = 20


@dataclass(frozen=True, slots=True)
class TracedChange:
    """One change: where, when, who, why, and the columns whose value it changed (old, new)."""

    position: str
    operation: str
    committed_at: datetime | None
    user: str | None
    correlation_id: str | None
    source: str | None
    xid: int
    changed: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class GoldStand:
    """Rows of a gold table that this row has part in, and through which input."""

    model: str
    through: str
    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """What `trace` found. `current` is None when the row is gone."""

    entity: str
    key: Mapping[str, Any]
    changes: tuple[TracedChange, ...]
    current: Mapping[str, Any] | None
    gold: tuple[GoldStand, ...]
    more: bool = False
    """There are more changes than these first ones."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def trace(
    reader: Reader, specs: Sequence[EntitySpec], models: Sequence[Model], entity: str, *key: str
) -> Trace:
    """Follow the row with this key; leading columns of a composite key are enough while they name one row."""
    spec = _find(specs, entity)
    reader.refresh()
    log = _rows(reader, spec, f"{spec.name}_changes", key, order=True)
    if not log.num_rows:
        raise QueryError(
            f"No change of {spec.name} has the key {', '.join(key)}.",
            entity=spec.name,
            remedy=f"Its key is ({', '.join(spec.lake_key)}): give its values in this order.",
        )
    rows, more = log.slice(0, MOST_CHANGES).to_pylist(), log.num_rows > MOST_CHANGES
    keys = {tuple(row[name] for name in spec.lake_key) for row in rows}
    if len(keys) > 1:
        raise QueryError(
            f"{len(keys)} rows of {spec.name} begin with this key.",
            entity=spec.name,
            remedy=f"Give all of ({', '.join(spec.lake_key)}).",
        )
    current = _rows(reader, spec, spec.name, key, order=False)
    return Trace(
        entity=spec.name,
        key=dict(zip(spec.lake_key, keys.pop(), strict=True)),
        changes=tuple(_changes(spec, rows)),
        current=current.to_pylist()[0] if current.num_rows else None,
        gold=tuple(_gold(reader, plan_models(models, specs), spec, current)),
        more=more,
    )


def _find(specs: Sequence[EntitySpec], entity: str) -> EntitySpec:
    for spec in specs:
        if entity in (spec.name, spec.table, spec.qualified):
            if not spec.key:
                raise QueryError(
                    f"{spec.name} has no key, so no row of it can be followed.",
                    entity=spec.name,
                    remedy=f'See all its changes: bitvelocity query "select * from bronze.{spec.name}"',
                )
            return spec
    raise QueryError(f"There is no entity {entity!r}.", remedy=f"There is: {', '.join(s.name for s in specs)}.")


def _rows(reader: Reader, spec: EntitySpec, view: str, key: Sequence[str], *, order: bool) -> pa.Table:
    if not 1 <= len(key) <= len(spec.lake_key):
        raise QueryError(
            f"{len(key)} values for a key of {len(spec.lake_key)}.",
            entity=spec.name,
            remedy=f"Give the values of ({', '.join(spec.lake_key)}), or the first of them.",
        )
    query = exp.select("*").from_(exp.table_(view, db="silver", quoted=True)).limit(MOST_CHANGES + 1)
    for name in spec.lake_key[: len(key)]:
        query = query.where(exp.EQ(this=exp.column(name, quoted=True), expression=exp.Placeholder()))
    if order:
        query = query.order_by("_lsn", "_ordinal", exp.column("_op", quoted=True).eq("d").desc())
    values = [_as_printed(spec.by_name[name].type, value) for name, value in zip(spec.key, key, strict=False)]
    try:
        rows: pa.Table = reader.connection.sql(query.sql("duckdb"), params=values).to_arrow_table()
    except duckdb.ConversionException as error:
        raise QueryError(
            str(error).split("\n", maxsplit=1)[0], entity=spec.name, remedy="Give the key as the table has it."
        ) from error
    return rows


def _as_printed(kind: Type, value: str) -> str:
    """A key as PostgreSQL prints it, where it takes other spellings for equal."""
    if kind.kind == "char":
        return value.ljust(kind.length or 1)
    return value.strip("{}").lower() if kind.kind == "uuid" else value


def _changes(spec: EntitySpec, rows: Iterable[Mapping[str, Any]]) -> Iterable[TracedChange]:
    columns = list(spec.lake_names.values())
    before: Mapping[str, Any] = {}
    for row in rows:
        after: Mapping[str, Any] = {} if row["_op"] == "d" else {name: row[name] for name in columns}
        differences = {
            name: (before.get(name), after.get(name)) for name in columns if before.get(name) != after.get(name)
        }
        yield TracedChange(
            position=str(Position(row["_lsn"], row["_ordinal"])),
            operation=OPERATIONS[row["_op"]],
            committed_at=row["_committed_at"],
            user=row["_operation_user"],
            correlation_id=row["_correlation_id"],
            source=row["_source"],
            xid=row["_xid"],
            changed=differences,
        )
        before = after


def _gold(
    reader: Reader, plans: Sequence[Plan], spec: EntitySpec, current: pa.Table
) -> Iterable[GoldStand]:
    """Models in order, each from the rows found in what it reads: the same key statements that keep it up to date."""
    found = {f"silver.{spec.name}": current}
    for plan in plans:
        for table in plan.model.inputs:
            rows = found.get(table)
            if rows is None or not rows.num_rows or plan.inputs[table].strategy == "full":
                continue
            stand = _stand(reader, plan, table, rows)
            found[plan.model.table] = stand
            yield GoldStand(plan.model.table, table, tuple(stand.to_pylist()))
            break


def _stand(reader: Reader, plan: Plan, table: str, rows: pa.Table) -> pa.Table:
    cursor = reader.connection.cursor()
    cursor.execute("set timezone = 'UTC'")
    cursor.register("_changed", rows)
    how = plan.inputs[table]
    if how.keys_sql:
        touched = cursor.sql(how.keys_sql).to_arrow_table()
    else:
        touched = rows.select(list(how.direct)).rename_columns([f"_k{i}" for i in range(len(how.direct))])
    cursor.register("_touched_keys", touched)
    gold = exp.select("g.*").from_(exp.alias_(exp.table_(plan.model.name, db="gold", quoted=True), "g", table=True))
    same = [
        exp.NullSafeEQ(this=exp.column(name, "g", quoted=True), expression=exp.column(f"_k{i}", "k", quoted=True))
        for i, name in enumerate(plan.model.key)
    ]
    query = gold.join(exp.alias_(exp.table_("_touched_keys"), "k", table=True), on=exp.and_(*same), join_type="semi")
    stand: pa.Table = cursor.sql(query.limit(MOST_GOLD_ROWS).sql("duckdb")).to_arrow_table()
    return stand
