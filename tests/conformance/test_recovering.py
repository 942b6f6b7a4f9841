"""The slot is lost, the source goes on: what was missed is found, deletes too, and the stream goes on from there."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.forked import python

from bitvelocity.capture import slot_health
from bitvelocity.capture.snapshots import Found, read_book
from bitvelocity.errors import CaptureError
from bitvelocity.flow import (
    Database,
    Pipeline,
    Project,
    flowing,
    open_project,
    open_reader,
    prepare,
    prove,
    recover,
)
from bitvelocity.lakehouse import read_watermark
from bitvelocity.oltp import connect
from bitvelocity.serving import ask

pytestmark = pytest.mark.every_postgres

ENTITIES = '''
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False, managed=False):
    """A thing."""

    region: Annotated[str, Key()]
    id: Annotated[int, Key()]
    name: str | None

class Log(Entity, table="logs", name="logs", key=(), audit=False, managed=False):
    """A table without a key."""

    line: str | None
'''
MODEL = """-- model: counted
-- key: region
-- columns:
--   region  text
--   n       bigint
select region, count(*) as n from silver.things group by region
"""
TABLES = (
    "create table things (region text, id bigint, name text, primary key (region, id))",
    "insert into things select 'r' || i % 3, i, 'first' || i from generate_series(1, 5000) i",
    "create table logs (line text)",
    "alter table logs replica identity full",
    "insert into logs values ('one'), ('two')",
)
MISSED = (
    "update things set name = 'second' where id between 1 and 10",
    "update things set id = id + 100000 where id between 11 and 15",
    "delete from things where id between 100 and 119",
    "insert into things values ('r9', 1, null), ('r9', 2, '')",
    "insert into logs values ('three')",
)


def make(open_folder: Path, database: str, entities: str = ENTITIES, model: str | None = MODEL) -> Project:
    folder = open_folder / "shop"
    (folder / "models").mkdir(parents=True)
    if model:
        (folder / "models" / "counted.sql").write_text(model)
    (folder / "entities.py").write_text(entities)
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    (folder / "bitvelocity.toml").write_text(f'[database]\ndsn = "{database}"\n[capture]\nslot = "lost_{name}"\n')
    return open_project(folder)


@pytest.fixture
def shop(open_folder: Path, database: str) -> Project:
    project = make(open_folder, database)
    run(project, *TABLES)
    prepare(project, database)
    level(project)
    return project


def run(project: Project, *statements: str) -> None:
    with connect(project.settings.database.dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def level(project: Project) -> None:
    """Start a pipeline, prove the lake, stop it."""
    source = Database(project.settings.database.dsn)
    with flowing(project, source) as check:
        verdict = prove(project, source, check)
    assert verdict.ok, verdict.as_dict()


def lose(project: Project) -> None:
    """Whoever was killed may hold the slot for a moment yet."""
    held = f"from pg_replication_slots where slot_name = '{project.settings.capture.slot}' and active"
    run(project, f"select pg_terminate_backend(active_pid, 30000) {held}")
    run(project, f"select pg_drop_replication_slot('{project.settings.capture.slot}')")


def recovered(project: Project, **how: bool) -> dict[str, Found]:
    return {found.relation: found for found in recover(project, Database(project.settings.database.dsn), **how)}


def rows(project: Project, query: str) -> list[dict[str, Any]]:
    with open_reader(project) as reader:
        return ask(reader, query).as_dicts()


def test_what_was_missed_is_found_and_nothing_else(shop: Project) -> None:
    lose(shop)
    run(shop, *MISSED)
    with Pipeline(shop) as pipeline, pytest.raises(CaptureError) as caught:
        pipeline.connect(shop.settings.database.dsn)
    assert caught.value.code == "SlotGone"
    assert "bitvelocity recover" in str(caught.value.remedy)
    before = read_watermark(shop.lake)
    found = recovered(shop)
    things = found["public.things"]
    assert dict(things.changes) == {"u": 10, "c": 7, "d": 25}
    assert 0 < things.differing < things.buckets
    assert dict(found["public.logs"].changes) == {"c": 1}
    told = "select operation_type, count(*) as n from bronze.things where _lsn = (select max(_lsn) from bronze.things) group by 1"
    assert {row["operation_type"]: row["n"] for row in rows(shop, told)} == {"UPDATE": 10, "INSERT": 7, "DELETE": 25}
    after = read_watermark(shop.lake)
    assert before is not None
    assert after is not None
    assert after.position > before.position
    level(shop)
    run(shop, "delete from things where id = 5000")
    level(shop)
    events = rows(shop, "select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.things")
    assert events[0]["n"] == events[0]["places"] == 5000 + 42 + 1


def test_an_invalidated_slot_is_replaced(shop: Project) -> None:
    try:
        run(shop, "alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
        for _ in range(6):
            run(shop, "select pg_logical_emit_message(false, 'x', repeat('x', 1000000)) from generate_series(1, 17)",
                "select pg_switch_wal()", "checkpoint")  # fmt: skip
    finally:
        run(shop, "alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")
    health = slot_health(shop.settings.database.dsn, shop.settings.capture.slot)
    assert health.wal_status == "lost"
    assert "bitvelocity recover" in str(health.remedy)
    run(shop, *MISSED)
    assert recovered(shop)["public.things"].changes.total() == 42
    level(shop)




def test_the_same_rows_have_the_same_sums_whatever_their_types(open_folder: Path, database: str) -> None:
    """Of an adopted table with a column of each kind: nothing differs, so nothing is read."""
    folder = open_folder / "kinds"
    with connect(database, autocommit=True) as connection:
        connection.execute(
            "create table kinds (id uuid, at timestamptz, t text, b boolean, i2 smallint, i4 int, i8 bigint, n numeric(12,4), u numeric, "
            "d date, ts timestamp, ti time, j jsonb, y bytea, c char(5), iv interval, f8 float8, f4 real, primary key (id, at))"
        )
        connection.execute(
            "insert into kinds select gen_random_uuid(), timestamptz '2024-01-15 03:00+00' + i * interval '1.000001 s', "
            "case when i % 5 = 0 then null else E'x\\t\\\\' || i end, i % 2 = 0, i, i, i, i / 8.0, 1.50, date '2024-01-01' + i, "
            "timestamp '2024-01-01 00:00' + i * interval '1.5 s', '10:00', '{\"a\": 1}', '\\x00ff5c', 'ab', '1 day', i / 4.0, i / 4.0 "
            "from generate_series(1, 1000) i"
        )
        connection.execute("alter table kinds replica identity full")
    from bitvelocity.flow import adopt_database

    adopt_database(database, folder, None)
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    toml = folder / "bitvelocity.toml"
    toml.write_text(toml.read_text() + f'\n[capture]\nslot = "lost_{name}"\n')
    project = open_project(folder)
    prepare(project, project.settings.database.dsn)
    level(project)
    found = recovered(project, force=True)["public.kinds"]
    assert (found.differing, dict(found.changes)) == (0, {})
    level(project)


def test_what_is_refused(shop: Project) -> None:
    with pytest.raises(CaptureError, match="is good"):
        recovered(shop)
    lose(shop)
    book = shop.lake / "snapshots.json"
    kept = book.read_text()
    told = json.loads(kept)
    book.write_text(json.dumps(told | {"source": ["1", told["source"][1]]}))
    with pytest.raises(CaptureError, match="another database cluster"):
        recovered(shop)
    book.write_text(json.dumps(told | {"source": [told["source"][0], 7]}))
    with pytest.raises(CaptureError, match="timeline 7"):
        recovered(shop)
    book.write_text(kept)
    mark = shop.lake / "watermark.json"
    said = json.loads(mark.read_text())
    mark.write_text(json.dumps(said | {"position": 1 << 60}))
    with pytest.raises(CaptureError, match="ahead of the source"):
        recovered(shop)
    mark.write_text(json.dumps(said))
    assert not read_book(shop.lake).recovering
    book.write_text(json.dumps(told | {"source": [told["source"][0], 7]}))
    recovered(shop, other_timeline=True)
    level(shop)


def test_a_lake_that_is_empty_has_nothing_to_recover(open_folder: Path, database: str) -> None:
    with pytest.raises(CaptureError, match="nothing that could be recovered"):
        recovered(make(open_folder, database))


KILLED = """
import os, sys
from pathlib import Path
from bitvelocity.flow import Pipeline, open_project
left, what = int(sys.argv[2]), sys.argv[3]
def fault(step):
    global left
    if what in step:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), 9)
project = open_project(Path(sys.argv[1]))
with Pipeline(project, at=fault) as pipeline:
    pipeline.recover(project.settings.database.dsn)
os._exit(0)
"""


@pytest.mark.parametrize("goes_on", ["recover", "up"])
def test_killed_in_the_middle(shop: Project, goes_on: str) -> None:
    """Whatever was written: the next one finds what is still missing; `up` alone would do as well."""
    lose(shop)
    dice, kills = random.Random(goes_on), 0
    for what in ("book written", "bronze", "silver", "lake committed", "published", "gold", "confirmed"):
        run(shop, *(statement for statement in MISSED if "insert into things" not in statement))
        done = python("-c", KILLED, str(shop.root), str(dice.randint(1, 2)), what)
        assert done.returncode in (0, -9), done.stderr
        kills += done.returncode != 0
    assert kills > 2
    run(shop, *MISSED)
    if goes_on == "recover":
        recovered(shop, force=True)
    level(shop)
    assert not read_book(shop.lake).recovering
    events = rows(shop, "select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.things")
    assert events[0]["n"] == events[0]["places"]
