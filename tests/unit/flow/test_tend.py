"""Partitions are made while a pipeline runs, and soon after the source was away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bitvelocity.flow import Project, open_project, prepare
from bitvelocity.flow.tend import EVERY_SECONDS, FIRST_PAUSE, Tender
from bitvelocity.oltp import connect

ENTITIES = '''
from datetime import datetime
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Partition

class Thing(Entity, table="things", name="things", audit=False, partition=Partition(column="at", ahead=1, behind=0)):
    """A thing."""

    id: Annotated[int, Key()]
    at: Annotated[datetime, Key()]
    name: str | None
'''
AWAY = "host=127.0.0.1 port=9 dbname=d user=u"


def partitions(dsn: str) -> list[Any]:
    with connect(dsn, autocommit=True) as connection:
        query = "select inhrelid::regclass::text from pg_inherits where inhparent = 'things'::regclass order by 1"
        return [name for (name,) in connection.execute(query)]


def test_a_source_that_was_away_is_asked_again_soon(make_project: Callable[[str], Project], database: str) -> None:
    project = make_project(database)
    (project.root / "entities.py").write_text(ENTITIES)
    project = open_project(project.root)
    prepare(project, database)
    made = partitions(database)
    told: list[tuple[str | None, float]] = []
    now = [0.0]
    tender = Tender(project, lambda error, pause: told.append((error.code, pause)), clock=lambda: now[0])
    with connect(database, autocommit=True) as connection:
        connection.execute(f"drop table {made[-1]}")

    def tend(dsn: str, *, later: float) -> list[Any]:
        now[0] += later
        tender.tend(dsn)
        return partitions(database)

    assert tend(AWAY, later=EVERY_SECONDS) == tend(database, later=FIRST_PAUSE - 1) == made[:-1]
    assert tend(AWAY, later=1) == tend(database, later=2 * FIRST_PAUSE - 1) == made[:-1]
    assert told == [("NoConnection", FIRST_PAUSE), ("NoConnection", 2 * FIRST_PAUSE)]
    assert tend(database, later=1) == made
    tend(AWAY, later=EVERY_SECONDS - 1)
    assert len(told) == 2, "what succeeded is done again an hour later, not before"
    tend(AWAY, later=1)
    assert told[2] == ("NoConnection", FIRST_PAUSE), "pauses begin anew"
