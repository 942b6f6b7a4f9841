"""Every step's boundary times every workload: `kill -9` there, go on, and let the server judge.

    python bench/crash_matrix.py [--pg 15] [--steps copy,spilled] [--workloads streamed] [--json]

A cell is one kill at that step with that workload only, or two (A > B): one at A, and one at B while it comes up again.
A step that a workload never passes (a spill without a large transaction, say) is shown as "-". The judge is a second
slot of the server, which says where each change stands; per cell the table has lost/doubled events, and `ok` when both
are none and silver and gold are right.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from psycopg import conninfo

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.crash.arena import Arena, order_readings
from tests.crash.moments import AGAIN, ALTERING, AT_WORK, COPYING, GROWING, READING
from tests.crash.victim import Moment
from tests.crash.workload import ACTS, Act, Workload

from bitvelocity.oltp import EmbeddedPostgres, Server, connect, find_binaries, installed

ATTEMPTS = 8
"""Times that a workload is run for a step to be passed: maintenance comes only when enough was written."""
Blow = tuple[Moment, ...]
"""One kill, or one after the other."""


@dataclass(frozen=True, slots=True)
class Part:
    """Blows that share a database. `before` is done ahead of each act."""

    blows: Sequence[Blow]
    settings: str = ""
    acts: Mapping[str, Act] = field(default_factory=lambda: ACTS)
    before: Callable[[Arena], object] = lambda _: None


ROOM = {"fsync": "off", "max_connections": "60", "max_replication_slots": "60", "max_wal_senders": "60"}
"""Every part has a database of its own, whose slots stay."""
FOLDED = [pair for pair in AGAIN if pair[0].step == "base folded"]
PARTS = (
    Part([(moment,) for moment in AT_WORK]),
    Part([*((moment,) for moment in GROWING), *FOLDED], acts={"growth": Workload.grow}),
    Part([(moment,) for moment in ALTERING], before=lambda arena: arena.workload.alter()),
    Part([(moment,) for moment in COPYING], settings='feed = "copy"'),
    Part([(moment,) for moment in READING], before=lambda arena: order_readings(arena.project)),
    Part([pair for pair in AGAIN if pair not in FOLDED]),
)


@dataclass(frozen=True, slots=True)
class Cell:
    """One kill. `passed` is whether the step came at all."""

    step: str
    workload: str
    passed: bool
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    reconciled: bool = True

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.invented) and self.reconciled

    def __str__(self) -> str:
        if not self.passed:
            return "-"
        return "ok" if self.ok else f"{self.lost} lost, {self.doubled} doubled, {self.invented} invented"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--pg", type=int, help="major version of PostgreSQL (default: the newest here)")
    parser.add_argument("--steps", default="", help="parts of the names of steps, separated by commas")
    parser.add_argument("--workloads", default="", help="parts of the names of workloads, separated by commas")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    began, cells = time.monotonic(), list[Cell]()
    with scratch() as folder, server(folder, options.pg) as postgres:
        for number, part in enumerate(PARTS):
            blows = [blow for blow in part.blows if wanted(named(blow), options.steps)]
            acts = {name: act for name, act in part.acts.items() if wanted(name, options.workloads)}
            cells += matrix(folder / str(number), postgres, replace(part, blows=blows, acts=acts))
    if options.json:
        print(json.dumps([asdict(cell) | {"ok": cell.ok} for cell in cells]))
    passed = [cell for cell in cells if cell.passed]
    lost, doubled = sum(cell.lost for cell in passed), sum(cell.doubled for cell in passed)
    print(f"{len(passed)} cells: {lost} lost, {doubled} doubled; {sum(not c.ok for c in passed)} cells wrong; "
          f"{time.monotonic() - began:.0f} s", file=sys.stderr)  # fmt: skip
    sys.exit(0 if passed and all(cell.ok for cell in passed) else 1)


def wanted(name: str, parts: str) -> bool:
    return not parts or any(part.strip() in name for part in parts.split(","))


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that the server's account may enter."""
    folder = Path(tempfile.mkdtemp(prefix="bv-matrix-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def server(folder: Path, major: int | None) -> Iterator[Server]:
    found = next((one for one in installed() if one.major == major), None) if major else find_binaries()
    if found is None:
        sys.exit(f"There is no PostgreSQL {major} on this machine.")
    with EmbeddedPostgres(folder / "pg", binaries=found, settings=ROOM) as running:
        yield running


def named(blow: Blow) -> str:
    return " > ".join(map(str, blow))


def matrix(folder: Path, postgres: Server, part: Part) -> Iterator[Cell]:
    """All cells of a part, over one database; after a wrong one, over a new one."""
    with ExitStack() as stack:
        arena: Arena | None = None
        for blow in part.blows:
            row = []
            for workload in part.acts:
                if arena is None:
                    arena = stack.enter_context(new_arena(folder, postgres, part.settings))
                cell = strike(arena, blow, workload, part)
                row.append(cell)
                yield cell
                if not cell.ok:
                    arena = None
            told = "  ".join(f"{cell.workload}: {cell}" for cell in row)
            print(f"{named(blow):<34} {told}", file=sys.stderr, flush=True)


def new_arena(folder: Path, postgres: Server, settings: str) -> Arena:
    number = len(list(folder.glob("*"))) if folder.exists() else 0
    place, name = folder / f"arena_{folder.name}_{number}", f"arena_{folder.name}_{number}"
    place.mkdir(parents=True)
    with connect(postgres.dsn, autocommit=True) as admin:
        admin.execute(f"create database {name} template template0".encode())
    arena = Arena(place, conninfo.make_conninfo(postgres.dsn, dbname=name), settings=settings)
    arena.begin()
    return arena


def strike(arena: Arena, blow: Blow, workload: str, part: Part) -> Cell:
    """Arm, act until it dies or until it is clear that this workload never gets there, go on, judge."""

    def act() -> None:
        part.before(arena)
        part.acts[workload](arena.workload)

    for number, moment in enumerate(blow):
        if number:
            arena.start(moment=moment)
        else:
            arena.run().arm(moment)
            act()
        if not arena.struck(act, ATTEMPTS):
            arena.end()
            return Cell(named(blow), workload, passed=False)
        arena.await_death(moment)
    found = arena.judge()
    return Cell(named(blow), workload, True, found.lost, found.doubled, found.invented, found.verdict.ok)


if __name__ == "__main__":
    main()
