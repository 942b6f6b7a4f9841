"""Bronze of a table without a key as the twin of the source: rows that are equal are told apart by nothing, but counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import duckdb
import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_FIELDS, Batch, Sums
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError

from .bronze import widened
from .bucketing import bucket_sql, buckets_for, hash_sql, in_buckets, text_sql, trimmed_sql
from .columns import nulls, viewed
from .delta import LocalTable
from .names import identifier, scan

TOLD_ROWS = 100_000


@dataclass(frozen=True, slots=True)
class Told:
    """An entity without a key, and its bronze."""

    spec: EntitySpec
    bronze: LocalTable


class BronzeTwin:
    """A `Twin` over the bronze of entities without a key, as committed. Needs an engine of its own.

    What bronze has told of a row's image: come (`c`, `r`, the new image of `u`) less gone (`d`, the old image of `u`), since
    the table was last emptied. An image can only go if it came: where an ALTER filled a column between the two, or the source
    did not send old images, a row goes that never came so, and counts for nothing.
    """

    def __init__(self, told: Mapping[str, Told], engine: duckdb.DuckDBPyConnection) -> None:
        self._told = dict(told)
        self._engine = engine
        self._open: tuple[str, tuple[str, ...]] | None = None
        self._sums: dict[str, Sums] = {}

    def sums(self, relation: str, columns: Sequence[str]) -> Sums | None:
        """By whole rows, as printed."""
        told = self._told.get(relation)
        files = told.bronze.files() if told else ()
        if told is None or not files:
            return None
        names = tuple(columns)
        shape = Sums(names, names, buckets_for(sum(file.rows for file in files)), {})
        text = _text(told.spec, names)
        query = (
            f"SELECT {bucket_sql(text, shape.buckets)} AS bucket, sum(n) AS rows, sum(n * {hash_sql(text)}) AS total "
            f"FROM ({_images(told, names)}) GROUP BY 1 HAVING rows <> 0 OR total <> 0"
        )
        found = {bucket: (int(rows), int(total)) for bucket, rows, total in self._engine.execute(query).fetchall()}
        self._sums[relation] = replace(shape, of=found)
        return self._sums[relation]

    def __contains__(self, relation: str) -> bool:
        return relation in self._told

    def open(self, relation: str, buckets: Sequence[int]) -> None:
        """Their images are counted, each by the order of what was told of it."""
        told, sums = self._told[relation], self._sums[relation]
        self._open = (relation, sums.columns)
        every = ", ".join(_numbered(sums.columns))
        picked = ""
        if len(buckets) < sums.buckets:
            picked = " WHERE " + in_buckets(bucket_sql(_text(told.spec, sums.columns), sums.buckets), buckets)
        self._engine.execute(
            f"CREATE OR REPLACE TEMP TABLE ours AS SELECT {every}, (sum(n) - least(0, min(stand)))::BIGINT AS n FROM ("
            f"SELECT *, sum(n) OVER (PARTITION BY {every} ORDER BY _lsn, _ordinal, n ROWS UNBOUNDED PRECEDING) AS stand "
            f"FROM ({_images(told, sums.columns)}){picked}) GROUP BY {every}"
        )
        self._engine.execute(f"CREATE OR REPLACE TEMP TABLE theirs AS SELECT {every} FROM ours LIMIT 0")

    def changed(self, batch: Batch) -> Batch:
        """None yet: how often a row is there is known when all have been seen."""
        _, columns = self._opened
        self._engine.register("asked", batch.data.select([AFTER + name for name in columns]))
        try:
            self._engine.execute("INSERT INTO theirs SELECT * FROM asked")
        finally:
            self._engine.unregister("asked")
        return replace(batch, data=batch.data.slice(0, 0))

    def gone(self) -> Iterator[Batch]:
        """Rows that are held too often, as deletes with their whole image; then inserts of those that are missing."""
        relation, columns = self._opened
        every = _numbered(columns)
        images = [
            f"CASE WHEN n {sign} 0 THEN {one} END AS {identifier(image + name)}"
            for image, sign in ((AFTER, "<"), (BEFORE, ">"))
            for one, name in zip(every, columns, strict=True)
        ]
        query = (
            f"SELECT CASE WHEN n > 0 THEN 'd' ELSE 'c' END AS _op, {', '.join(images)} FROM ("
            f"SELECT *, unnest(range(abs(n)::BIGINT)) FROM (SELECT {', '.join(every)}, sum(n) AS n FROM ("
            f"SELECT * FROM ours UNION ALL SELECT *, -1 FROM theirs) GROUP BY ALL HAVING sum(n) <> 0)) ORDER BY _op DESC"
        )
        for rows in self._engine.sql(query).to_arrow_reader(TOLD_ROWS):
            if rows.num_rows:
                yield _batch(relation, columns, pa.Table.from_batches([rows]))

    def close(self) -> None:
        """Let the engine go."""
        self._engine.close()

    @property
    def _opened(self) -> tuple[str, tuple[str, ...]]:
        if self._open is None:
            raise LakeError("No table is open for comparison.", remedy="Call open() first.")
        return self._open


def _images(told: Told, columns: Sequence[str]) -> str:
    """All images that came (n = 1) and went (n = -1) since the table was last emptied, by position."""
    rows = f"({scan(told.bronze.path, told.bronze.files(), told.bronze.schema)})"
    emptied = f"(SELECT max((_lsn, _ordinal)) FROM {rows} WHERE _op = 't')"
    since = f"FROM {rows} WHERE coalesce((_lsn, _ordinal) > {emptied}, true)"
    came = f"SELECT _lsn, _ordinal, 1 AS n, {_image(told, AFTER, columns)} {since} AND _op IN ('c', 'u', 'r')"
    went = f"SELECT _lsn, _ordinal, -1 AS n, {_image(told, BEFORE, columns)} {since} AND _op IN ('u', 'd')"
    return f"{came} UNION ALL {went}"


def _image(told: Told, image: str, columns: Sequence[str]) -> str:
    """The columns under their numbers; NULL for one that came after all that bronze has."""
    lake, there = widened(told.spec, columns).lake_names, told.bronze.schema.names
    return ", ".join(
        f"{identifier(image + lake[name]) if image + lake[name] in there else 'NULL::VARCHAR'} AS {number}"
        for number, name in zip(_numbered(columns), columns, strict=True)
    )


def _numbered(columns: Sequence[str]) -> list[str]:
    return [f"c{number}" for number in range(len(columns))]


def _text(spec: EntitySpec, columns: Sequence[str]) -> str:
    decimals = {column.name for column in spec.columns if column.type.kind == "decimal"}
    numbered = zip(_numbered(columns), columns, strict=True)
    return text_sql(trimmed_sql(number) if name in decimals else number for number, name in numbered)


def _batch(relation: str, columns: tuple[str, ...], told: pa.Table) -> Batch:
    """As a batch; the position is for whoever places it."""
    count = told.num_rows
    given: dict[str, Any] = {
        "_op": told["_op"],
        "_lsn": pa.array([0] * count),
        "_ordinal": pa.array([0] * count, pa.int32()),
        "_xid": pa.array([0] * count),
    }
    system = {name: given[name] if name in given else nulls(count, kind) for name, kind in SYSTEM_FIELDS}
    images = viewed(told.select([image + name for image in (AFTER, BEFORE) for name in columns]))
    return Batch(relation, columns, pa.table({**system, **{name: images[name] for name in images.column_names}}))
