"""A database made by somebody else, adopted as it is, captured while it is written to, and proved."""

from __future__ import annotations

import json
import random
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bitvelocity.contracts import load_specs
from bitvelocity.flow import Database, Project, flowing, open_project, open_reader, prepare, prove, wait_until
from bitvelocity.flow.companion import beside
from bitvelocity.oltp import connect
from bitvelocity.serving import ask, trace

Run = Callable[..., subprocess.CompletedProcess[str]]
FOREIGN = Path(__file__).with_name("foreign.sql")

SHAPE = """
select n.nspname, c.relname, c.relkind, c.relreplident, c.relrowsecurity,
       (select array_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' ' || a.attnotnull order by a.attnum)
          from pg_attribute a where a.attrelid = c.oid and a.attnum > 0),
       (select array_agg(t.tgname order by 1) from pg_trigger t where t.tgrelid = c.oid),
       (select array_agg(k.conname order by 1) from pg_constraint k where k.conrelid = c.oid),
       (select array_agg(i.indexrelid::regclass::text order by 1) from pg_index i where i.indrelid = c.oid),
       array(select unnest(c.relacl)::text)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
 order by 1, 2
"""
"""Everything about the foreign tables that somebody could have changed."""

WRITES = (
    """insert into sales.customers ("E-Mail", balance, ratio, mood, tags, letter)
       values (%(n)s || '@new.org', %(n)s / 7.0, 'NaN', 'sad', array['x', null], repeat('toast' || %(n)s, 2000))""",
    """update sales.customers set "select" = 'seen ' || %(n)s where id between %(n)s and %(n)s + 4""",  # letters stay: TOAST
    "update sales.customers set seen = case when id %% 2 = 0 then 'infinity' else now() end where id %% 50 = %(n)s %% 50",
    "update sales.customers set balance = 'NaN', born = '-infinity', raw = null where id = 1 + %(n)s %% 200",
    "delete from sales.customers where id = 100 + %(n)s %% 100",  # and with it, by cascade, orders and their lines
    """insert into sales.orders select 10000 + %(n)s, date '2024-02-29' - %(n)s %% 90, null, %(n)s
       on conflict do nothing""",
    """insert into sales."Order Lines" select id, day, 9, 'late ' || %(n)s, 'infinity' from sales.orders
       order by id desc limit 3 on conflict do nothing""",
    "update sales.orders set day = day + 40 where id = 1 + %(n)s %% 500",  # to another partition, and its lines follow
    "update sales.orders set id = id + 100000 where id = 1 + (%(n)s * 7) %% 500",
    """update sales."Order Lines" set "What?" = '' where "Line No." = 2 and "Order Id" %% 40 = %(n)s %% 40""",
    """insert into "Odd Place"."table" values ('k' || %(n)s, null, %(n)s, '{"a": 1}') on conflict do nothing""",
    """update "Odd Place"."table" set "order" = "order" || '''' where "order" = 'k' || (%(n)s - 12)""",
    """update "Odd Place".orders set note = coalesce(note, '') || 'é', id = 'cd' where id in ('ab', 'cd')""",
    "update sales.nothing_known set a = %(n)s where id = (select min(id::text)::uuid from sales.nothing_known)",
    "insert into sales.nothing_known default values",
    "insert into sales.events (what) values ('during ' || %(n)s)",
    "update sales.events set what = what || '!' where what like '%%1'",
    "delete from sales.events where what = 'before 3'",
    "insert into sales.journal (line) values ('never captured')",
    "update sales.journal set line = line || '.'",  # would fail, were the table published
)


@pytest.fixture
def foreign(database: str) -> str:
    with connect(database) as connection:
        connection.execute(FOREIGN.read_text().encode())
    return database


@contextmanager
def writing(dsn: str) -> Iterator[None]:
    """Somebody else's application at work, from before the first snapshot until the end."""
    wrote = threading.Event()

    def work(stop: threading.Event) -> None:
        dice = random.Random(5)
        with connect(dsn, autocommit=True) as connection:
            for number in range(1, 1_000_000):
                if stop.is_set() and number > 2 * len(WRITES):
                    break
                with connection.transaction(force_rollback=number % 19 == 0):
                    for statement in dice.sample(WRITES, 3) if number > len(WRITES) else [WRITES[number - 1]]:
                        connection.execute(statement.encode(), {"n": number})
                wrote.set()

    with beside("somebody", work) as check:
        while not wrote.wait(0.1):
            check()
        yield
    check()


