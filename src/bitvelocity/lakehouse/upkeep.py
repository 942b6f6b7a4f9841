"""What keeps a table quick for years: small files rolled into larger ones, checkpoints, dead files removed.

The slow part of each job may run in another thread; what changes the table is always done by the writer's own, at the
next `run`. So a table has one writing thread, whatever is going on.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from bitvelocity.changes import Passing, pass_by
from bitvelocity.errors import LakeError
from bitvelocity.files import sync_path

from . import deltalog as log
from .deltalog import Action
from .parquet import columns_in, plain, read, write
from .table import DataFile, Staged

if TYPE_CHECKING:
    from .delta import LocalTable

TIERS = ((0, 256 << 10), (256 << 10, 8 << 20))
"""Files of a tier are rolled into one of a higher tier: each row is rewritten a few times in its life, not more."""
LARGEST = 64 << 20
"""Bytes of input at which a roll-up stops taking more files."""
POINTER = "_last_checkpoint"
AT_ONCE = 100
"""Dead files removed per run, so that no commit waits for a long clean-up."""



@dataclass(frozen=True, slots=True, kw_only=True)
class Care:
    """When the tables of a lake are tended.

    - `fold_rows`: rows of a log above its base from which on they are folded into it.
    - `fold_rest`: how many times as long as the last fold of a table took none begins again.
    - `base_rows`: rows of one file of a base.
    - `roll_up`: live files from which on small ones are rolled into larger ones.
    - `checkpoint_every`: versions between two checkpoints.
    - `keep`: seconds for which replaced files and old log entries live on, so that readers of older versions never
      miss one.
    """

    fold_rows: int = 200_000
    fold_rest: float = 10.0
    base_rows: int = 1_000_000
    roll_up: int = 40
    checkpoint_every: int = 300
    keep: float = 600.0


CARE = Care()
Landing = Callable[[], None]
"""What is left to do on the writer's thread when a job has run."""


