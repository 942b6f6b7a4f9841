"""How a model follows its inputs: `affected` keys only, or in `full`, and why.

The plan needs no before-image of gold. For rows of one input that changed (their old and new form side by
side) one statement finds the keys of the gold rows that they have part in; the model is then computed again
for those keys only. `rewrite.py` says what makes this exact.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from sqlglot import exp

from bitvelocity.contracts import EntitySpec
from bitvelocity.lakehouse.names import sql_type

from .block import DIALECT, Block, NotOneBlockError, Schemas, Source, aliases_in, columns_read, read_block
from .model import Model
from .rewrite import hangs_on, keys_sql, restricted_sql
from .silver import silver_schemas

Strategy = Literal["affected", "full"]

CHANGED = "_changed"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPlan:
    """What a change of one input means for a model."""

    table: str
    strategy: Strategy
    reason: str
    columns: tuple[str, ...]
    """Columns that the model reads: a change of others does not touch it."""
    direct: tuple[str, ...] = ()
    """The input's columns that are the model's key as they stand; no statement is needed then."""
    keys_sql: str = ""
    """Gives the touched keys `_k0, _k1, ...` from changed rows in `_changed`; empty when `direct` does."""
    changed: str = ""
    """Name by which `state_sql` reads the changed rows."""
    state_sql: str = ""
    """`keys_sql` over the tables of the state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """A key that is computed from one input, kept beside its rows so that looking rows up by it is cheap."""

    table: str
    number: int
    """Which column of the key, from 0."""
    name: str
    sql: str
    """Over a row named `_row`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a model is kept up to date."""

    model: Model
    strategy: Strategy
    reason: str
    inputs: Mapping[str, InputPlan]
    computed: tuple[Computed, ...] = ()
    touched: str = ""
    """Name under which the restricted statements read the keys to compute again: columns `_k0`, `_k1`, ..."""
    restricted_sql: str = ""
    """The model for the touched keys only; its columns are not cast yet."""
    null_safe_sql: str = ""
    """The same for keys that may be NULL: slower, so it is taken only when one is."""
    one_row_per_key: bool = False
    """The SQL cannot give two rows of one key: it groups by exactly the key."""


def plan_model(model: Model, schemas: Schemas) -> Plan:
    """The plan of a model. `schemas` names the types of everything it may read."""
    try:
        block = read_block(model, schemas)
    except NotOneBlockError as error:
        return _full(model, schemas, str(error))
    computed = _computed(block)
    stand_ins = {item.number: item.name for item in computed}
    touched = f"touched {model.name}"
    what = "groups" if block.grouped else "rows"
    return Plan(
        model=model,
        strategy="affected",
        reason=f"only touched {what} are computed again, by {', '.join(model.key)}",
        inputs={table: _plan_input(block, table) for table in model.inputs},
        computed=computed,
        touched=touched,
        restricted_sql=restricted_sql(block, touched, stand_ins, null_safe=False),
        null_safe_sql=restricted_sql(block, touched, stand_ins, null_safe=True),
        one_row_per_key=block.grouped and len(block.select.args["group"].expressions) == len(block.keys),
    )


def plan_models(models: Sequence[Model], specs: Iterable[EntitySpec]) -> tuple[Plan, ...]:
    """The plans of models in their order, as `Gold` follows them."""
    schemas = schemas_for(models, silver_schemas(specs))
    return tuple(plan_model(model, schemas) for model in models)


def schemas_for(models: Sequence[Model], silver: Mapping[str, pa.Schema]) -> Schemas:
    """DuckDB's types of everything that models may read."""
    return {
        "silver": {
            name: {field.name: sql_type(field.type) for field in schema} for name, schema in silver.items()
        },
        "gold": {
            model.name: {column.name: column.type.duckdb for column in model.columns} for model in models
        },
    }


def columns_needed(model: Model, schemas: Schemas) -> dict[str, tuple[str, ...]]:
    """Input -> columns that the model reads of it; all of them where that cannot be told."""
    read = columns_read(model, schemas)
    needed = {}
    for table in model.inputs:
        schema, name = table.split(".")
        have = {column.lower(): column for column in schemas[schema][name]}
        chosen = read[table] if read is not None else have
        needed[table] = tuple(sorted(have[column.lower()] for column in chosen))
    return needed


def _full(model: Model, schemas: Schemas, reason: str) -> Plan:
    inputs = {
        table: InputPlan(table=table, strategy="full", reason=reason, columns=columns)
        for table, columns in columns_needed(model, schemas).items()
    }
    return Plan(model=model, strategy="full", reason=f"computed in full: {reason}", inputs=inputs)


def _plan_input(block: Block, table: str) -> InputPlan:
    columns = block.columns_of(table)
    places = block.reading(table)
    if len(places) != 1:
        reason = f"it reads {table} {len(places)} times, so one change may meet another"
        return InputPlan(table=table, strategy="full", reason=reason, columns=columns)
    place = places[0]
    direct = _direct(block, place)
    changed = f"changed {table} for {block.model.name}"
    return InputPlan(
        table=table,
        strategy="affected",
        reason=_reason(block, place, direct=bool(direct)),
        columns=columns,
        direct=direct,
        keys_sql="" if direct else keys_sql(block, place, CHANGED),
        changed=changed,
        state_sql="" if direct else keys_sql(block, place, changed, rows=True),
    )


def _direct(block: Block, place: Source) -> tuple[str, ...]:
    own = [key.name for key in block.keys if isinstance(key, exp.Column) and key.table == place.alias]
    return tuple(own) if len(own) == len(block.keys) and not place.optional else ()


def _reason(block: Block, place: Source, *, direct: bool) -> str:
    if direct:
        return f"the key is in {place.table} as it stands"
    if hangs_on(block, place):
        return f"keys are found with and without a match in {place.table}"
    others = sorted({block.by_alias[alias].table for alias in block.key_aliases - {place.alias}})
    return (
        f"keys are found through {', '.join(others)}" if others else f"keys are computed from {place.table}"
    )


def _computed(block: Block) -> tuple[Computed, ...]:
    """Keys that are expressions over one table which is always there."""
    found = []
    for number, key in enumerate(block.keys):
        aliases = aliases_in(key)
        place = block.by_alias[next(iter(aliases))] if len(aliases) == 1 else None
        if (
            place is None
            or place.optional
            or isinstance(key, exp.Column)
            or len(block.reading(place.table)) > 1
        ):
            continue
        row = key.copy()
        for column in row.find_all(exp.Column):
            column.set("table", exp.to_identifier("_row", quoted=True))
        name = f"_key {block.model.name} {number}"
        found.append(
            Computed(table=place.table, number=number, name=name, sql=row.sql(DIALECT, comments=False))
        )
    return tuple(found)
