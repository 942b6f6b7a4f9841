"""Changes that wait for the end of their change set: on disk from a size on, and out again in the order of the source, in pieces."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from ..changes import Batch

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """Batches of one table and one shape in a file."""

    file: Path
    like: Batch


class Sluice:
    """Takes batches of several tables, each in its order; memory holds about `rows` of them, and a part of each table.

    The folder is its own. What a predecessor left in it is dropped. `piece`: about so many rows come out at a time.
    """

    def __init__(self, folder: Path, rows: int, *, piece: int) -> None:
        self._folder, self._most, self._piece = folder, rows, piece
        self._held: dict[str, list[Batch | _Part]] = defaultdict(list)
        self._loose = self._files = 0
        self.clear()

    def __bool__(self) -> bool:
        return bool(self._held)

    def add(self, batch: Batch) -> None:
        """One more, behind those of its table."""
        self._held[batch.relation].append(batch)
        self._loose += batch.data.num_rows
        if self._loose >= self._most:
            self._spill()

    def pieces(self) -> Iterator[list[Batch]]:
        """All of it, every row of a piece below every row of the next."""
        rest = {relation: self._chunks(parts) for relation, parts in self._held.items()}
        heads = {relation: head for relation, chunks in rest.items() if (head := next(chunks, None))}
        while heads:
            bound = min(_last(head) for head in heads.values())
            counts = {relation: _up_to(head, bound) for relation, head in heads.items()}
            yield [_rows(heads[name], 0, count) for name, count in counts.items() if count]
            left = {name: _rows(head, counts[name]) for name, head in heads.items()}
            heads = {name: head for name, one in left.items() if (head := one if one.data.num_rows else next(rest[name], None))}

    def clear(self) -> None:
        """Drop all."""
        self._held.clear()
        self._loose = self._files = 0
        shutil.rmtree(self._folder, ignore_errors=True)

    def _chunks(self, parts: Sequence[Batch | _Part]) -> Iterator[Batch]:
        size = max(1, self._piece // max(1, len(self._held)))
        for part in parts:
            for table in _read(part.file) if isinstance(part, _Part) else [part.data]:
                like = part.like if isinstance(part, _Part) else part
                yield from cut(replace(like, data=table), size)

    def _spill(self) -> None:
        """Write what is in memory, a file for each table and shape."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for parts in self._held.values():
            loose = [part for part in parts if isinstance(part, Batch)]
            parts[len(parts) - len(loose) :] = [self._written(run) for run in _alike(loose)]
        self._loose = 0

    def _written(self, run: Sequence[Batch]) -> _Part:
        file, self._files = self._folder / f"{self._files}.arrow", self._files + 1
        with ipc.new_file(str(file), run[0].data.schema) as writer:
            for batch in run:
                writer.write_table(batch.data, max_chunksize=max(1, self._most // 4))
        return _Part(file, replace(run[0], data=run[0].data.schema.empty_table()))


def cut(batch: Batch, rows: int) -> Iterator[Batch]:
    """The same in parts of so many rows."""
    return (replace(batch, data=batch.data.slice(at, rows)) for at in range(0, batch.data.num_rows, rows))


def _read(file: Path) -> Iterator[pa.Table]:
    """A record batch at a time, and none of it mapped: what is read is ours, and goes."""
    with pa.OSFile(str(file), "rb") as source:
        reader = ipc.open_file(source)
        for number in range(reader.num_record_batches):
            yield pa.Table.from_batches([reader.get_batch(number)])


def _alike(batches: Sequence[Batch]) -> Iterator[list[Batch]]:
    """Runs of one shape, in order."""
    run: list[Batch] = []
    for batch in batches:
        if run and (batch.columns, batch.shape, batch.data.schema) != (run[0].columns, run[0].shape, run[0].data.schema):
            yield run
            run = []
        run.append(batch)
    if run:
        yield run


def _last(batch: Batch) -> Key:
    return int(batch.data["_lsn"][-1].as_py()), int(batch.data["_ordinal"][-1].as_py())


def _up_to(batch: Batch, key: Key) -> int:
    """How many rows stand at or below it."""
    lsn = batch.data["_lsn"].to_numpy()
    low, high = (int(np.searchsorted(lsn, key[0], side=side)) for side in ("left", "right"))
    return low + int(np.searchsorted(batch.data["_ordinal"].slice(low, high - low).to_numpy(), key[1], side="right"))


def _rows(batch: Batch, first: int, count: int | None = None) -> Batch:
    return replace(batch, data=batch.data.slice(first, count))


__all__ = ["Sluice", "cut"]
