"""`bitvelocity up` and PostgreSQL killed with SIGKILL while a shop writes; at the end every change is there once.

    python bench/kills.py [--kills 20] [--postgres 5] [--lines 20000] [--seed 7] [--bus embedded] [--route kafka]

Two applications write all the while: the replay of orders, and a stock room that COPYs, rolls back to savepoints, moves
keys, TRUNCATEs, and fills transactions so large that the server streams them before they commit. The moments of the
kills are drawn from the seed. Judge is the server itself: a second replication slot, read when all is over, says how
many row changes were ever committed. With `--bus` all changes go to topics first, and the lake reads those.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from route_beside import is_level, section, verdict
from stock_room import PATIENCE, StockRoom, wait_until

from bitvelocity.capture import slot_health
from bitvelocity.flow import local_servers, open_project, open_reader, prepare, source_database
from bitvelocity.oltp import Server, attach, connect
from bitvelocity.serving import ask
from bitvelocity.settings import TRANSPORTS
from bitvelocity.streams.engines import DECLARED
from bitvelocity.templates import copy_project
from bitvelocity.templates.commerce.replay import Replay

LOOK_S = 0.5
TAIL = 30
"""Lines of each log that are told when a run fails."""
STOCK = '''

class Stock(Entity, table="stock", name="stock", audit=False):
    """What the stock room counts."""

    sku: Annotated[int, Key()]
    place: str | None
    pieces: Annotated[Decimal | None, Numeric(12, 3)]
'''
EVENTS = """
select coalesce(sum(case when kind = 'T' then ('x' || encode(substr(data, 2, 4), 'hex'))::bit(32)::int else 1 end), 0)
  from pg_logical_slot_peek_binary_changes('witness', null, null, 'proto_version', '1',
                                           'publication_names', 'bitvelocity') as m,
       lateral chr(get_byte(data, 0)) as kind
 where kind in ('I', 'U', 'D', 'T')
