"""A base and the log above it: read as one table, folded when the log has grown. Silver and gold share it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from bitvelocity.changes import Passing, pass_by
from bitvelocity.errors import LakeError

from .delta import LocalTable
from .duck import open_duckdb
from .latest import latest
from .names import scan
from .parquet import Shape, plain, write
from .table import DataFile, Staged
from .upkeep import CARE, Care

FOLD_SHARE = 0.1
"""A base is folded when the log above it has more than this share of its rows, and more than `Care.fold_rows`."""
DEBT = 5
"""A log of more than so many times `Care.fold_rows`, and of more rows than the base, is folded without rest."""
PIECE = 32_768
MEMORY = "160MB"


@dataclass(frozen=True, slots=True)
class Folded:
    """A base rewritten but not committed: the latest rows at `position`. `seconds`: how long that took."""

    staged: tuple[Staged, ...]
    position: int
    seconds: float


class Layers:
    """The base and the log of one keyed table, both with the same columns."""

    def __init__(
        self,
        base: LocalTable,
        log: LocalTable,
        *,
        key: Sequence[str],
        scratch: Path,
        at: Passing = pass_by,
    ) -> None:
        self.base = base
        self.log = log
        self.key = tuple(key)
        self._scratch = scratch
        self._at = at
        self._fold: Future[Folded] | None = None
        self._tired, self._folded_at = 0.0, 0.0

    def latest_sql(self, columns: Sequence[str], staged: Sequence[Staged] = ()) -> str:
        """A SELECT of the latest row of each living key; with `staged`, as if those were committed already."""
        position = self.base.position()
        files = [*above(self.log.files(), position), *(piece.file for piece in staged)]
        return overlay_sql(self.base, self.log, files, position=position, key=self.key, columns=columns)

    def maintain(self, background: Executor | None = None, care: Care = CARE) -> None:
        """Keep both tables quick, and the log above the base short. What `background` finishes lands at a later call."""
        if self._fold is not None:  # it reads the files that stood when it began: touch none of them
            if self._fold.done():
                self.settle()
            return
        self.log.upkeep.run(background, care)
        self.base.upkeep.run(background, care)
        if self._is_due(care) and not (self.log.upkeep.busy or self.base.upkeep.busy):
            self.fold(background, care)

    def fold(self, background: Executor | None = None, care: Care = CARE) -> None:
        """Rewrite the base as of the log's position; commit it here, or when `background` is done and we are asked."""
        position = self.log.position()
        query = self.latest_sql(self.base.schema.names)
        folder, shape, sync = self.base.path, self.base.shape, self.base.synced
        scratch = self._scratch

        def job() -> Folded:
            began = time.monotonic()
            staged = tuple(_rewrite(query, folder, shape, rows=care.base_rows, scratch=scratch, sync=sync))
            self._at("folded")
            return Folded(staged, position, time.monotonic() - began)

        if background is None:
            self._land(job())
        else:
            self._fold = background.submit(job)

    def settle(self) -> None:
        """Wait for running jobs and land them."""
        self.log.upkeep.settle()
        self.base.upkeep.settle()
        if self._fold is not None:
            running, self._fold = self._fold, None
            self._land(running.result())

    def _land(self, folded: Folded) -> None:
        self._tired, self._folded_at = folded.seconds, time.monotonic()
        if folded.position > self.base.position():
            self.base.commit(folded.staged, folded.position, replace=True, info={"reason": "fold"})
        else:
            self.base.discard(folded.staged)

    def _is_due(self, care: Care) -> bool:
        """Whether readers would gain by a fold. Who is far behind writes each row a hundred times if each of a hundred pieces
        of his way is folded: so folds rest between, while the log is not larger than what it lies on."""
        pending = sum(file.rows for file in above(self.log.files(), self.base.position()))
        base = sum(file.rows for file in self.base.files())
        if pending <= care.fold_rows or pending <= FOLD_SHARE * base:
            return False
        rested = time.monotonic() >= self._folded_at + care.fold_rest * self._tired
        return rested or pending > max(DEBT * care.fold_rows, base)


def above(files: Sequence[DataFile], position: int) -> list[DataFile]:
    """The files that may hold rows above a position."""
    return [file for file in files if not isinstance(high := file.high.get("_lsn"), int) or high > position]


def overlay_sql(
    base: LocalTable,
    log: LocalTable,
    files: Sequence[DataFile],
    *,
    position: int,
    key: Sequence[str],
    columns: Sequence[str],
) -> str:
    """The latest rows of a base at `position` under the given files of its log."""
    tail = f"(SELECT * FROM ({scan(log.path, files, log.schema)}) WHERE _lsn > {position:d})"
    return latest(f"({scan(base.path, base.files(), base.schema)})", tail, key=key, columns=columns)


def connect(scratch: Path, *, threads: int) -> duckdb.DuckDBPyConnection:
    """An engine with bounded memory that spills into `scratch`, in UTC."""
    return open_duckdb(
        {"threads": threads, "memory_limit": MEMORY, "temp_directory": str(scratch), "preserve_insertion_order": False}
    )


def _rewrite(query: str, folder: Path, shape: Shape, *, rows: int, scratch: Path, sync: bool) -> Iterator[Staged]:
    """The result of a query as files of so many rows; one thread, for the hot path needs the others."""
    try:
        with connect(scratch, threads=1) as engine:
            result = engine.sql(query).to_arrow_reader(PIECE)
            pieces = (plain(part, shape.schema) for whole in result for part in _parts(whole, rows))
            while (first := next(pieces, None)) is not None:
                yield Staged(write(folder, shape, _up_to(first, pieces, rows), sync=sync))
    except (duckdb.Error, OSError) as error:
        raise LakeError(
            f"{folder} cannot be folded: {error}",
            safe="base and log are as they were",
            remedy="see that the disk has room, then start again",
        ) from error


def _parts(whole: pa.RecordBatch, rows: int) -> Iterator[pa.Table]:
    """A batch in pieces of so many rows at the most; none of an empty one."""
    for first in range(0, whole.num_rows, rows):
        yield pa.Table.from_batches([whole.slice(first, rows)])


def _up_to(first: pa.Table, rest: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    yield first
    written = first.num_rows
    while written < rows and (piece := next(rest, None)) is not None:
        written += piece.num_rows
        yield piece
