"""What gold needs of silver: the schema of each entity, its latest rows, and what a commit changed.

`Silver` and `Changes` are the whole of it; the lake's own classes fit them, and so does a dict of Arrow
tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from bitvelocity.changes import SYSTEM_FIELDS
from bitvelocity.contracts import EntitySpec
from bitvelocity.contracts.arrow import silver_schema

SYSTEM_OF_MODELS = tuple((name, kind) for name, kind in SYSTEM_FIELDS if name not in ("_op", "_absent"))
"""System columns that a model may read beside the entity's own."""


class Changes(Protocol):
    """What one commit of silver changed in one entity: typed rows, in order of `(_lsn, _ordinal)`.

    `tables` have the entity's lake columns and `_op _lsn _ordinal ...`. Very large commits may leave `tables`
    empty and name parquet `files` with the same columns instead.
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

    def latest(self, entity: str, columns: Sequence[str]) -> pa.Table | pa.RecordBatchReader | None:
        """The latest row of each living key; None when there never was one. Entity and system columns."""
        ...


def silver_schemas(specs: Iterable[EntitySpec]) -> dict[str, pa.Schema]:
    """What `silver.<entity>` looks like to a model: its columns, then the system's. Entities with a key only."""
    return {
        spec.name: pa.schema(
            [*((field.name, field.type) for field in silver_schema(spec)), *SYSTEM_OF_MODELS]
        )
        for spec in specs
        if spec.key
    }
