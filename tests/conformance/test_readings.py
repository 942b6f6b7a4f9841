"""Tables read beside the stream: whatever is written meanwhile, silver is the source, and each event stands once."""

from __future__ import annotations

import random
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conformance.shop import (
    ENTITIES,
    MORE,
    in_state,
    last_run,
    make_shop,
    meanwhile,
    no_place_twice,
    one,
    proved,
    run_killed,
    running,
    until,
    written_to,
)

from bitvelocity.capture.snapshots import read_book
from bitvelocity.errors import CaptureError
from bitvelocity.flow import (
    Database,
    Pipeline,
    Project,
    open_project,
    order_reading,
    prepare,
    prove,
    show_readings,
)
from bitvelocity.oltp import connect

pytestmark = pytest.mark.every_postgres
HOLD, LET_GO = "select pg_advisory_lock(7)", "select pg_advisory_unlock(7)"
HELD = "pg_advisory_xact_lock_shared(7)::text is not null"
"""A condition that stops a reading in the middle of a chunk, for as long as we hold the lock."""


@pytest.fixture
def shop(open_folder: Path, database: str) -> Project:
    return make_shop(open_folder / "shop", database)


def test_a_table_is_read_again_while_it_is_written_to(shop: Project) -> None:
    dsn = shop.settings.database.dsn
    with running(shop) as check, written_to(dsn):
        for _ in range(3):
            order_reading(shop, "start", "things")
            until(lambda: not show_readings(shop).orders, check)
            until(lambda: in_state(shop, "done"), check)
    with running(shop) as check:
        proved(shop, check)
    events = "select count(*) as events, count(distinct (_lsn, _ordinal)) as places from bronze.things"
    counts = one(shop, events)
    assert counts["events"] == counts["places"]
    read = one(shop, "select count(*) as n, count(distinct _lsn) as lsns from bronze.things where operation_type = 'SNAPSHOT'")
    assert read["lsns"] >= 4, "the first snapshot, and one mark for each reading"
    run = last_run(shop)
    assert run is not None
    assert (run.state, run.share, run.error) == ("done", 1.0, None)


def test_changes_between_snapshot_and_mark_outdate_rows(shop: Project) -> None:
    """The condition waits for a lock of ours, so that what is changed meanwhile is changed in the middle of a chunk."""
    dsn = shop.settings.database.dsn
    with running(shop) as check, connect(dsn, autocommit=True) as connection:
        connection.execute("delete from things where id > 300")
        connection.execute(HOLD)
        order_reading(shop, "start", "things", HELD)
        until(lambda: waits(connection, "advisory"), check)
        connection.execute("update things set name = 'second' where id between 1 and 50")
        connection.execute("delete from things where id between 51 and 60")
        connection.execute("update things set id = id + 1000 where id between 61 and 70")
        connection.execute(LET_GO)
        until(lambda: in_state(shop, "done"), check)
        proved(shop, check)
    run = last_run(shop)
    assert run is not None
    assert (run.rows, run.outdated) == (230, 70)


def sleeping(connection: psycopg.Connection[Any]) -> bool:
    return waits(connection, "PgSleep")


def waits(connection: psycopg.Connection[Any], event: str) -> bool:
    query = "select count(*) from pg_stat_activity where wait_event = %s and datname = current_database()"
    row = connection.execute(query, [event]).fetchone()
    return bool(row and row[0])


def test_truncate_in_the_middle_of_a_chunk(shop: Project) -> None:
    """It waits for the chunk, which holds a lock; what is read stands before it in the stream."""
    dsn = shop.settings.database.dsn
    with running(shop) as check, connect(dsn, autocommit=True) as connection:
        connection.execute("delete from things where id > 300")
        order_reading(shop, "start", "things", "pg_sleep(0.005) is not null")
        until(lambda: sleeping(connection), check)
        connection.execute("truncate things")
        connection.execute("insert into things values ('r1', 5, 'after', null)")
        until(lambda: in_state(shop, "done"), check)
        proved(shop, check)


