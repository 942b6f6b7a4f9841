"""Silver of an entity made anew from bronze, when its types, columns or key are others than when it was written."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_COLUMNS, Batch
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError

from .bronze import Bronze
from .delta import LocalTable, has_log
from .deltalog import APP, TableState
from .layers import connect
from .lease import Lease
from .names import columns_sql, identifier, scan
from .silver import SCRATCH, Silver
from .stored import key_property
from .typed import log_schema
from .watermark import publish, read_watermark

PIECE = 131_072
"""Rows that are typed at once."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made: rows of the log, and the position that bronze, and now silver, stands at."""

    entity: str
    rows: int
    position: int


def rebuild(root: Path, spec: EntitySpec, *, sync: bool = True) -> Rebuilt:
    """Type all of bronze again, put it in the place of silver's log and base, and let readers see it.

    The old rows stay as they are until the new ones are whole; killed at any point, it can be done again. Gold
    computes what it has anew at its next start. Takes the lake's lease: no writer may run.
    """
    root = Path(root).absolute()
    if not spec.key:
        raise LakeError(
            f"{spec.name} has no key, so it has no silver.", entity=spec.name, remedy="Its changes are in bronze."
        )
    lease = Lease.take(root)
    scratch = root / SCRATCH / f"rebuild {spec.name}"
    try:
        shutil.rmtree(scratch, ignore_errors=True)
        for model in (root / "gold").glob("*/_model.json"):
            model.unlink()  # what was computed from the old rows
        rebuilt = _rebuild(root, spec, scratch, sync=sync)
        _publish(root, spec, sync=sync)
    except (duckdb.Error, OSError) as error:
        raise LakeError(
            f"silver of {spec.name} cannot be made anew: {error}",
            entity=spec.name,
            safe="bronze is untouched, and silver is as it was or as it should be",
            remedy="see that the disk has room, then do it again",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        lease.release()
    return rebuilt


def _rebuild(root: Path, spec: EntitySpec, scratch: Path, *, sync: bool) -> Rebuilt:
    bronze = Bronze(root, spec, sync=sync).table
    position = bronze.position()
    log, base = (
        LocalTable.open(root / "silver" / name, _stored_schema(root / "silver" / name, spec), sync=sync)
        for name in (f"{spec.name}_changes", spec.name)
    )
    shapes = [_shape(table, spec) for table in (log, base)]
    for table, schema in zip((log, base), shapes, strict=True):
        LocalTable.open(scratch / "silver" / table.path.name, schema, sync=False)
    with connect(root / SCRATCH, threads=2) as reading, connect(root / SCRATCH, threads=2) as engine:
        made = Silver(scratch, spec, lambda: engine, sync=sync)
        rows = sum(made.stage(batch) for batch in _bronze_batches(reading, bronze, spec))
        made.commit(max(position, 0))
        made.layers.fold()
        for table, new, schema in zip((log, base), (made.layers.log, made.layers.base), shapes, strict=True):
            table.become(new, position, schema, key_property(spec))
    return Rebuilt(spec.name, rows, position)


def _stored_schema(path: Path, spec: EntitySpec) -> pa.Schema:
    return TableState.load(path, APP).schema if has_log(path) else log_schema(spec)


def _shape(table: LocalTable, spec: EntitySpec) -> pa.Schema:
    """The columns of the table in their order with the types of now; those that it has not at the end."""
    wanted = log_schema(spec)
    names = [*table.schema.names, *(name for name in wanted.names if name not in table.schema.names)]
    return pa.schema([wanted.field(name) if name in wanted.names else table.schema.field(name) for name in names])


def _bronze_batches(engine: duckdb.DuckDBPyConnection, bronze: LocalTable, spec: EntitySpec) -> Iterator[Batch]:
    """All of bronze in order of position, under the source's names."""
    there = [column.name for column in spec.columns if AFTER + spec.lake_names[column.name] in bronze.schema.names]
    images = [
        f"{identifier(image + spec.lake_names[name])} AS {identifier(image + name)}"
        for image in (AFTER, BEFORE)
        for name in there
    ]
    query = (
        f"SELECT {', '.join([columns_sql(SYSTEM_COLUMNS), *images])} "
        f"FROM ({scan(bronze.path, bronze.files(), bronze.schema)}) ORDER BY _lsn, _ordinal"
    )
    for piece in _pieces(engine.sql(query).to_arrow_reader(PIECE)):
        yield Batch(spec.qualified, tuple(there), piece)


def _pieces(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    for piece in reader:
        if piece.num_rows:
            yield pa.Table.from_batches([piece])


def _publish(root: Path, spec: EntitySpec, *, sync: bool) -> None:
    """Readers see the new versions, at the position that they saw before."""
    watermark = read_watermark(root)
    if watermark is None:
        return
    tables: Sequence[str] = (f"silver/{spec.name}_changes", f"silver/{spec.name}")
    versions = {name: TableState.load(root / name, APP).version for name in tables}
    publish(root, replace(watermark, tables={**watermark.tables, **versions}), sync=sync)
