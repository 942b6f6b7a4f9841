"""The lake as a sink: bronze and silver of all entities, committed together at each boundary of the source."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial
from pathlib import Path

import duckdb
import pyarrow as pa

from bitvelocity.changes import Batch, Mark, Passing, Receipt, Unsent, format_lsn, is_table, pass_by, within
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError, PoisonError
from bitvelocity.processes import trim_memory

from .beside import Beside
from .bronze import Bronze, repeating
from .delta import LocalTable
from .fitting import FAULTS, Fitting, Misfit
from .keyless import BronzeTwin, Told
from .layers import connect
from .lease import Lease
from .letters import DeadLetters
from .parquet import SMALL
from .parts import Parts
from .shapes import Shapes
from .silver import SCRATCH, Changed, Silver
from .stored import as_stored
from .twin import Held, SilverTwin
from .twins import LakeTwin
from .upkeep import CARE, Care
from .watermark import Watermark, read_watermark

TEND_SECONDS = 1.0
"""How often maintenance is looked after in silence."""


class Lake:
    """Bronze and silver under one root. One process writes a lake; its lease is held from here to `close`.

    A batch becomes files at once, so a transaction of any size takes bounded memory. Each table commits rows and
    position together; a crash between two tables is mended by the repeat, which each table takes from its own position.
    Readers see nothing of it before the watermark names it. A lake whose first snapshot was never published begins
    anew, for the source will send that snapshot again; unless it was `begun` in parts, and goes on.
    """

    def __init__(
        self,
        root: Path,
        specs: Sequence[EntitySpec],
        *,
        sync: bool = True,
        care: Care = CARE,
        at: Passing = pass_by,
        begun: bool = False,
    ) -> None:
        self._root = Path(root).absolute()
        self._care = care
        self._lease = Lease.take(self._root)
        try:
            specs = as_stored(self._root, specs)
            self.watermark: Watermark | None = read_watermark(self._root)
            self._bronze = {spec.name: Bronze(self._root, spec, sync=sync, at=within(at, "bronze")) for spec in specs}
            self._silver = {
                spec.name: Silver(self._root, spec, lambda: self._engine, sync=sync, at=at)
                for spec in specs
                if spec.key
            }
            self._shapes = Shapes(self._root, specs, sync=sync, at=within(at, "shapes"))
            self.letters = DeadLetters(self._root, sync=sync, at=within(at, "letters"))
            self.parts = Parts(self._bronze, self._silver, tuple(self._tables()), wait=self._wait)
            if self.watermark is None and not begun:
                self.parts.begin_anew()
                self.letters.load()
        except BaseException:
            self._lease.release()
            raise
        self._specs = {spec.name: spec for spec in specs}
        self._by_relation = {spec.qualified: spec.name for spec in specs}
        self._position = self.watermark.position if self.watermark else -1
        self.horizon = max((table.position() for table in self._tables()), default=-1)
        """Highest position that a table had at opening. Until repeats have brought all tables to it they stand at
        different commits, so nothing below it may be published."""
        self._fitting = Fitting(specs, {spec.name: partial(self._try_out, spec.name) for spec in specs})
        self._background = ThreadPoolExecutor(1, thread_name_prefix="lake")
        self._beside, self._aside = Beside("bronze"), Beside("silver")
        self._measured: set[str] = set()
        self._tended_at = 0.0
        self._forget()
        self.last_changes: Mapping[str, Changed] = {}
        self.unsent: tuple[Unsent, ...] = ()
        """What the last commit tells of values that the source wrote and did not send."""

    def position(self) -> int:
        """Commit LSN up to which everything is durable here and published; -1 when there is nothing yet."""
        return self._position

    def stage(self, batch: Batch) -> None:
        """Write a batch to files that nobody sees. A relation without a spec is counted, not kept."""
        with self._doubting(batch.relation):
            self._stage(batch)

    def misfits(self, batch: Batch, *, rules: bool = False, tried: bool = False) -> Sequence[Misfit]:
        """Rows of a batch that the contract of their entity, or the writing of the lake, does not take.

        `rules`: what is declared beside types is held against them too. `tried`: writing is tried on each; it also is
        after writing has failed.
        """
        entity = self._shapes.entity_of(batch) if is_table(batch.relation) else None
        return self._fitting.misfits(entity, batch, rules=rules, tried=tried) if entity and batch.data.num_rows else ()

    def _stage(self, batch: Batch) -> None:
        if not is_table(batch.relation):
            self._shapes.mark(batch)
            return
        entity = self._shapes.entity_of(batch)
        if entity is None:
            self._refused[batch.relation] += batch.data.num_rows
            return
        self._shapes.note(entity, batch)
        self._measure(entity, batch)
        small = batch.data.num_rows <= SMALL
        self._beside.do(lambda: self._stage_bronze(entity, batch), small=small)
        if entity in self._silver:
            self._aside.do(lambda: self._stage_silver(entity, batch), small=small)

    def _stage_bronze(self, entity: str, batch: Batch) -> None:
        began = time.perf_counter()
        self._taken[entity] += self._bronze[entity].stage(batch)
        self._seconds["bronze"] += time.perf_counter() - began

    def _stage_silver(self, entity: str, batch: Batch) -> None:
        began = time.perf_counter()
        self._silver[entity].stage(batch)
        self._seconds["silver"] += time.perf_counter() - began

    def _wait(self) -> None:
        """Until nothing is written any more. Then the first error is raised."""
        with self._doubting(None), ExitStack() as errors:
            errors.callback(self._aside.wait)
            self._beside.wait()

    def commit(self, mark: Mark) -> Receipt:
        """Make all staged rows durable, bronze first; then land and start maintenance.

        Maintenance changes versions only in here and in `tend`, so the watermark published next names them, and files that it
        replaced are needed by older watermarks only, for which they are kept.
        """
        self._wait()
        began = time.perf_counter()
        self.letters.commit(mark.lsn)
        for bronze in self._bronze.values():
            bronze.commit(mark.lsn)
        changes = {name: silver.commit(mark.lsn) for name, silver in self._silver.items()}
        self.unsent = self._shapes.commit(mark.lsn)
        self.letters.conclude(mark.lsn)
        self._fitting.doubtful = False
        self.last_changes = {name: changed for name, changed in changes.items() if changed is not None}
        self._position = max(self._position, mark.lsn)
        between = time.perf_counter()
        if any(changed.files for changed in self.last_changes.values()):
            trim_memory()  # after a very large commit gold needs memory now: maintenance waits for the next one
        else:
            self._maintain()
        self._seconds["commit"] = between - began
        self._seconds["maintain"] = time.perf_counter() - between
        receipt = Receipt(
            sink="lake",
            lsn=mark.lsn,
            rows_in=dict(self._taken),
            rows_refused=dict(self._refused),
            versions=self.versions(),
            seconds=dict(self._seconds),
        )
        self._forget()
        return receipt

    def rollback(self) -> None:
        """Forget what is staged."""
        self._beside.forget()
        self._aside.forget()
        for bronze in self._bronze.values():
            bronze.rollback()
        for silver in self._silver.values():
            silver.rollback()
        self._shapes.rollback()
        self.letters.rollback()
        self._forget()

    def versions(self, hidden: Collection[str] = ()) -> dict[str, int]:
        """The newest version of each table, as a watermark names them; not silver of `hidden` entities."""
        left_out = {f"silver/{name}{end}" for name in hidden for end in ("", "_changes")}
        found = {str(table.path.relative_to(self._root)): table.version() for table in self._tables()}
        return {name: version for name, version in found.items() if name not in left_out}

    def twin(self) -> LakeTwin:
        """What is committed, to be compared with the source. Close it before the next commit."""
        held = {
            relation: Held(self._specs[name], self._silver[name].layers)
            for relation, name in self._by_relation.items()
            if name in self._silver
        }
        told = {
            relation: Told(self._specs[name], self._bronze[name].table)
            for relation, name in self._by_relation.items()
            if name not in self._silver
        }
        silver, bronze = (connect(self._root / SCRATCH, threads=2) for _ in range(2))
        return LakeTwin(SilverTwin(held, silver), BronzeTwin(told, bronze))

    def unknown(self, entity: str) -> tuple[tuple[str, ...], ...]:
        """Keys, as PostgreSQL reads them, of rows with a value that the source did not send and nobody knows; some of them."""
        silver = self._silver.get(entity)
        return silver.unknown() if silver else ()

    def latest(self, entity: str, columns: Sequence[str]) -> pa.RecordBatchReader:
        """The latest row of each living key of an entity, as committed. Read it whole before the next call."""
        return self._silver[entity].latest(columns)

    def fold(self) -> None:
        """Fold every silver log into its base, here and now. The next watermark must name the new versions."""
        for silver in self._silver.values():
            silver.layers.settle()
            silver.layers.fold()

    def tend(self, *, wait: bool = False) -> bool:
        """Maintenance while nothing is staged and nothing comes to be committed: land what has run, start what is due, now and then.

        With `wait` at once, and all that runs is waited for instead. Whether that made a version, which the next watermark must
        name.
        """
        if not wait and time.monotonic() < self._tended_at + TEND_SECONDS:
            return False
        self._tended_at = time.monotonic()
        before = [table.version() for table in self._tables()]
        if wait:
            self._settle()
        else:
            self._maintain()
        return [table.version() for table in self._tables()] != before

    def _settle(self) -> None:
        for bronze in self._bronze.values():
            bronze.table.upkeep.settle()
        for silver in self._silver.values():
            silver.layers.settle()
        if self.letters.table is not None:
            self.letters.table.upkeep.settle()

    def close(self) -> None:
        """Forget what is staged, let running maintenance finish, give back the lease."""
        self.rollback()
        self._beside.close()
        self._aside.close()
        self._background.shutdown(wait=True, cancel_futures=True)
        self._lease.release()

    @cached_property
    def _engine(self) -> duckdb.DuckDBPyConnection:
        return connect(self._root / SCRATCH, threads=2)

    @contextmanager
    def _doubting(self, relation: str | None) -> Iterator[None]:
        """The first failure of writing passes by: what comes again is tried before it is taken."""
        try:
            yield
        except FAULTS as error:
            kind: type[LakeError] = LakeError if self._fitting.doubtful else PoisonError
            self._fitting.doubtful = True
            raise kind(
                f"The lake cannot write what came. {type(error).__name__}: {error}", entity=relation, code="Poison",
                position=format_lsn(max(self._position, 0)), safe="Nothing of it was taken; the lake is whole as of its position.",
                remedy='Over a bus such records can be set apart: [streams] dead_letters = "table".',
            ) from error  # fmt: skip

    def _try_out(self, entity: str, batch: Batch) -> None:
        self._bronze[entity].try_out(batch)
        if silver := self._silver.get(entity):
            silver.try_out(batch)

    def _tables(self) -> Iterator[LocalTable]:
        for bronze in self._bronze.values():
            yield bronze.table
        for silver in self._silver.values():
            yield silver.layers.log
            yield silver.layers.base
        yield self._shapes.table
        if self.letters.table is not None:
            yield self.letters.table

    def _maintain(self) -> None:
        for bronze in self._bronze.values():
            bronze.table.upkeep.run(self._background, self._care)
        for silver in self._silver.values():
            silver.layers.maintain(self._background, self._care)
        if self.letters.table is not None:
            self.letters.table.upkeep.run(self._background, self._care)

    def _measure(self, entity: str, batch: Batch) -> None:
        """Once per run and entity, on the first batch that is large enough: which columns repeat."""
        if entity not in self._measured and (columns := repeating(batch)) is not None:
            self._measured.add(entity)
            self._wait()
            self._bronze[entity].encode(columns)
            if silver := self._silver.get(entity):
                silver.encode(columns)

    def _forget(self) -> None:
        self._taken: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()
        self._seconds: defaultdict[str, float] = defaultdict(float)
