"""A project on a real database, its pipeline in a process that dies on demand, writers, and the judge."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.crash.judge import Finding, Witness, judge
from tests.crash.victim import PATIENCE, Moment, Victim
from tests.crash.workload import ENTITIES, MODELS, Workload, make_tables

from bitvelocity.capture import slot_health
from bitvelocity.flow import Project, open_project, order_reading, prepare, show_readings, wait_until
from bitvelocity.oltp import connect

MOST_ACTS = 12


class Arena:
    """From an empty database to a verdict. `dsn` is for the writers and the judge, `seen_as` for the pipeline."""

    def __init__(self, folder: Path, dsn: str, *, seen_as: str | None = None, settings: str = "") -> None:
        self.dsn = dsn
        self._folder = folder
        self._name = folder.name.lower().replace("-", "_")[-40:]
        make_tables(dsn)
        self.project = self._make_project(seen_as or dsn, settings)
        prepare(self.project, dsn)
        self.witness = Witness(dsn, f"witness_{self._name}")
        self.workload = Workload(dsn)
        self.victim: Victim | None = None
        self.spoiled = False
        """A verdict was bad: what comes later would be bad too."""

    def begin(self) -> None:
        """The witness listens, and the pipeline has its first snapshot, of empty tables."""
        self.witness.since = -1
        self.witness.begin()
        self.run()

    @contextmanager
    def stained(self) -> Iterator[None]:
        """Whatever fails in here spoils the arena."""
        try:
            yield
        except BaseException:
            self.spoiled = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self.workload.close()

    def end(self) -> None:
        """Kill the process that runs, if one does."""
        if self.victim is not None:
            self.victim.kill()
            self.victim = None

    def _make_project(self, dsn: str, settings: str) -> Project:
        root = self._folder / "project"
        root.mkdir()
        (root / "entities.py").write_text(ENTITIES)
        (root / "models").mkdir()
        for name, text in MODELS.items():
            (root / "models" / f"{name}.sql").write_text(text)
        toml = f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "bv_{self._name}"\n{settings}\n[lake]\nsync = false\n'
        (root / "bitvelocity.toml").write_text(toml)
        return open_project(root)

    @property
    def slot(self) -> str:
        return self.project.settings.capture.slot

    def start(self, *, moment: Moment | None = None, file_limit: int | None = None) -> Victim:
        """A new process of the pipeline."""
        self.victim = Victim(self.project.root, moment=moment, file_limit=file_limit)
        return self.victim

    def run(self) -> Victim:
        """A process that has come up and is not armed: the one that runs, or a new one."""
        if self.victim is None:
            self.start().wait_ready()
        assert self.victim
        return self.victim

    def strike(self, moment: Moment, act: Callable[[], object]) -> None:
        """Arm the pipeline, act until it dies at that moment: some steps come only with many commits."""
        self.run().arm(moment)
        act()
        deadline = time.monotonic() + PATIENCE
        while not self.struck(act) and time.monotonic() < deadline:
            act()  # on a busy machine upkeep comes with fewer of the commits
        self.await_death(moment)

    def strike_at_start(self, moment: Moment, act: Callable[[], object] | None = None) -> None:
        """See a process die that is armed from its start; `act` when it is level and nothing came of it yet."""
        assert self.victim is None
        self.start(moment=moment)
        if act:
            self.struck(act)
        self.await_death(moment)

    def struck(self, act: Callable[[], object], acts: int = MOST_ACTS) -> bool:
        """Whether the armed pipeline dies, of what was written or of so many acts more."""
        assert self.victim
        for left in reversed(range(acts)):
            if self.level_or_dead(self.victim):
                return True
            if left:
                act()
        return False

    def await_death(self, moment: Moment) -> None:
        """It ends at the moment that it was armed for, and in no other way."""
        assert self.victim
        victim, self.victim = self.victim, None
        status = victim.await_end()
        victim.kill()
        assert status == -signal.SIGKILL, f"{moment} was never passed: exit {status}, {victim.said}"

    def level_or_dead(self, victim: Victim) -> bool:
        """Wait until it is dead (True), or the lake has all that was written."""
        with connect(self.dsn, autocommit=True) as connection:
            row = connection.execute("select pg_logical_emit_message(true, 'level', '') - '0/0'::pg_lsn").fetchone()
        assert row
        try:
            wait_until(self.project, int(row[0]), victim.check)
        except AssertionError:
            return True
        return False

    def move(self, dsn: str) -> None:
        """The database is elsewhere now."""
        self.dsn = self.witness.dsn = dsn
        self.workload.close()
        self.workload = self.workload.elsewhere(dsn)

    def judge(self) -> Finding:
        """Come level and compare everything, when tables that are read again have been read."""
        check = self.run().check
        while any(run.open for run in show_readings(self.project).runs) or show_readings(self.project).orders:
            check()
            time.sleep(0.05)
        return judge(self.project, self.witness, self.run().check)


def streamed(arena: Arena) -> int:
    """Transactions that the server streamed before their commit, by its own count."""
    return slot_health(arena.dsn, arena.slot).streamed_transactions


def order_readings(project: Project) -> None:
    """Ask for tables to be read again."""
    for entity in ("items", "moves"):
        order_reading(project, "start", entity)
