"""The slot is lost: what was missed of tables without a key is found by counting rows that are equal."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from tests.forked import python

from bitvelocity.flow import Project, prepare
from bitvelocity.oltp import connect

from .test_recovering import KILLED, level, lose, make, recovered, rows, run

pytestmark = pytest.mark.every_postgres

ENTITIES = '''
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Numeric

class Log(Entity, table="logs", name="logs", key=(), audit=False, managed=False):
    """A table without a key, changed at will."""

    line: str | None
    amount: Annotated[Decimal | None, Numeric(10, 2)]

class Event(Entity, table="events", name="events", key=(), audit=False, managed=False):
    """A table without a key, and without an identity: it only grows."""

    what: str
'''
TABLES = (
    "create table logs (line text, amount numeric(10, 2))",
    "alter table logs replica identity full",
    "create table events (what text)",
    "alter table events replica identity full",
    "insert into logs values ('old', 1), ('old', 1)",
    "insert into events select 'e' || i % 7 from generate_series(1, 50) i",
)
FOLDED = """
select line, amount, sum(n) as n from (
  select after_line as line, after_amount as amount, 1 as n, * from bronze.logs where operation_type in ('INSERT', 'SNAPSHOT', 'UPDATE')
  union all select before_line, before_amount, -1, * from bronze.logs where operation_type in ('DELETE', 'UPDATE')
) where (_lsn, _ordinal) > coalesce((select max((_lsn, _ordinal)) from bronze.logs where operation_type = 'TRUNCATE'), (-1, -1))
group by all having sum(n) <> 0
"""


@pytest.fixture
def shop(open_folder: Path, database: str) -> Project:
    project = make(open_folder, database, ENTITIES, None)
    run(project, *TABLES)
    prepare(project, database)
    level(project)
    run(project, "alter table events replica identity nothing")
    return project


def source(project: Project) -> Counter[tuple[str | None, str | None]]:
    with connect(project.settings.database.dsn, autocommit=True) as connection:
        return Counter((line, amount) for line, amount in connection.execute("select line, amount::text from logs"))


def held(project: Project) -> Counter[tuple[str | None, str | None]]:
    return Counter({(row["line"], row["amount"]): int(row["n"]) for row in rows(project, FOLDED)})


def scramble(project: Project, seed: int) -> None:
    """Rows come, change and go, many of them equal: NULL beside ''."""
    draw = random.Random(seed)
    lines, amounts = ["a", "b", "", None, "\x1f", "\x1e"], ["1", "1.5", "10.00", "NaN", None]
    with connect(project.settings.database.dsn, autocommit=True) as connection, connection.transaction():
        for _ in range(60):
            row = [draw.choice(lines), draw.choice(amounts)]
            one = "(select ctid from logs order by random() limit 1)"
            match draw.choice("iiiud"):
                case "i":
                    connection.execute("insert into logs select %s, %s::numeric from generate_series(1, 3)", row)
                case "u":
                    connection.execute(f"update logs set line = %s, amount = %s where ctid = {one}".encode(), row)
                case "d":
                    connection.execute(f"delete from logs where ctid = {one}".encode())


def test_rows_that_are_equal_are_counted(shop: Project) -> None:
    run(shop, "truncate logs")
    scramble(shop, 1)
    level(shop)
    assert held(shop) == source(shop)
    lose(shop)
    before = source(shop)
    scramble(shop, 2)
    run(shop, "insert into events values ('e1'), ('e1'), ('new')")
    after = source(shop)
    found = recovered(shop)
    assert found["public.logs"].buckets > 0
    assert dict(found["public.logs"].changes) == {
        op: n for op, n in (("c", (after - before).total()), ("d", (before - after).total())) if n
    }
    assert dict(found["public.events"].changes) == {"c": 3}
    assert held(shop) == after
    places = rows(shop, "select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.logs")[0]
    assert places["n"] == places["places"]
    scramble(shop, 3)
    level(shop)
    assert held(shop) == source(shop)
    assert [dict(one.changes) for one in recovered(shop, force=True).values()] == [{}, {}], "nothing is told twice"


def test_killed_while_they_are_counted(shop: Project) -> None:
    """Each next one counts what the one before had committed: nothing is told twice, nothing is left out."""
    run(shop, "truncate logs")
    scramble(shop, 4)
    level(shop)
    lose(shop)
    killed = []
    for seed, what in enumerate(("bronze staged", "bronze committed", "lake committed", "published", "confirmed"), 5):
        scramble(shop, seed)
        run(shop, "insert into events values ('e1'), ('e1')")
        done = python("-c", KILLED, str(shop.root), "1", what)
        assert done.returncode in (0, -9), done.stderr
        killed += [what] if done.returncode else []
    assert len(killed) == 5
    scramble(shop, 3)
    level(shop)
    assert held(shop) == source(shop)
    places = rows(shop, "select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.logs")[0]
    assert places["n"] == places["places"]
    counted = rows(shop, "select count(*) as n from bronze.events")[0]["n"]
    assert counted == 50 + 2 * len(killed)
    assert [dict(one.changes) for one in recovered(shop, force=True).values()] == [{}, {}], "nothing is told twice"


def test_rows_that_an_alter_filled_are_told_anew(shop: Project) -> None:
    """One of them is deleted in a shape in which it never came: that counts for nothing, now and later."""
    run(shop, "alter table logs add kind text default 'k'", "insert into logs values ('new', 2, 'l')")
    run(shop, "delete from logs where ctid = (select ctid from logs where line = 'old' limit 1)")
    level(shop)
    lose(shop)
    assert dict(recovered(shop)["public.logs"].changes) == {"c": 1, "d": 2}
    run(shop, "insert into logs values ('old', 1, 'k')")
    level(shop)
    assert dict(recovered(shop, force=True)["public.logs"].changes) == {}
