"""Changes out of bronze, as the source once gave them: how a sink that is new or behind catches up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from bitvelocity.changes import AFTER, BEFORE, SYSTEM_COLUMNS, Batch, Mark, Position
from bitvelocity.contracts import EntitySpec

from .bronze import widened
from .names import identifier
from .reading import LakeReader
from .views import files_view

SET_ROWS = 50_000
BATCH_ROWS = 25_000


def replay(reader: LakeReader, specs: Sequence[EntitySpec], *, above: int) -> Iterator[Replayed]:
    """Change sets of these entities above a position, up to where the reader stands; each ends at a commit.

    A transaction is never divided, and its rows are read while the set is iterated, so memory stays bounded. The last
    set ends at the reader's position, also when it has no rows.
    """
    end = reader.watermark.position if reader.watermark else -1
    begin = above
    for bound, rows in _bounds(reader, specs, above, end):
        yield Replayed(reader, tuple(specs), begin, Mark(lsn=bound, resume=bound, rows=rows))
        begin = bound


@dataclass(frozen=True, slots=True)
class Replayed:
    """A change set read from bronze."""

    reader: LakeReader
    specs: tuple[EntitySpec, ...]
    above: int
    mark: Mark

    def __iter__(self) -> Iterator[Batch]:
        for spec in self.specs:
            yield from self._batches(spec)

    def _batches(self, spec: EntitySpec) -> Iterator[Batch]:
        return _read(self.reader, spec, spec.lake_names, f"_lsn > {self.above:d} AND _lsn <= {self.mark.lsn:d}")


def stretch(
    reader: LakeReader, spec: EntitySpec, columns: Sequence[str], span: tuple[Position, Position]
) -> Iterator[Batch]:
    """The changes of an entity from one position to another, with these columns of its source, declared or not.

    Those that bronze does not have are left out.
    """
    first, last = span
    cursor = reader.connection.cursor()
    described = cursor.execute(f"DESCRIBE {files_view(f'bronze/{spec.name}')}").fetchall()
    cursor.close()
    there, known = {str(row[0]) for row in described}, widened(spec, columns).lake_names
    names = {name: known[name] for name in columns if AFTER + known[name] in there}
    bounds = (
        f"(_lsn > {first.commit_lsn:d} OR (_lsn = {first.commit_lsn:d} AND _ordinal >= {first.ordinal:d}))"
        f" AND (_lsn < {last.commit_lsn:d} OR (_lsn = {last.commit_lsn:d} AND _ordinal <= {last.ordinal:d}))"
        f" AND _lsn BETWEEN {first.commit_lsn:d} AND {last.commit_lsn:d}"  # this one passes over files
    )
    return _read(reader, spec, names, bounds)


def _read(reader: LakeReader, spec: EntitySpec, names: Mapping[str, str], where: str) -> Iterator[Batch]:
    """Rows of bronze in order of their positions, under the source's names."""
    sources = {image + name: image + lake for image in (AFTER, BEFORE) for name, lake in names.items()}
    terms = [*map(identifier, SYSTEM_COLUMNS), *(f"{identifier(lake)} AS {identifier(name)}" for name, lake in sources.items())]
    query = f"SELECT {', '.join(terms)} FROM {files_view(f'bronze/{spec.name}')} WHERE {where} ORDER BY _lsn, _ordinal"
    cursor = reader.connection.cursor()
    try:
        for rows in cursor.sql(query).to_arrow_reader(BATCH_ROWS):
            if rows.num_rows:
                yield Batch(spec.qualified, tuple(names), pa.Table.from_batches([rows]))
    finally:
        cursor.close()


def _bounds(reader: LakeReader, specs: Sequence[EntitySpec], above: int, end: int) -> Iterator[tuple[int, int]]:
    """Where sets of a fair size end, and their rows."""
    if not specs or end <= above:
        return
    tables = " UNION ALL ".join(f"SELECT _lsn FROM {files_view(f'bronze/{spec.name}')}" for spec in specs)
    counted = f"SELECT _lsn, count(*) AS n FROM ({tables}) WHERE _lsn > {above:d} AND _lsn <= {end:d} GROUP BY _lsn"
    running = f"SELECT _lsn, sum(n) OVER (ORDER BY _lsn) AS so_far FROM ({counted})"
    query = f"SELECT max(_lsn), max(so_far) FROM ({running}) GROUP BY so_far // {SET_ROWS:d} ORDER BY 1"
    before, cursor = 0, reader.connection.cursor()
    found = cursor.sql(query).fetchall()
    cursor.close()
    for bound, so_far in found:
        yield int(bound), int(so_far) - before
        before = int(so_far)
    if not found or found[-1][0] < end:
        yield end, 0


__all__ = ["Replayed", "replay", "stretch"]
