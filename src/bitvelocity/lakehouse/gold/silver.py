"""What gold needs of silver: the schema of each entity, its latest rows, and what a commit changed.

`Silver` and `Changes` are the whole of it; the lake's own classes fit them, and so does a dict of Arrow tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from bitvelocity.changes import SYSTEM_FIELDS
from bitvelocity.contracts import EntitySpec, Type

SYSTEM_OF_MODELS = tuple((name, kind) for name, kind in SYSTEM_FIELDS if name not in ("_op", "_absent"))
"""System columns that a model may read beside the entity's own."""

ORDER = ("_lsn", "_ordinal")


class Changes(Protocol):
    """What one commit of silver changed in one entity: typed rows, in order of `(_lsn, _ordinal)`.

    `tables` have the entity's lake columns and `_op _lsn _ordinal ...`. Very large commits may leave `tables` empty
    and name parquet `files` with the same columns instead.
    """

    @property
    def tables(self) -> Sequence[pa.Table]: ...

    @property
    def files(self) -> Sequence[Path | str]: ...


class Silver(Protocol):
    """Silver as it stands at one position."""

    def position(self, entity: str) -> int:
        """Commit LSN of the last change of this entity, -1 when it never had any."""
        ...

    def latest(self, entity: str, columns: Sequence[str]) -> pa.Table | pa.RecordBatchReader:
        """The latest row of each key, deleted keys left out. Columns of the entity and system columns."""
        ...


def silver_schemas(specs: Iterable[EntitySpec]) -> dict[str, pa.Schema]:
    """What `silver.<entity>` looks like to a model, for every entity with a key."""
    return {spec.name: silver_schema(spec) for spec in specs if spec.key}


def silver_schema(spec: EntitySpec) -> pa.Schema:
    """The columns of an entity by their lake names and types, then the system columns."""
    own = [(spec.lake_names[column.name], lake_type(column.type)) for column in spec.columns]
    return pa.schema([*own, *SYSTEM_OF_MODELS])


_PLAIN: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bytes": pa.binary(),
    "date": pa.date32(),
    "timestamptz": pa.timestamp("us", "UTC"),
    "timestamp": pa.timestamp("us", "UTC"),
}


def lake_type(kind: Type) -> pa.DataType:
    """The Arrow type of a value in silver."""
    if kind.kind == "decimal" and kind.precision and kind.precision <= 38:
        return pa.decimal128(kind.precision, kind.scale or 0)
    if kind.kind == "array" and kind.item is not None:
        return pa.list_(lake_type(kind.item))
    return _PLAIN.get(kind.kind, pa.string())