def shape(dsn: str) -> list[tuple[Any, ...]]:
    with connect(dsn) as connection:
        return connection.execute(SHAPE.encode()).fetchall()


def test_somebody_elses_database(foreign: str, open_folder: Path, bitvelocity: Run) -> None:
    """One journey, told in order: each part needs the one before it."""
    before = shape(foreign)
    folder = adopted(foreign, open_folder, bitvelocity)
    assert shape(foreign) == before, "adopting reads"
    project = open_project(folder)
    database = Database(foreign)
    prepare(project, foreign)
    with writing(foreign), flowing(project, database) as check:
        wait_until(project, 0, check)
        first = prove(project, database, check)
    assert first.ok, first.as_dict()
    with flowing(project, database) as check:
        last = prove(project, database, check)
    assert last.ok, last.as_dict()
    assert last.uncompared == ("events",)
    unfit = {entity.entity: entity.unfit for entity in last.entities if entity.unfit}
    assert unfit.keys() == {"customers"}, "infinite moments are no dates of the lake, and are counted"
    bronze_has_what_silver_cannot_hold(project)
    assert shape(foreign) == before, "capturing reads"


def adopted(foreign: str, open_folder: Path, bitvelocity: Run) -> Path:
    folder = open_folder / "adopted"
    done = bitvelocity("adopt", foreign, "--into", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    names = ["customers", "events", "nothing_known", "odd_place_orders", "order_lines", "sales_orders", "table"]
    assert sorted(made["entities"]) == names
    assert {spec.name for spec in load_specs(folder / "entities.py")} == set(names)
    problems = {problem["table"]: problem for problem in made["problems"]}
    told = {"sales.journal", "sales.sessions", "sales.slots", "sales.rich", "sales.by_mood"}
    if major(foreign) < 18:
        told.add("sales.orders")  # its generated column is published from 18 on
    assert problems.keys() == told
    assert "no primary key" in problems["sales.journal"]["reason"]
    assert "alter table sales.journal replica identity full" in problems["sales.journal"]["remedy"]
    assert "alter table sales.sessions set logged" in problems["sales.sessions"]["remedy"]
    assert "deferrable" in problems["sales.slots"]["reason"]
    assert "a view" in problems["sales.rich"]["reason"]
    return folder


def major(dsn: str) -> int:
    with connect(dsn) as connection:
        return connection.info.server_version // 10_000


def bronze_has_what_silver_cannot_hold(project: Project) -> None:
    with open_reader(project) as reader:
        rows = ask(reader, """select "E-Mail", born, _unfit from silver.customers where id = 202""").as_dicts()
        assert rows[0]["born"] is None
        assert "born" in json.loads(rows[0]["_unfit"])
        printed = ask(reader, "select after_born from bronze.customers where after_id = '202' limit 1").as_dicts()
        assert printed == [{"after_born": "0044-03-15 BC"}]
        kept = ask(reader, "select count(*) as n from bronze.events where after_what like 'before%'").as_dicts()
        assert kept[0]["n"] >= 9, "the snapshot has what was there, but for what the application deleted"
        life = trace(reader, project.specs, project.models, "odd_place_orders", "cd")
        assert {change.user for change in life.changes} == {None}, "nobody said who, and nobody is made up"


def test_what_cannot_be_adopted_is_not_made_up(foreign: str, open_folder: Path, bitvelocity: Run) -> None:
    done = bitvelocity("adopt", foreign, "--into", str(open_folder / "x"), "--schema", "nowhere")
    assert done.returncode == 1
    assert "no schema 'nowhere'" in done.stderr
    assert "Odd Place, public, sales" in done.stderr
    assert not (open_folder / "x").exists()


def test_one_schema(foreign: str, open_folder: Path, bitvelocity: Run) -> None:
    folder = open_folder / 'of "mine"'
    words = ["--into", str(folder), "--schema", "Odd Place", "--json"]
    done = bitvelocity("adopt", *words, env={"BITVELOCITY_DSN": foreign})
    assert done.returncode == 0, done.stderr
    assert sorted(json.loads(done.stdout)["entities"]) == ["orders", "table"]
    assert open_project(folder).settings.project.name == 'of "mine"'
