"""Partitions, generated columns, column lists, row filters, TRUNCATE: silver is what the publication shows."""

from __future__ import annotations

import pytest

from .test_altered import FILLER, TABLE, Way, way

__all__ = ["way"]
pytestmark = [pytest.mark.every_postgres, pytest.mark.timeout(120)]
PARTITIONED = """
create table things (id int, n int, note varchar(600), primary key (id)) partition by range (id);
create table low partition of things for values from (minvalue) to (10);
create table middle partition of things for values from (10) to (2000);
insert into things values (1, 1, 'a'), (11, 1, 'b')
"""


def test_rows_move_between_partitions_under_the_name_of_the_root(way: Way) -> None:
    way.begin(PARTITIONED)
    way.run(FILLER, "update things set id = 12 where id = 1", "update things set id = 2 where id = 11", "update low set note = 'z'")
    way.follow()
    assert way.silver("id, note") == [(2, "z"), (12, "a")]
    assert way.verdict().ok


def test_partitions_attached_and_detached(way: Way) -> None:
    """PostgreSQL sends no row for either: what a partition brings is missing, what it takes stays, until the table is read again."""
    way.begin(PARTITIONED)
    way.run("create table high (like things including all)", "insert into high values (2001, 1, 'before')")
    way.run(FILLER, "alter table things attach partition high for values from (2000) to (3000)", "insert into things values (2002, 2, 'after')")
    way.run("update high set note = 'written' where id = 2001")
    way.follow()
    assert way.ask("select id, note from silver.things where id > 2000 order by id") == [(2001, "written"), (2002, "after")]
    assert way.verdict().ok
    way.run("insert into things values (3, 3, 'c')", "alter table things detach partition low", "update low set note = 'gone' where id = 1")
    way.run("update things set note = 'still' where id = 11")
    way.follow()
    assert way.silver("id, note") == [(1, "a"), (3, "c"), (11, "still")]
    verdict = way.verdict()
    assert (verdict.missing, verdict.extra, verdict.different) == (0, 2, 0), "reconcile finds what the partition took"


def test_truncate_of_several_tables_and_by_cascade(way: Way) -> None:
    way.begin(TABLE, publication="for table things")
    way.run("create table lines (thing int references things)", "create table apart (id int)",
            "alter publication bitvelocity add table lines, apart")  # fmt: skip
    way.run("insert into things values (3, 3, 'c')", "insert into lines values (3)", "truncate apart, things cascade",
            "insert into things values (4, 4, 'd')")  # fmt: skip
    way.follow()
    assert way.silver("id") == [(4,)]
    assert way.ask("select operation_type from bronze.things where after_id is null") == [("TRUNCATE",)]
    way.run(FILLER, "truncate things cascade", "insert into things values (5, 5, 'e')")
    way.follow()
    assert way.ask("select id from silver.things") == [(5,)]
    assert way.verdict().ok


def test_truncate_of_a_partition_root(way: Way) -> None:
    way.begin(PARTITIONED)
    way.run(FILLER, "truncate things", "insert into things values (5, 5, 'e'), (50, 5, 'e')")
    way.follow()
    assert way.silver("id") == [(5,), (50,)]
    assert way.verdict().ok


def test_a_row_that_leaves_the_filter_is_deleted(way: Way) -> None:
    way.begin(TABLE + "; alter table things replica identity full; insert into things values (3, -3, 'hidden')",
              publication="for table things where (n > 0)")  # fmt: skip
    assert way.silver("id") == [(1,), (2,)], "the snapshot knows the filter"
    way.run(FILLER, "update things set n = -1 where id = 1", "update things set n = 3 where id = 3", "insert into things values (4, -4, 'd')",
            "update things set note = 'unseen' where id = 4", "delete from things where id = 4")  # fmt: skip
    way.run("update things set n = 1, note = 'back' where id = 1", "update things set n = -2 where id = 2")
    way.follow()
    assert way.silver("id, n, note") == [(1, 1, "back"), (3, 3, "hidden")]
    assert way.ask("select operation_type from bronze.things where coalesce(after_id, before_id) = '1' order by _lsn, _ordinal") == [
        ("SNAPSHOT",), ("DELETE",), ("INSERT",),
    ]  # fmt: skip


def test_columns_that_are_not_published_are_told(way: Way) -> None:
    way.begin(TABLE, publication="for table things (id, note)")
    way.run(FILLER, "update things set note = 'z', n = 5 where id = 1")
    way.follow()
    assert way.silver("id, n, note") == [(1, None, "z"), (2, None, "b")]
    assert way.said() == ["public.things has no column n: it is NULL in rows written since"]
    way.run("alter publication bitvelocity set table things", "update things set note = 'y' where id = 1")
    way.follow()
    assert way.silver("id, n, note") == [(1, 5, "y"), (2, None, "b")]
    assert way.said() == []


def test_generated_columns(way: Way) -> None:
    """Sent by PostgreSQL 18 when the publication says so; before, the adopted entity does not have them."""
    sends = way.connection.info.server_version >= 180000
    way.begin("create table things (id int primary key, n int, doubled int generated always as (n * 2) stored, note text);"
              "insert into things values (1, 1, default, 'a')")  # fmt: skip
    assert ("doubled" in way.spec.by_name) == sends
    if sends:
        assert way.silver("doubled") == [(None,)], "not in the publication yet"
        way.run("alter publication bitvelocity set (publish_generated_columns = stored)")
    way.run(FILLER, "update things set n = 2 where id = 1", "insert into things (id, n) values (2, 5)")
    way.follow()
    assert way.silver("id, n") == [(1, 2), (2, 5)]
    if sends:
        assert way.silver("doubled") == [(4,), (10,)]
        assert way.changes() == ["column doubled is new"]
    assert way.verdict().ok


def test_rows_of_inheriting_tables_are_not_the_parents(way: Way) -> None:
    """Such a parent is not adopted; made one later, its children's rows come under their own names."""
    way.begin(TABLE)
    way.run("create table child (extra int) inherits (things)", "alter table child replica identity full",
            "alter publication bitvelocity add table child")  # fmt: skip
    way.run(FILLER, "insert into child values (7, 7, 'x', 7)", "insert into things values (3, 3, 'c')", "update things set note = 'all'")
    way.follow()
    assert way.silver("id, note") == [(1, "all"), (2, "all"), (3, "all")]
