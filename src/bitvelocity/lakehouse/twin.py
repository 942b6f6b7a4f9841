"""Silver as the twin of the source: sums of its rows by buckets of keys, and the differences row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_FIELDS, Batch, Sums
from bitvelocity.contracts import EntitySpec
from bitvelocity.contracts.arrow import silver_schema
from bitvelocity.errors import LakeError

from .bucketing import bucket_sql, buckets_for, hash_sql, in_buckets, text_sql, trimmed_sql
from .columns import frame, nulls, rows_of
from .layers import Layers
from .names import columns_sql, identifier
from .typed import UNFIT, typed_rows

GONE_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Held:
    """An entity of the lake and its layers."""

    spec: EntitySpec
    layers: Layers


class SilverTwin:
    """A `Twin` over the silver of a lake, as committed. Needs an engine of its own, and nobody commits meanwhile."""

    def __init__(self, held: Mapping[str, Held], engine: duckdb.DuckDBPyConnection) -> None:
        self._held = dict(held)
        self._engine = engine
        self._open: tuple[str, Sums] | None = None
        self._sums: dict[str, Sums] = {}

    def sums(self, relation: str, columns: Sequence[str]) -> Sums | None:
        """By printed values, which are the source's wherever that is easy; where not, they differ, and values decide."""
        held = self._held.get(relation)
        if held is None or not set(held.spec.key) <= set(columns):
            return None
        compared = tuple(column.name for column in held.spec.columns if column.name in columns)
        rows = sum(file.rows for table in (held.layers.base, held.layers.log) for file in table.files())
        shape = Sums(held.spec.key, compared, buckets_for(rows), {})
        digest = hash_sql(_text(held.spec, compared))
        query = f"SELECT {_bucket(held.spec, shape)} AS bucket, count(*), sum({digest}) FROM ({_latest(held)}) GROUP BY 1"
        found = {bucket: (count, int(total)) for bucket, count, total in self._engine.execute(query).fetchall()}
        self._sums[relation] = replace(shape, of=found)
        return self._sums[relation]

    def open(self, relation: str, buckets: Sequence[int]) -> None:
        """Their rows are copied out, so that each batch costs its own rows."""
        held, sums = self._held[relation], self._sums[relation]
        self._open = (relation, sums)
        picked = ""
        if len(buckets) < sums.buckets:
            picked = " WHERE " + in_buckets(_bucket(held.spec, sums), buckets)
        key = columns_sql(held.spec.lake_key)
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE ours AS SELECT * FROM ({_latest(held)}){picked}")
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE seen AS SELECT {key} FROM ours LIMIT 0")

    def changed(self, batch: Batch) -> Batch:
        """A row with a value that its type cannot hold, or that nobody knew, counts as changed."""
        held, sums = self._opened
        typed = frame(typed_rows(batch, held.spec, silver_schema(held.spec)).rows).with_row_index("_row")
        key = columns_sql(held.spec.lake_key)
        own = [held.spec.lake_names[name] for name in sums.columns if name not in sums.key]
        differs = [f"a.{identifier(name)} IS DISTINCT FROM b.{identifier(name)}" for name in own]
        doubtful = [f"b.{UNFIT} IS NOT NULL", "b._absent IS NOT NULL", f"a.{UNFIT} IS NOT NULL"]
        self._engine.register("asked", rows_of(typed))
        try:
            self._engine.execute(f"INSERT INTO seen SELECT {key} FROM asked")
            found: pa.Table = self._engine.sql(
                f"SELECT a._row, CASE WHEN b._here THEN 'u' ELSE 'c' END AS _op FROM asked a "
                f"LEFT JOIN (SELECT *, true AS _here FROM ours) b USING ({key}) "
                f"WHERE {' OR '.join(['b._here IS NULL', *doubtful, *differs])} ORDER BY a._row"
            ).to_arrow_table()
        finally:
            self._engine.unregister("asked")
        picked = frame(found)
        rows = frame(batch.data).select(pl.all().gather(picked["_row"])).with_columns(picked["_op"].alias("_op"))
        return replace(batch, data=rows_of(rows))

    def gone(self) -> Iterator[Batch]:
        """Deletes, which tell the key as capture would."""
        held, _ = self._opened
        spec, key = held.spec, columns_sql(held.spec.lake_key)
        printed = ", ".join(f"{_printed(spec, name)} AS {identifier(BEFORE + name)}" for name in spec.key)
        query = f"SELECT {printed} FROM ours ANTI JOIN seen USING ({key})"
        for keys in self._engine.sql(query).to_arrow_reader(GONE_ROWS):
            if keys.num_rows:
                yield _deletes(spec, pa.Table.from_batches([keys]))

    def close(self) -> None:
        """Let the engine go."""
        self._engine.close()

    @property
    def _opened(self) -> tuple[Held, Sums]:
        if self._open is None:
            raise LakeError("No table is open for comparison.", remedy="Call open() first.")
        return self._held[self._open[0]], self._open[1]


def _latest(held: Held) -> str:
    return held.layers.latest_sql([*held.spec.lake_names.values(), UNFIT, "_absent"])


def _bucket(spec: EntitySpec, sums: Sums) -> str:
    return bucket_sql(_text(spec, sums.key), sums.buckets)


def _text(spec: EntitySpec, names: Sequence[str]) -> str:
    return text_sql(_hashed(spec, name) for name in names)


def _hashed(spec: EntitySpec, name: str) -> str:
    """The printed value; a decimal without the zeros at its end."""
    printed = _printed(spec, name)
    if spec.by_name[name].type.kind == "decimal":
        return trimmed_sql(printed)
    return printed


def _printed(spec: EntitySpec, name: str) -> str:
    """A value of silver as PostgreSQL prints it, where DuckDB prints it alike or nearly so."""
    lake = identifier(spec.lake_names[name])
    kind = silver_schema(spec).field(spec.lake_names[name]).type
    text = f"CAST({lake} AS VARCHAR)"
    if pa.types.is_string(kind):
        return lake
    if pa.types.is_boolean(kind):
        return f"CASE WHEN {lake} THEN 't' WHEN NOT {lake} THEN 'f' END"
    if pa.types.is_binary(kind):
        return f"'\\x' || lower(hex({lake}))"
    if pa.types.is_floating(kind):
        return rf"regexp_replace({text}, '\.0$', '')"
    if spec.by_name[name].type.kind == "timestamp":
        return f"replace({text}, '+00', '')"
    return text


def _deletes(spec: EntitySpec, keys: pa.Table) -> Batch:
    """Deletes as batches; the position is for whoever places them."""
    count = keys.num_rows
    given: dict[str, Any] = {"_op": pa.array(["d"] * count), "_lsn": pa.array([0] * count), "_ordinal": pa.array([0] * count, pa.int32())}
    given["_xid"] = pa.array([0] * count)
    columns: dict[str, Any] = {name: given[name] if name in given else nulls(count, kind) for name, kind in SYSTEM_FIELDS}
    void = nulls(count, pa.string_view())
    columns |= {AFTER + name: void for name in spec.by_name}
    columns |= {BEFORE + name: keys[BEFORE + name] if name in spec.key else void for name in spec.by_name}
    return Batch(spec.qualified, tuple(spec.by_name), pa.table(columns))