def test_transactions_that_run_when_it_begins_must_end_first(shop: Project) -> None:
    """Their changes may have passed in the stream before anybody took note of them."""
    dsn = shop.settings.database.dsn
    with running(shop) as check, connect(dsn) as slow:
        slow.execute("update things set name = 'slow' where id <= 100")
        order_reading(shop, "start", "things")
        until(lambda: in_state(shop, "waiting"), check)
        until(lambda: (run := last_run(shop)) is not None and run.waits_for, check)
        slow.commit()
        until(lambda: in_state(shop, "done"), check)
        proved(shop, check)


def test_only_the_rows_of_a_condition(shop: Project) -> None:
    with running(shop) as check:
        order_reading(shop, "start", "things", "region = 'r1' and id < 31 -- few")
        until(lambda: in_state(shop, "done"), check)
    run = last_run(shop)
    assert run is not None
    assert run.rows == 10


@pytest.mark.parametrize("where", ["no_such_column = 1", "true); drop table things; --", "id ="])
def test_a_condition_that_the_server_refuses_fails_alone(shop: Project, where: str) -> None:
    with running(shop) as check:
        order_reading(shop, "start", "things", where)
        until(lambda: in_state(shop, "failed"), check)
        run = last_run(shop)
        assert run is not None
        assert run.error
        order_reading(shop, "stop", "things")
        until(lambda: in_state(shop, "stopped"), check)
        proved(shop, check)


def test_pause_resume_and_stop(shop: Project) -> None:
    dsn = shop.settings.database.dsn
    with running(shop) as check, connect(dsn, autocommit=True) as connection:
        connection.execute("delete from things where id > 300")
        connection.execute(HOLD)
        with pytest.raises(CaptureError, match="nothing to pause"):
            order_reading(shop, "pause", "things")
        order_reading(shop, "start", "things", HELD)
        until(lambda: waits(connection, "advisory"), check)
        order_reading(shop, "pause", "things")
        connection.execute(LET_GO)
        until(lambda: in_state(shop, "paused"), check)
    with running(shop) as check, connect(dsn, autocommit=True) as connection:
        connection.execute("update things set name = 'meanwhile' where id < 200")
        assert in_state(shop, "paused"), "over a restart too"
        order_reading(shop, "resume", "things")
        until(lambda: in_state(shop, "done"), check)
        connection.execute(HOLD)
        order_reading(shop, "start", "things", HELD)
        until(lambda: in_state(shop, "asked", "waiting", "reading"), check)
        order_reading(shop, "stop", "things")
        connection.execute(LET_GO)
        until(lambda: in_state(shop, "stopped"), check)
        with pytest.raises(CaptureError, match="Nothing that may be stopped"):
            order_reading(shop, "stop", "things")
        proved(shop, check)


def test_orders_that_can_only_come_to_nothing_are_refused(shop: Project) -> None:
    with pytest.raises(CaptureError, match="no entity called 'nothing'"):
        order_reading(shop, "start", "nothing")
    with pytest.raises(CaptureError, match="Nothing is paused"):
        order_reading(shop, "resume", "things")


def test_partitions_are_read_as_their_root(shop: Project) -> None:
    """Leaves are read one by one; the rows stand under the name by which the stream knows them."""
    dsn = shop.settings.database.dsn
    with connect(dsn, autocommit=True) as connection:
        connection.execute("drop table things")
        connection.execute("create table things (region text not null, id bigint not null, name text, large text, primary key (region, id)) partition by list (region)")
        for region in ("r0", "r1", "r2"):
            connection.execute(f"create table things_{region} partition of things for values in ('{region}')")
        connection.execute("insert into things select 'r' || i % 3, i, 'first', repeat('x', 50) from generate_series(1, 3000) i")
    (shop.root / "entities.py").write_text(ENTITIES.replace("audit=False", "audit=False, managed=False"))
    shop = open_project(shop.root)
    prepare(shop, dsn)
    with running(shop) as check, written_to(dsn, 3):
        order_reading(shop, "start", "things")
        until(lambda: in_state(shop, "done"), check)
    run = last_run(shop)
    assert run is not None
    assert run.parts is not None
    assert [part.name for part in run.parts] == ["things_r0", "things_r1", "things_r2"]
    with running(shop) as check:
        proved(shop, check)


