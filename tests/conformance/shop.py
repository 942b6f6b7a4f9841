"""A small project whose table is read beside the stream, and people who write to it meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from psycopg import conninfo
from tests.forked import python

from bitvelocity.capture.snapshots import Run, read_book
from bitvelocity.flow import (
    Database,
    Project,
    flowing,
    open_project,
    open_reader,
    prepare,
    prove,
    show_readings,
)
from bitvelocity.flow.companion import beside
from bitvelocity.lakehouse import read_watermark
from bitvelocity.oltp import connect
from bitvelocity.serving import ask

ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False):
    """A thing with a key of two columns, of which one is text."""

    region: Annotated[str, Key()]
    id: Annotated[int, Key()]
    name: str | None
    large: str | None
'''
MORE = '''

class Other(Entity, table="others", name="others", audit=False):
    """A table that comes later."""

    id: Annotated[int, Key()]
    name: str | None
    large: str | None
'''
MODEL = """-- model: counted
-- key: region
-- columns:
--   region  text
--   n       bigint
select region, count(*) as n from silver.things group by region
"""
PATIENCE = 60.0


def make_shop(folder: Path, dsn: str, *, entities: str = ENTITIES) -> Project:
    """A project whose table has 3000 rows, and its lake nothing yet."""
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "counted.sql").write_text(MODEL)
    (folder / "entities.py").write_text(entities)
    name = conninfo.conninfo_to_dict(dsn)["dbname"]
    (folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "readings_{name}"\n')
    prepare(open_project(folder), dsn)
    with connect(dsn, autocommit=True) as connection:
        connection.execute("insert into things select 'r' || i % 3, i, 'first', repeat('x', 50) from generate_series(1, 3000) i")
    return open_project(folder)


@contextmanager
def running(project: Project) -> Iterator[Callable[[], None]]:
    with flowing(project, Database(project.settings.database.dsn)) as check:
        until(lambda: read_watermark(project.lake) is not None, check)
        yield check


def until(claim: Callable[[], object], check: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + PATIENCE
    while not claim():
        check()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def last_run(project: Project, entity: str = "things") -> Run | None:
    return next((run for run in reversed(read_book(project.lake).runs) if run.entity == entity), None)


def in_state(project: Project, *states: str, entity: str = "things") -> bool:
    run = last_run(project, entity)
    return run is not None and run.state in states and not show_readings(project).orders


def one(project: Project, query: str) -> Any:
    with open_reader(project) as reader:
        return ask(reader, query).as_dicts()[0]


def proved(project: Project, check: Callable[[], None]) -> None:
    verdict = prove(project, Database(project.settings.database.dsn), check)
    assert verdict.ok, verdict.as_dict()


@contextmanager
def meanwhile(work: Callable[[threading.Event], None]) -> Iterator[None]:
    """Somebody works in a thread of his own until told to stop; what befell him is the test's failure."""
    with beside("somebody", work) as check:
        yield
    check()


def written_to(dsn: str, seed: int = 1) -> AbstractContextManager[None]:
    """Somebody who changes things all the while: values, keys, rows come and go; some transactions are long."""
    dice = random.Random(seed)

    def work(stop: threading.Event) -> None:
        with connect(dsn) as connection:
            while not stop.is_set():
                for _ in range(dice.randint(1, 20)):
                    row = dice.randint(1, 3500)
                    connection.execute(dice.choice(STATEMENTS), {"row": row, "word": f"w{dice.random()}"})
                if dice.random() < 0.1:
                    time.sleep(0.05)
                connection.commit() if dice.random() < 0.9 else connection.rollback()

    return meanwhile(work)


STATEMENTS = (
    "update things set name = %(word)s where id = %(row)s",
    "update things set name = %(word)s where id between %(row)s and %(row)s + 20",
    "delete from things where id = %(row)s",
    "insert into things values ('r' || %(row)s %% 3, %(row)s, %(word)s, null) on conflict do nothing",
    "update things set id = id + 100000 where id = %(row)s and not exists (select from things where id = %(row)s + 100000)",
)


KILLED = Path(__file__).with_name("killed.py")


def run_killed(project: Project, left: int, what: str = "") -> int:
    done = python(str(KILLED), str(project.root), str(left), what)
    assert done.returncode in (0, -9), done.stderr
    return done.returncode


def no_place_twice(project: Project, entity: str) -> None:
    if read_watermark(project.lake) is None:
        return
    found = one(project, f"select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.{entity}")
    assert found["n"] == found["places"]