"""
"""A TRUNCATE is one event of each of its tables; its message begins with how many they are."""


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    kills_of_up: int = 0
    kills_of_postgres: int = 0
    lines: int = 0
    streamed: int = 0
    """Transactions that the server streamed before their commit, since its last start."""
    events: int = 0
    """Row changes by the server's own count."""
    bronze: int = 0
    distinct: int = 0
    revenue: str = ""
    expected: str = ""
    reconciled: bool = False
    stopped_well: bool = False
    route: tuple[bool, str] = (True, "none")
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing lost, nothing doubled, and the books agree."""
        same = self.events == self.bronze == self.distinct and self.revenue == self.expected
        return same and self.reconciled and self.stopped_well and self.route[0]


def main() -> None:
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # lost connections are what this is about
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="kills of up")
    parser.add_argument("--postgres", type=int, default=5, help="kills of PostgreSQL")
    parser.add_argument("--lines", type=int, default=20_000, help="order lines to replay")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--bus", default="", choices=("", "embedded", "kafka", "nats", "rabbitmq"), help="let changes go over this transport")
    parser.add_argument("--route", default="", choices=("", *DECLARED), help="give changes to this transport too, beside the lake")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with scratch() as folder:
        outcome = run(
            folder, options.kills, options.postgres,
            lines=options.lines, seed=options.seed, bus=options.bus, route=options.route,
        )  # fmt: skip
        if options.json:
            print(json.dumps(asdict(outcome) | {"ok": outcome.ok}))
        else:
            show(outcome)
        if not outcome.ok:
            sys.exit(1)


def show(outcome: Outcome) -> None:
    rows = {
        "kills of up": outcome.kills_of_up,
        "kills of PostgreSQL": outcome.kills_of_postgres,
        "order lines written": outcome.lines,
        "transactions streamed since the last kill": outcome.streamed,
        "row changes, by the server's own count": outcome.events,
        "events in bronze": outcome.bronze,
        "distinct positions in bronze": outcome.distinct,
        "revenue in gold": outcome.revenue,
        "revenue in the replay's books": outcome.expected,
        "reconcile": "OK" if outcome.reconciled else "FAILED",
        "up, asked to stop": "stopped" if outcome.stopped_well else "FAILED",
        "route": outcome.route[1],
        "verdict": "nothing lost, nothing doubled" if outcome.ok else "WRONG",
    }
    for name, value in rows.items():
        print(f"{name:<42} {value:,}" if isinstance(value, int) else f"{name:<42} {value}")
    print(f"{outcome.seconds:.0f} s")


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that the server's account may enter, gone at the end with the data that lies elsewhere; kept when a run fails."""
    folder = Path(tempfile.mkdtemp(prefix="bv-kills-"))
    folder.chmod(0o755)
    try:
        yield folder
    except BaseException:
        tell_what_is_kept(folder)
        raise
    for link in folder.glob("shop/.bitvelocity/pg/*"):
        if link.is_symlink():
            shutil.rmtree(link.resolve(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def tell_what_is_kept(folder: Path) -> None:
    """Where a run that failed has left its lake and its data, and the last words of each of its programs."""
    print(f"Kept, for whoever looks for the cause: {folder}", file=sys.stderr)
    logs = [folder / "shop" / "up.log", *folder.glob("shop/.bitvelocity/*/postgres.log"), *folder.glob("shop/.bitvelocity/*/log")]
    for log in logs:
        if log.exists():
            last = log.read_text(errors="replace").splitlines()[-TAIL:]
            print(f"--- the end of {log}", *last, sep="\n", file=sys.stderr)


def run(folder: Path, kills: int, postgres: int, *, lines: int, seed: int, bus: str = "", route: str = "") -> Outcome:
    """The whole story: prepare, write and kill, come to rest, judge."""
    began = time.monotonic()
    dice = random.Random(seed)
    victims = ["up"] * (kills - kills // 4) + ["up, starting"] * (kills // 4) + ["postgres"] * postgres
    dice.shuffle(victims)
    outcome = Outcome()
    project = make_project(folder / "shop", bus, route)
    servers = [name for one in (bus, route) if (name := one.partition("-")[0]) in TRANSPORTS]
    with local_servers(open_project(project).settings, servers, lambda _: None), Up(project) as up:
        server = up.server()
        with connect(server.dsn, autocommit=True) as connection:
            connection.execute("select pg_create_logical_replication_slot('witness', 'pgoutput')")
        with Applications(server.dsn, lines=lines, seed=seed, rounds=len(victims) + 1, alive=up.alive) as applications:
            for victim in victims:
                applications.write_on(dice.uniform(0.1, 0.9))
                time.sleep(dice.uniform(0, 0.3))  # not to wait for anything: the moment is to be random
                kill(victim, up, dice, outcome)
            applications.finish()
        judge(project, applications, outcome, up.alive)
        if route:
            wait_until(lambda: is_level(project), up.alive)
        outcome.stopped_well = up.stop() == 0
        outcome.route = verdict(project, route) if route else outcome.route
    outcome.seconds = time.monotonic() - began
    return outcome


def make_project(root: Path, bus: str, route: str) -> Path:
    """The shop and its stock room, on a server that streams transactions from 64 kB on."""
    copy_project("commerce", root)
    if bus:
        with (root / "bitvelocity.toml").open("a", encoding="utf-8") as settings:
            settings.write(f'\n[streams]\nroute = "bus"\nbus = "{bus}"\npartitions = 2\n')
    if route:
        with (root / "bitvelocity.toml").open("a", encoding="utf-8") as settings:
            settings.write(section(route))
    with (root / "entities.py").open("a", encoding="utf-8") as entities:
        entities.write(STOCK)
    project = open_project(root)
    with source_database(project) as database:
        prepare(project, database.dsn)
        with connect(database.dsn, autocommit=True) as connection:
            connection.execute("alter system set logical_decoding_work_mem = '64kB'")
    return root


def kill(victim: str, up: Up, dice: random.Random, outcome: Outcome) -> None:
    """Strike, and see that all comes up again."""
    if victim == "postgres":
        outcome.kills_of_postgres += 1
        up.kill_server()
        return
    outcome.kills_of_up += 1
    if victim == "up, starting":
        up.kill()
        up.spawn()
        time.sleep(dice.uniform(0.2, 3))  # again the moment, from the first import to the first steps
    up.kill()
    up.spawn()
    up.wait_ready()


def judge(project: Path, applications: Applications, outcome: Outcome, alive: Callable[[], None]) -> None:
    """Ask the server, the lake, reconcile and the books."""
    done = subprocess.run([*command("reconcile", project), "--json"], capture_output=True, text=True, check=False)
    alive()
    if done.returncode:
        print(done.stdout, done.stderr, file=sys.stderr)
    outcome.reconciled = done.returncode == 0
    outcome.lines = applications.replay.of_lines
    outcome.streamed = slot_health(applications.dsn).streamed_transactions
    with connect(applications.dsn) as connection:
        outcome.events = (connection.execute(EVENTS).fetchone() or (0,))[0]
    declared = open_project(project)
    events = " union all ".join(f"select _lsn, _ordinal from bronze.{spec.name}" for spec in declared.specs)
    with open_reader(declared) as reader:
        count = "select count(*) as events, count(distinct (_lsn, _ordinal)) as places"
        found = ask(reader, f"{count} from ({events})").as_dicts()[0]
        revenue = ask(reader, "select sum(total_revenue) as revenue from gold.daily_sales").as_dicts()[0]
    outcome.bronze, outcome.distinct = found["events"], found["places"]
    outcome.revenue, outcome.expected = str(revenue["revenue"]), str(applications.replay.expected().revenue)


def command(name: str, project: Path) -> list[str]:
    return [sys.executable, "-m", "bitvelocity", name, "--project", str(project)]


class Up:
    """`bitvelocity up` in a process of its own, from `with` to its end."""

    def __init__(self, project: Path) -> None:
        self._project = project
        self._log = project / "up.log"
        self._process: subprocess.Popen[str]

    def __enter__(self) -> Self:
        self.spawn()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        if server := attach(self._project / ".bitvelocity" / "pg"):
            os.kill(server.pid, signal.SIGINT)

    def spawn(self) -> None:
        self._note("up is started")
        with self._log.open("a") as log:
            words = [*command("up", self._project), "--json"]
            self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True)

    def wait_ready(self) -> None:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        said = self._process.stdout.readline() if ready else ""
        if '"ready"' not in said:
            raise RuntimeError(f"up did not come up: {said}\n{self._log.read_text()[-2000:]}")

    def kill(self) -> None:
        self._note("up is killed")
        self._process.kill()
        self._gone()

    def stop(self) -> int:
        """Its exit code, asked politely."""
        self._process.terminate()
        return self._gone()

    def server(self) -> Server:
        found = attach(self._project / ".bitvelocity" / "pg")
        if found is None:
            raise RuntimeError("PostgreSQL does not run")
        return found

    def kill_server(self) -> None:
        """SIGKILL to the postmaster; `up` must bring another one by itself."""
        self.alive()
        victim = self.server().pid
        self._note("PostgreSQL is killed")
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: (there := attach(self._project / ".bitvelocity" / "pg")) and there.pid != victim, self.alive)

    def alive(self) -> None:
        if self._process.poll() is not None:
            assert self._process.stdout
            raise RuntimeError(f"up ended by itself: {self._process.stdout.read()}\n{self._log.read_text()[-2000:]}")

    def _note(self, what: str) -> None:
        """Into its log, between its own words."""
        with self._log.open("a") as log:
            log.write(f"--- {datetime.now(UTC):%H:%M:%S.%f} {what}\n")

    def _gone(self) -> int:
        assert self._process.stdout
        self._process.stdout.close()
        return self._process.wait(PATIENCE)


class Applications:
    """The replay and the stock room, each in a thread, writing as far as they are allowed to."""

    def __init__(self, dsn: str, *, lines: int, seed: int, rounds: int, alive: Callable[[], None]) -> None:
        self.dsn = dsn
        self._alive = alive
        self.replay = Replay(dsn, lines=lines, synthetic=True, seed=seed)
        self._rounds, self._round = rounds, 0
        self._allowed = self._written = 0.0
        self._moved = threading.Condition()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._guard, args=[work]) for work in (self._sell, self._count)]
        self._dice = random.Random(seed)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error:
            self._fail(error)
        for thread in self._threads:
            thread.join()

    def write_on(self, share: float) -> None:
        """Let them write the next part of the story; come back when `share` of it is written."""
        began, self._round = self._round / self._rounds, self._round + 1
        self._allow(self._round / self._rounds)
        self._wait(began + share / self._rounds)

    def finish(self) -> None:
        """Let them write to the end."""
        self._allow(1.0)
        self._wait(1.0)
        for thread in self._threads:
            thread.join()
        self._check()

    def _sell(self) -> None:
        for progress in self.replay.run():
            self._pass(progress.lines / progress.of_lines, leads=True)
        self._pass(1.0, leads=True)

    def _count(self) -> None:
        room = StockRoom(self.dsn, self._dice)
        acts = 8 * self._rounds
        for number in range(acts):
            self._pass(number / acts)
            room.act()
        room.flood()

    def _allow(self, share: float) -> None:
        with self._moved:
            self._allowed = share
            self._moved.notify_all()

    def _pass(self, share: float, *, leads: bool = False) -> None:
        """Wait at the gate. The one that leads tells the kills how far the story is."""
        with self._moved:
            if leads:
                self._written = share
                self._moved.notify_all()
            self._moved.wait_for(lambda: self._failures or self._allowed >= share)  # some kills take minutes on a busy machine
            self._check()

    def _wait(self, share: float) -> None:
        """Also for an `up` that ends by itself: it stops PostgreSQL, and the applications would only miss that."""
        deadline = time.monotonic() + PATIENCE
        with self._moved:
            while not self._moved.wait_for(lambda: self._failures or self._written >= share, LOOK_S):
                self._alive()
                if time.monotonic() > deadline:
                    raise TimeoutError("the applications do not get on")
            self._check()

    def _check(self) -> None:
        if self._failures:
            raise self._failures[0]

    def _fail(self, error: BaseException) -> None:
        with self._moved:
            self._failures.append(error)
            self._moved.notify_all()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # handed to whoever waits
            self._fail(error)


if __name__ == "__main__":
    main()
