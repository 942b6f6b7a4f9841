"""The first snapshot: several readers that see the same, and a stop in the middle that does not begin from zero."""

from __future__ import annotations

import random
from pathlib import Path

import psycopg
import pytest
from tests.conformance.shop import last_run, no_place_twice, one, proved, run_killed, running, written_to
from tests.conformance.test_readings import shop

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.capture.snapshots import ranges, read_book
from bitvelocity.flow import Project, open_project
from bitvelocity.lakehouse import read_watermark
from bitvelocity.oltp import connect

__all__ = ["shop"]
pytestmark = pytest.mark.every_postgres


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 16 << 10)


@pytest.mark.parametrize("readers", [1, 4])
def test_every_reader_sees_the_slots_snapshot(database: str, tmp_path: Path, readers: int, small_ranges: None) -> None:
    """Debezium's readers came from a pool and saw what was newest (dbz#2330)."""
    name = psycopg.conninfo.conninfo_to_dict(database)["dbname"]
    with connect(database, autocommit=True) as connection:
        connection.execute("create table rows (id int, region text, note text, primary key (id, region)) partition by list (region)")
        connection.execute("create table rows_a partition of rows for values in ('a')")
        connection.execute("create table rows_b partition of rows for values in ('b')")
        connection.execute("insert into rows select i, case when i % 2 = 0 then 'a' else 'b' end, 'old' from generate_series(1, 4000) i")
        connection.execute(
            "create publication bitvelocity for table rows (id, region, note) where (id > 100) with (publish_via_partition_root = true)"
        )
        source = WalSource(database, slot=f"pinned_{name}", spill=tmp_path, has_position=False, tuning=Tuning(readers=readers))
        with source:
            change_set = next(iter(source.snapshot()))
            connection.execute("update rows set note = 'new' where id % 3 = 0")
            connection.execute("delete from rows where id % 5 = 0")
            connection.execute("insert into rows select i, 'a', 'new' from generate_series(5001, 6000) i")
            batches = list(change_set)
            ids = [int(row or 0) for batch in batches for row in batch.data["after_id"].to_pylist()]
            notes = {row for batch in batches for row in batch.data["after_note"].to_pylist()}
            ordinals = [row for batch in batches for row in batch.data["_ordinal"].to_pylist()]
    assert (sorted(ids), notes) == (list(range(101, 4001)), {"old"})
    assert ordinals == list(range(3900)), "in the order in which they come"
    assert {batch.relation for batch in batches} == {"public.rows"}
    assert len(batches) > 10


def read_in_order(shop: Project) -> None:
    """By one reader: of several, one may be left behind while the others read all, and the book has less to tell."""
    settings = shop.root / "bitvelocity.toml"
    settings.write_text(settings.read_text() + "snapshot_readers = 1\n")


def test_killed_at_more_than_half_it_does_not_begin_from_zero(shop: Project) -> None:
    read_in_order(shop)
    with written_to(shop.settings.database.dsn, 7):
        assert run_killed(shop, 7, "book written") == -9
        first = read_book(shop.lake).first
        assert first is not None
        assert read_watermark(shop.lake) is None, "readers see nothing yet"
        assert run_killed(shop, 0) == 0
    assert read_book(shop.lake).first is None
    lsn = first["lsn"]
    kept = one(shop, f"select count(*) as n from bronze.things where _lsn = {lsn}")["n"]
    again = one(shop, f"select count(*) as n from bronze.things where operation_type = 'SNAPSHOT' and _lsn > {lsn}")["n"]
    assert kept >= 1500, "what was kept before the kill"
    assert 0 < again < 2000, "the rest, and what was in flight"
    no_place_twice(shop, "things")
    with running(shop) as check:
        proved(shop, check)


STEPS = ("committed", "book written", "chunk read", "chunk marked", "lake committed", "published", "confirmed")


def test_killed_at_any_step(shop: Project) -> None:
    """In the first snapshot, in what goes on of it, and between both."""
    dice, kills = random.Random(11), 0
    with written_to(shop.settings.database.dsn, 8):
        for what in STEPS:
            kills += run_killed(shop, dice.randint(1, 6), what) != 0
            no_place_twice(shop, "things")
        assert run_killed(shop, 0) == 0
    assert kills > len(STEPS) / 2
    with running(shop) as check:
        proved(shop, check)


def test_without_its_slot_it_begins_anew(shop: Project) -> None:
    read_in_order(shop)
    assert run_killed(shop, 5, "book written") == -9
    assert read_watermark(shop.lake) is None
    with connect(shop.settings.database.dsn, autocommit=True) as connection:
        connection.execute("select pg_drop_replication_slot(%s)", [shop.settings.capture.slot])
        connection.execute("delete from things where id > 100")
    assert run_killed(shop, 0) == 0
    assert last_run(shop) is None
    assert one(shop, "select count(*) as n, count(distinct _lsn) as lsns from bronze.things") == {"n": 100, "lsns": 1}
    with running(open_project(shop.root)) as check:
        proved(shop, check)
