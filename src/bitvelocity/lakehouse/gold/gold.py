"""Gold kept equal to its models: what a commit of silver touches is computed again, and only differences are written."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

import duckdb

from bitvelocity.changes import Passing, pass_by
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError
from bitvelocity.lakehouse.duck import open_duckdb
from bitvelocity.lakehouse.upkeep import CARE, Care
from bitvelocity.lakehouse.watermark import read_watermark

from .binding import gold_inputs, in_order, silver_inputs
from .disk import SilverOnDisk
from .latest import in_parts
from .model import Model
from .passes import GoldReceipt, Pass
from .planner import Plan
from .silver import Changes, Silver
from .state import State
from .table import GoldTable, Staging
from .verify import ModelVerdict, verify_models

T = TypeVar("T")

SCRATCH = ".scratch"
WRITERS = 3
"""Threads that write gold: they wait for the disk, not for a core."""


class Gold:
    """The gold tables of a lake. One process writes them; `start` first, then `apply` each commit of silver, in order.

    All models of a commit are computed before the first table is written. Each table's commit carries the position,
    so a crash between two of them is mended by `start`: a model behind its inputs is computed anew.
    """

    def __init__(
        self,
        root: Path,
        specs: Sequence[EntitySpec],
        models: Sequence[Model],
        *,
        sync: bool = True,
        memory_limit: str = "1GB",
        care: Care = CARE,
        at: Passing = pass_by,
    ) -> None:
        self._root = Path(root).absolute()
        self._specs = tuple(specs)
        self._models = in_order(models)
        self._sync = sync
        self._memory_limit = memory_limit
        self._care = care
        self._at = at
        self._state: State | None = None
        self._tables: dict[str, GoldTable] = {}
        self._background: ThreadPoolExecutor | None = None
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="gold-write")

    @property
    def plans(self) -> Mapping[str, Plan]:
        """How each model is kept up to date, and why so."""
        return self._running.plans

    @property
    def _running(self) -> State:
        if self._state is None:
            raise LakeError("gold is not started", remedy="call start() before apply(), and again after an error")
        return self._state

    def start(
        self, silver: Silver | None = None, *, hidden: Set[str] = frozenset(), shown: Set[str] = frozenset()
    ) -> GoldReceipt:
        """Build the state from silver as it is on disk, and bring models that are behind it up to it.

        `silver` stands in for the disk. May be called again at any time. Entities that are `hidden` have no rows
        for gold; models that read one that is `shown`, and was hidden until now, are computed anew.
        """
        self._stop()
        state = State(self._specs, self._models, memory_limit=self._memory_limit, spill=self._root / SCRATCH)
        try:
            receipt = self._start(state, silver, hidden, shown)
        except BaseException:
            state.close()
            raise
        self._state = state
        self._background = ThreadPoolExecutor(1, thread_name_prefix="gold-upkeep")
        return receipt

    def apply(self, changed: Mapping[str, Changes | Sequence[Changes]], lsn: int) -> GoldReceipt:
        """Bring gold to `lsn` by what commits of silver changed; when it returns, gold is durable.

        After an error the state is not to be trusted: `start` again.
        """
        state, self._state = self._running, None
        try:
            receipt = self._apply(state, changed, lsn)
        except BaseException:
            state.close()
            raise
        self._state = state
        return receipt

    def verify(self, silver: Silver | None = None) -> tuple[ModelVerdict, ...]:
        """Compute all models anew, from silver on disk and in an engine of its own, and compare with what is stored."""
        if not self._tables:
            self._open_tables()
        stored = {name: table.stored_sql() for name, table in self._tables.items()}
        with self._connect() as connection, self._connect() as reading:
            silver = silver or SilverOnDisk(self._root, self._specs, reading)
            return tuple(verify_models(connection, self._specs, self._models, silver=silver, stored=stored))

    def versions(self) -> dict[str, int]:
        """Table ("gold/daily_sales") -> newest version, as a watermark names them."""
        return {name: version for table in self._tables.values() for name, version in table.versions().items()}

    def settle(self) -> None:
        """Wait for maintenance that is running, and land it."""
        for table in self._tables.values():
            table.settle()

    def close(self) -> None:
        """Give memory and threads back. What `apply` returned from is durable anyway."""
        self._stop()
        self._writers.shutdown(wait=True)

    def _stop(self) -> None:
        if self._background is not None:
            self._background.shutdown(wait=True, cancel_futures=True)
            self._background = None
        if self._state is not None:
            self._state.close()
            self._state = None

    def _start(self, state: State, silver: Silver | None, hidden: Set[str], shown: Set[str]) -> GoldReceipt:
        clock, work = _Clock(), Pass(state)
        with self._connect() as reading:
            silver = silver or SilverOnDisk(self._root, self._specs, reading)
            positions = {entity: silver.position(entity) for entity in state.silver}
            for entity, rows in state.silver.items():
                if entity in hidden:
                    positions[entity] = -1
                elif (latest := silver.latest(entity, rows.schema.names)) is not None:
                    rows.fill(latest)
        clock.lap("load")
        self._open_tables()
        watermark = read_watermark(self._root)
        position = max(watermark.position if watermark else max(positions.values(), default=0), 0)
        anew = dict.fromkeys(shown, sys.maxsize)
        for model in self._models:
            self._level(state, model, self._newest(model, {**positions, **anew}), position=position, work=work)
        state.tidy()
        state.engine.use_threads(many=False)
        clock.lap("models")
        return work.receipt(position, self.versions(), clock.seconds)

    def _apply(self, state: State, changed: Mapping[str, Changes | Sequence[Changes]], lsn: int) -> GoldReceipt:
        """1. silver's copies move, 2. models are computed, each staged while the next one is, 3. all are committed."""
        clock = _Clock()
        work = Pass(state)
        for entity in state.silver:
            for part in in_parts(_sequence(changed.get(entity))):
                work.note(f"silver.{entity}", state.change(entity, part))
        clock.lap("silver")
        staging: dict[str, Future[Staging]] = {}
        for model in self._models:
            difference = work.compute(model)
            if difference is not None and len(difference):
                table = self._tables[model.name]
                pending = table.prepare(difference, state.gold[model.name])
                staging[model.name] = self._writers.submit(table.stage, pending, lsn)
        clock.lap("models")
        staged = dict(zip(staging, _results(staging.values()), strict=True))
        _results([self._writers.submit(self._tables[name].commit, files) for name, files in staged.items()])
        clock.lap("write")
        state.tidy()
        self._maintain()
        clock.lap("tidy")
        return work.receipt(lsn, self.versions(), clock.seconds)

    def _open_tables(self) -> None:
        (self._root / "gold").mkdir(parents=True, exist_ok=True)
        self._tables = {
            model.name: GoldTable(self._root, model, scratch=self._root / SCRATCH, sync=self._sync, at=self._at)
            for model in self._models
        }

    def _connect(self) -> duckdb.DuckDBPyConnection:
        scratch = str(self._root / SCRATCH)
        return open_duckdb({"memory_limit": self._memory_limit, "temp_directory": scratch, "threads": 2})

    def _newest(self, model: Model, positions: Mapping[str, int]) -> int:
        """Position of the last change of anything that the model reads, itself or through other models."""
        by_name = {other.name: other for other in self._models}
        through = [self._newest(by_name[name], positions) for name in gold_inputs(model)]
        return max([*through, *(positions[entity] for entity in silver_inputs(model))], default=-1)

    def _level(self, state: State, model: Model, newest: int, *, position: int, work: Pass) -> None:
        """Take the stored rows when they are up to date; else compute them, and write what differs."""
        table, rows = self._tables[model.name], state.gold[model.name]
        stored = table.position()
        if not table.is_new():
            rows.fill_from(table.stored_sql())
        if stored >= max(newest, 0):
            return
        if table.is_new():
            state.fill(state.plans[model.name])
            table.write(table.prepare_all(rows), position)
            work.say(model.name, "full", "it is built for the first time", rows.count)
        else:
            difference = state.recompute_all(state.plans[model.name])
            if len(difference):
                table.write(table.prepare(difference, rows), position)
            reason = "its SQL or columns changed" if stored < 0 else "its inputs moved on while gold stood still"
            work.say(model.name, "full", reason, len(difference))
        table.claim()

    def _maintain(self) -> None:
        for table in self._tables.values():
            table.maintain(self._background, self._care)


def _results(futures: Iterable[Future[T]]) -> list[T]:
    """What all of them gave; an error is raised when none runs any more."""
    running = list(futures)
    wait(running)
    return [future.result() for future in running]


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """The step that began at the last lap is over."""
        now = time.perf_counter()
        self.seconds[step], self._last = now - self._last, now


def _sequence(changes: Changes | Sequence[Changes] | None) -> Sequence[Changes]:
    if changes is None:
        return ()
    return changes if isinstance(changes, Sequence) else (changes,)
