"""A batch of printed rows as rows of the silver log: typed, keyed, in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_COLUMNS, Batch
from bitvelocity.contracts import EntitySpec
from bitvelocity.contracts.arrow import silver_schema

from .casts import cast
from .columns import SYSTEM, Mask, Values, arrow, frame, nulls, rows_of, series

UNFIT = "_unfit"


def log_schema(spec: EntitySpec) -> pa.Schema:
    """The silver log of an entity: system columns, typed columns, and `_unfit`.

    `_unfit` is a JSON object: the columns whose printed value their type cannot hold, each with that value; they are
    NULL in that row. (Lakes of before November 2026 have an array of the names there.)
    `_absent` names the columns whose value nobody knows: the source did not send it, and no earlier row had it.
    """
    return pa.schema([*SYSTEM, *silver_schema(spec), pa.field(UNFIT, pa.string())])


@dataclass(frozen=True, slots=True)
class TypedRows:
    """Rows of the log before tombstones, and what the keys were before each change (where they were sent)."""

    rows: pa.Table
    moved: Mask | None
    """Rows whose change gave the row another key; None when there is none."""
    previous: pa.Table
    """The key before the change, typed; equal to the key where it did not change."""


def typed_rows(batch: Batch, spec: EntitySpec, target: pa.Schema) -> TypedRows:
    """Cast a batch column by column to `target`. A delete keeps its key, and nothing else."""
    data = batch.data
    columns: dict[str, Values] = {name: data[name] for name in SYSTEM_COLUMNS}
    unfit: dict[str, tuple[Mask, Values]] = {}
    for column in spec.columns:
        lake = spec.lake_names[column.name]
        printed = key_image(data, column.name) if column.name in spec.key else _image(data, AFTER, column.name)
        columns[lake], wrong = cast(printed, column.type, target.field(lake).type)
        if wrong is not None:
            unfit[lake] = wrong, printed
    columns[UNFIT] = _unfit(unfit, data.num_rows)
    rows = pa.Table.from_arrays(list(columns.values()), names=list(columns))
    moved = _moved(data, spec)
    return TypedRows(rows, moved, _previous(data, spec, target) if moved is not None else rows.select(spec.lake_key))


def with_tombstones(typed: TypedRows) -> pa.Table:
    """The rows, each change of key preceded by a `d` of the old key at the same position."""
    if typed.moved is None:
        return typed.rows
    rows = frame(typed.rows).with_row_index("_row")
    moved = pl.Series(typed.moved)
    buried = rows.filter(moved).with_columns(
        pl.lit("d").alias("_op"), pl.lit(None, pl.String).alias("_absent"), pl.lit(None, pl.String).alias(UNFIT)
    )
    own = [name for name in typed.rows.column_names if not name.startswith("_")]
    buried = buried.with_columns(pl.lit(None, buried.schema[name]).alias(name) for name in own)
    buried = buried.with_columns(frame(typed.previous).filter(moved).get_columns())
    ordered = pl.concat([buried, rows]).sort("_row", maintain_order=True).drop("_row")
    return rows_of(ordered)


def named(masks: Mapping[str, Mask], rows: int) -> Values:
    """A JSON array of the columns that are marked in each row, NULL where none is."""
    if not masks:
        return nulls(rows, pa.string())
    marks = pl.DataFrame(dict(masks))
    parts = [
        pl.when(pl.col(name)).then(pl.lit(json.dumps(name, ensure_ascii=False))).otherwise(pl.lit(None, pl.String))
        for name in masks
    ]
    text = pl.lit("[") + pl.concat_str(parts, separator=",", ignore_nulls=True) + pl.lit("]")
    return arrow(marks.select(pl.when(pl.any_horizontal(pl.all())).then(text).alias("named")).to_series())


def _unfit(unfit: Mapping[str, tuple[Mask, Values]], rows: int) -> Values:
    """A JSON object of the marked columns of each row with their printed values, NULL where none is marked."""
    if not unfit:
        return nulls(rows, pa.string())
    told = np.logical_or.reduce([mask for mask, _ in unfit.values()])
    which = np.flatnonzero(told)
    printed = pl.DataFrame({name: series(values).gather(which) for name, (_, values) in unfit.items()})
    parts = [
        pl.when(pl.Series(mask[which])).then(pl.struct(name).struct.json_encode().str.slice(1).str.head(-1))
        for name, (mask, _) in unfit.items()
    ]
    text = pl.lit("{") + pl.concat_str(parts, separator=",", ignore_nulls=True) + pl.lit("}")
    places = np.cumsum(told) - 1
    return arrow(printed.select(text.alias(UNFIT)).to_series().gather(pl.Series(places).set(pl.Series(~told), None)))


def _image(data: pa.Table, image: str, name: str) -> Values:
    """A printed column; a column that this version of the source table has not is NULL."""
    at = data.schema.get_field_index(image + name)
    return data.column(at) if at >= 0 else nulls(data.num_rows, pa.string())


def key_image(data: pa.Table, name: str) -> Values:
    """A printed column of the key: of a delete the image before it."""
    after = _image(data, AFTER, name)
    if after.null_count == 0:
        return after
    values = series(after)
    return arrow(values.zip_with(values.is_not_null(), series(_image(data, BEFORE, name))))


def _moved(data: pa.Table, spec: EntitySpec) -> Mask | None:
    moved = np.zeros(data.num_rows, bool)
    for name in spec.key:
        before = _image(data, BEFORE, name)
        if before.null_count < len(before):
            differs = series(_image(data, AFTER, name)) != series(before)
            moved |= differs.fill_null(False).to_numpy()
    if not moved.any():
        return None
    moved &= (series(data["_op"]) == "u").to_numpy()
    return moved if moved.any() else None


def _previous(data: pa.Table, spec: EntitySpec, target: pa.Schema) -> pa.Table:
    def typed() -> Iterator[Values]:
        for name in spec.key:
            before = series(_image(data, BEFORE, name))
            printed = before.zip_with(before.is_not_null(), series(key_image(data, name)))
            yield cast(arrow(printed), spec.by_name[name].type, target.field(spec.lake_names[name]).type)[0]

    return pa.Table.from_arrays(list(typed()), names=list(spec.lake_key))
