"""What a lake has stored already, against what its entities say now.

A column that is stored as text stays text: it has every value as it was printed, so a lake of an earlier version goes
on as it is, until `rebuild` gives the column its type. Whatever else differs makes silver wrong, and is told here with
its reason: bronze has all that is needed to make it anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from bitvelocity.changes import AFTER
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.contracts.arrow import column_type

from .delta import has_log
from .deltalog import APP, TableState
from .typed import log_schema

KEY = "bitvelocity.key"
"""Property of a silver table: the key that its rows are told apart by, as JSON. Older tables have none."""


@dataclass(frozen=True, slots=True)
class Outdated:
    """Silver of an entity does not follow from bronze by what the entity says now."""

    entity: str
    reasons: tuple[str, ...]


def as_stored(root: Path, specs: Sequence[EntitySpec]) -> tuple[EntitySpec, ...]:
    """The entities with the columns that the lake keeps as text declared as text."""
    return tuple(_as_stored(root, spec) for spec in specs)


def in_stored_order(root: Path, specs: Iterable[EntitySpec]) -> tuple[EntitySpec, ...]:
    """The entities with their columns as the source sends them: those that bronze has in its order, then what is new."""
    return tuple(_in_stored_order(root, spec) for spec in specs)


def kept_as_text(root: Path, specs: Iterable[EntitySpec]) -> Iterator[tuple[str, str, pa.DataType]]:
    """Entity, lake column and type of what `rebuild` would give a type of its own."""
    for spec in specs:
        for column, stored in zip(spec.columns, _as_stored(root, spec).columns, strict=True):
            if stored is not column:
                yield spec.name, spec.lake_names[column.name], column_type(spec, column)


def outdated(root: Path, specs: Iterable[EntitySpec]) -> list[Outdated]:
    """The entities whose silver must be made anew from bronze before it is written to again."""
    found = ((spec.name, tuple(_reasons(root, spec))) for spec in specs if spec.key)
    return [Outdated(name, reasons) for name, reasons in found if reasons]


def key_property(spec: EntitySpec) -> dict[str, str]:
    """The property that a silver table of this entity has."""
    return {KEY: json.dumps(spec.lake_key)}


def _in_stored_order(root: Path, spec: EntitySpec) -> EntitySpec:
    state = _state(root / "bronze" / spec.name)
    if state is None:
        return spec
    places = {name: place for place, name in enumerate(state.schema.names)}
    names = spec.lake_names
    return replace(spec, columns=tuple(sorted(spec.columns, key=lambda one: places.get(AFTER + names[one.name], len(places)))))


def _as_stored(root: Path, spec: EntitySpec) -> EntitySpec:
    if not spec.key or all(pa.types.is_string(column_type(spec, column)) for column in spec.columns):
        return spec
    state = _state(root / "silver" / f"{spec.name}_changes")
    if state is None:
        return spec
    texts = {field.name for field in state.schema if pa.types.is_string(field.type)}
    columns = tuple(
        _text(column)
        if spec.lake_names[column.name] in texts and not pa.types.is_string(column_type(spec, column))
        else column
        for column in spec.columns
    )
    return spec if columns == spec.columns else replace(spec, columns=columns)


def _text(column: Column) -> Column:
    return replace(column, type=Type("other", native=column.type.native or str(column.type)))


def _reasons(root: Path, spec: EntitySpec) -> Iterator[str]:
    bronze = _state(root / "bronze" / spec.name)
    if bronze is None or bronze.position(APP) < 0:
        return
    log = _state(root / "silver" / f"{spec.name}_changes")
    base = _state(root / "silver" / spec.name)
    if log is None or base is None:
        yield "it has a key now, and had none"
        return
    key = (log.about.get("configuration") or {}).get(KEY)
    if key is not None and tuple(json.loads(key)) != spec.lake_key:
        yield f"its key was {', '.join(json.loads(key))} and is {', '.join(spec.lake_key)}"
    wanted = log_schema(_as_stored(root, spec))
    for table in (log, base):
        yield from _differences(table.schema, wanted, bronze.schema)


def _differences(stored: pa.Schema, wanted: pa.Schema, bronze: pa.Schema) -> Iterator[str]:
    for field in wanted:
        if field.name not in stored.names:
            if AFTER + field.name in bronze.names:
                yield f"bronze has the column {field.name} since before the entity had it"
        elif stored.field(field.name).type != field.type:
            yield f"the column {field.name} was {stored.field(field.name).type} and is {field.type}"


def _state(path: Path) -> TableState | None:
    return TableState.load(path, APP) if has_log(path) else None