def test_a_table_that_is_rewritten_is_read_from_its_beginning(shop: Project) -> None:
    """CLUSTER moves rows about, and the stream does not tell."""
    dsn = shop.settings.database.dsn
    with running(shop) as check, connect(dsn, autocommit=True) as connection:
        order_reading(shop, "start", "things", "(id > 300 or pg_sleep(0.002) is not null)")
        until(lambda: sleeping(connection), check)
        row = connection.execute("select indexrelid::regclass::text from pg_index where indrelid = 'things'::regclass").fetchone()
        assert row
        connection.execute(f"cluster things using {row[0]}")
        connection.execute("update things set name = 'clustered' where id % 7 = 0")
        until(lambda: in_state(shop, "done"), check)
        proved(shop, check)


def test_a_role_that_may_only_read(shop: Project) -> None:
    """SELECT and REPLICATION: no table is written, no signal table, no other privilege."""
    dsn = shop.settings.database.dsn
    role = "reads_" + psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]  # type: ignore[operator]
    with connect(dsn, autocommit=True) as connection:
        connection.execute(f"create role {role} login replication password 'pw'")
        try:
            connection.execute(f"grant select on things to {role}")
            toml = shop.root / "bitvelocity.toml"
            toml.write_text(toml.read_text().replace(dsn, f"{dsn} user={role} password=pw"))
            project = open_project(shop.root)
            with running(project) as check:
                order_reading(project, "start", "things")
                until(lambda: in_state(project, "done", "failed"), check)
            run = last_run(project)
            assert run is not None
            assert (run.state, run.rows) == ("done", 3000), run.error
        finally:
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")


def test_large_values_that_only_updates_told_of_are_read_by_key(shop: Project) -> None:
    """A new table, whose rows are changed while it is read: the update does not send the large value, nor is it known."""
    dsn = shop.settings.database.dsn
    with running(shop):
        pass
    (shop.root / "entities.py").write_text(ENTITIES + MORE)
    project = open_project(shop.root)
    with connect(dsn, autocommit=True) as connection:
        connection.execute("create table others (id bigint primary key, name text, large text)")
        connection.execute("alter table others alter large set storage external")
        connection.execute("alter publication bitvelocity add table others")
        connection.execute("alter table others replica identity default")
        connection.execute("insert into others select i, 'first', repeat('large' || i, 1000) from generate_series(1, 100) i")
        pipeline = Pipeline(project)
        try:
            pipeline.connect(dsn)
            pipeline.start()
            assert [run.entity for run in read_book(project.lake).runs] == ["others"]
            connection.execute("update others set name = 'second' where id <= 50")
            while not in_state(project, "done", entity="others"):
                pipeline.step(0.05)
            pipeline.step(0.05)
        finally:
            pipeline.close()
    found = one(project, "select count(*) as n, count(large) as large, count(*) filter (name = 'second') as second from silver.others")
    assert found == {"n": 100, "large": 100, "second": 50}


STEPS = ("chunk read", "chunk marked", "book written", "lake committed", "published", "confirmed", "order carried out", "")


def test_killed_at_any_step_of_a_reading(shop: Project) -> None:
    dsn, dice = shop.settings.database.dsn, random.Random(5)
    assert run_killed(shop, 0) == 0
    order_reading(shop, "start", "things")
    kills = 0
    with written_to(dsn, 5):
        for what in STEPS:
            kills += run_killed(shop, dice.randint(1, 4) if what else dice.randint(20, 60), what) != 0
            no_place_twice(shop, "things")
    assert kills > len(STEPS) / 2
    assert run_killed(shop, 0) == 0
    run = last_run(shop)
    assert run is not None
    assert (run.state, run.share) == ("done", 1.0)
    with running(shop) as check:
        proved(shop, check)


BOTH = """-- model: both
-- key: kind
-- columns:
--   kind  text
--   n     bigint
select 'things' as kind, count(*) as n from silver.things union all select 'others' as kind, count(*) as n from silver.others
"""