class Upkeep:
    """The maintenance of one table."""

    def __init__(self, table: LocalTable, at: Passing = pass_by) -> None:
        self._table = table
        self._at = at
        self._recent: dict[str, pa.Table] = {}
        self._dead: deque[tuple[float, str]] = deque()
        self._job: Future[Landing] | None = None
        self._checkpointed = _last_checkpoint(table.path / log.LOG)
        self._idle: dict[str, float] = {}

    @property
    def busy(self) -> bool:
        """Whether a job runs, or waits to be landed."""
        return self._job is not None

    def remember(self, staged: Iterable[Staged]) -> None:
        """Keep small committed rows, so that the next roll-up need not read them back."""
        self._recent.update((piece.file.path, piece.data) for piece in staged if piece.data is not None)

    def bury(self, actions: Iterable[Action]) -> None:
        """Note the files that an entry removed; they live on for the grace period."""
        for action in actions:
            if body := action.get("remove"):
                self._dead.append((time.time(), body["path"]))
                self._recent.pop(body["path"], None)

    def run(self, background: Executor | None, care: Care) -> None:
        """Land the finished job, start the next one that is due, remove what is dead for longer than `care.keep`."""
        self._remove_dead(care.keep)
        if self._job is not None:
            if not self._job.done():
                return
            self.settle()
        job = self._due(care)
        if job is None:
            return
        if background is None:
            with self._failures():
                job()()
        else:
            self._job = background.submit(job)

    def settle(self) -> None:
        """Wait for the running job, if any, and land it."""
        if self._job is not None:
            job, self._job = self._job, None
            with self._failures():
                job.result()()

    def sweep(self) -> None:
        """At open, when none of our files can be on its way: note those that are not live; `run` sorts them out.

        Files of other engines are left alone: they may be about to be committed.
        """
        folder = self._table.path
        for aside in (folder / log.LOG).glob(".*.tmp"):
            aside.unlink()
        live = {file.path for file in self._table.files()}
        idle = [at for at in os.scandir(folder) if columns_in(at.name) is not None and at.name not in live]
        self._idle = {at.name: at.stat().st_mtime for at in idle}

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (OSError, DeltaError, pa.ArrowException) as error:
            raise LakeError(
                f"maintenance of {self._table.path} failed: {error}",
                safe="all rows are as they were",
                remedy="see that the disk has room, then start again",
            ) from error

    def _due(self, care: Care) -> Callable[[], Landing] | None:
        if self._idle:
            idle, self._idle = self._idle, {}
            return lambda: self._sort_out(idle)
        if len(self._table.files()) >= care.roll_up:
            for low, high in TIERS:
                tier = [file for file in self._table.files() if low <= file.bytes < high]
                if len(tier) >= care.roll_up:
                    return self._roll_up(_up_to(tier, LARGEST))
        if self._table.version() - self._checkpointed >= care.checkpoint_every:
            self._checkpointed = self._table.version()
            return lambda: self._checkpoint(care.keep)
        return None

    def _sort_out(self, idle: Mapping[str, float]) -> Landing:
        """Delete files that no entry ever named, which a crash left between staging and commit.

        Files that were live once are kept for the grace period from now: a reader may still be at the version that
        has them. Files too old to tell are treated as those.
        """
        folder = self._table.path
        since, text = _entries_since(folder, min(idle.values()))
        orphans = {name for name, written in idle.items() if written > since and name not in text}
        for name in orphans:
            (folder / name).unlink()
        self._at("orphans removed")
        replaced = [(time.time(), name) for name in idle if name not in orphans]
        return lambda: self._dead.extend(replaced)

    def _roll_up(self, files: Sequence[DataFile]) -> Callable[[], Landing]:
        table, shape = self._table, self._table.shape
        rows = {file.path: self._recent.get(file.path) for file in files}

        def pieces() -> Iterator[pa.Table]:
            waiting: list[pa.Table] = []
            for path, kept in rows.items():
                waiting.append(plain(read(table.path / path) if kept is None else kept, shape.schema))
                if sum(piece.num_rows for piece in waiting) >= 100_000:
                    yield pa.concat_tables(waiting)
                    waiting = []
            if waiting:
                yield pa.concat_tables(waiting)

        def job() -> Landing:
            staged = Staged(write(table.path, shape, pieces(), sync=table.synced))
            self._at("rolled up")
            return lambda: _done(table.swap(files, (staged,)))

        return job

    def _checkpoint(self, keep: float) -> Landing:
        folder = self._table.path / log.LOG
        DeltaTable(self._table.path).create_checkpoint()
        self._at("checkpointed")
        version = _last_checkpoint(folder)
        if self._table.synced:
            for path in (*folder.glob(f"{version:020}.checkpoint*.parquet"), folder / POINTER, folder):
                sync_path(path)
        _forget_entries(folder, time.time() - keep)
        self._at("entries forgotten")
        return _nothing

    def _remove_dead(self, keep: float) -> None:
        limit = time.time() - keep
        for _ in range(min(AT_ONCE, len(self._dead))):
            if self._dead[0][0] > limit:
                return
            _, path = self._dead.popleft()
            (self._table.path / path).unlink(missing_ok=True)
            self._at("dead file removed")


def _up_to(files: Sequence[DataFile], most: int) -> list[DataFile]:
    taken: list[DataFile] = []
    size = 0
    for file in files:
        taken.append(file)
        size += file.bytes
        if size >= most and len(taken) > 1:
            break
    return taken


def _entries_since(table: Path, written: float) -> tuple[float, str]:
    """Text of the log entries made since a time, and the time from which on the log is known to be complete."""
    entries = [(entry.stat().st_mtime, entry) for entry in os.scandir(table / log.LOG) if entry.name.endswith(".json")]
    oldest = min(entries, key=lambda pair: pair[0])
    complete = 0.0 if oldest[1].name == log.entry_path(table, 0).name else oldest[0]
    text = "".join(Path(entry.path).read_text() for at, entry in entries if at >= written - 1)
    return complete, text


def _forget_entries(folder: Path, older_than: float) -> None:
    """Remove what stands below the last but one checkpoint: a reader may be on its way to a version below the last."""
    numbers = sorted({_number(path) for path in folder.glob("*.checkpoint*.parquet")})
    for path in sorted(folder.iterdir()) if len(numbers) > 1 else ():
        if path.name[:1].isdigit() and _number(path) < numbers[-2] and path.stat().st_mtime < older_than:
            path.unlink()


def _last_checkpoint(folder: Path) -> int:
    """Its version; 0 when there is none: a process that is often started anew must not put it off for ever."""
    try:
        return int(json.loads((folder / POINTER).read_text())["version"])
    except (OSError, ValueError, KeyError):
        return 0


def _number(path: Path) -> int:
    return int(path.name.partition(".")[0])


def _done(_: object) -> None:
    """A swap that came too late is no error: the next run sees what is due."""


def _nothing() -> None:
    """A checkpoint leaves nothing to land."""