def declare_more(project: Project) -> Project:
    """An entity more, and its table with rows in it, as `apply` leaves them."""
    (project.root / "entities.py").write_text(ENTITIES + MORE)
    (project.root / "models" / "both.sql").write_text(BOTH)
    project = open_project(project.root)
    dsn = project.settings.database.dsn
    with connect(dsn, autocommit=True) as connection:
        connection.execute("create table others (id bigint primary key, name text, large text)")
        connection.execute("insert into others select i, 'first', repeat('x', 50) from generate_series(1, 3000) i")
    prepare(project, dsn)
    return project


def others_written_to(dsn: str) -> AbstractContextManager[None]:
    dice = random.Random(3)

    def work(stop: threading.Event) -> None:
        with connect(dsn, autocommit=True) as connection:
            while not stop.is_set():
                row = dice.randint(1, 3000)
                connection.execute("update others set name = 'second' where id between %(row)s and %(row)s + 5", {"row": row})
                connection.execute("delete from others where id = %(row)s", {"row": row})
                connection.execute("insert into others values (%(row)s + 10000, 'new') on conflict do nothing", {"row": row})

    return meanwhile(work)


def test_a_new_table_joins_and_the_others_go_on(shop: Project) -> None:
    with running(shop) as check:
        proved(shop, check)
    before = one(shop, "select count(*) as n from bronze.things")
    project = declare_more(shop)
    dsn = project.settings.database.dsn
    pipeline = Pipeline(project)
    seen: list[int] = []
    counted: list[int] = []
    try:
        with connect(dsn) as slow, others_written_to(dsn):
            slow.execute("update others set name = 'slow' where id = 1")  # ran already: it must end first
            pipeline.connect(dsn)
            pipeline.start()
            while not in_state(project, "waiting", entity="others"):
                pipeline.step(0.05)
            with connect(dsn, autocommit=True) as connection:
                connection.execute("insert into things values ('r1', 99999, 'meanwhile', null)")
            while one(project, "select count(*) as n from silver.things where id = 99999") != {"n": 1}:
                pipeline.step(0.05)
            assert one(project, "select count(*) as n from silver.others") == {"n": 0}, "changes came, but it is not whole"
            assert one(project, "select sum(n) as n from gold.both where kind = 'others'") == {"n": 0}, "nor is it for gold"
            slow.commit()
            while not in_state(project, "done", entity="others"):
                pipeline.step(0.05)
                seen.append(one(project, "select count(*) as n from silver.others")["n"])
                counted.append(one(project, "select n from gold.both where kind = 'others'")["n"])
    finally:
        pipeline.close()
    with running(project) as check:
        proved(project, check)
    assert min((n for n in (*seen, *counted) if n), default=3000) > 2000, "readers saw none of it, or all"
    run = last_run(project, "others")
    assert run is not None
    assert run.kind == "joins"
    assert last_run(project) is None, "the other table was not read again"
    assert one(project, "select count(*) as n from bronze.things") == {"n": before["n"] + 1}


def test_killed_while_a_table_joins(shop: Project) -> None:
    assert run_killed(shop, 0) == 0
    project = declare_more(shop)
    dice, kills = random.Random(9), 0
    with others_written_to(project.settings.database.dsn):
        for what in ("book written", "chunk marked", "lake committed", "published"):
            kills += run_killed(project, dice.randint(1, 4), what) != 0
        assert run_killed(project, 0) == 0
    assert kills >= 2
    no_place_twice(project, "others")
    with running(project) as check:
        proved(project, check)


def test_reconcile_says_why_a_new_table_is_not_to_be_seen(shop: Project) -> None:
    with running(shop):
        pass
    project = declare_more(shop)
    with connect(project.settings.database.dsn, autocommit=True) as connection:
        connection.execute("alter publication bitvelocity drop table others")
    with running(project) as check:
        until(lambda: in_state(project, "failed", entity="others"), check)
        with pytest.raises(CaptureError, match="its reading failed"):
            prove(project, Database(project.settings.database.dsn), check)
        prepare(project, project.settings.database.dsn)
        order_reading(project, "resume", "others")
        until(lambda: in_state(project, "done", entity="others"), check)
        proved(project, check)
