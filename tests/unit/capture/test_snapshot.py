"""The initial snapshot: every kind of value as the stream prints it, the same columns, the same rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bitvelocity.errors import CaptureError

if TYPE_CHECKING:
    from tests.unit.capture.conftest import Bench

ORDERS = "create table orders (id bigint primary key, name text, note text)"
PUBLISH = "create publication bitvelocity for table "
ODD = '"My Schema"."T-a ""b"""'
VALUES = """
create table kinds (id int primary key, b boolean, n numeric, f float8, r real, t text, c char(5), u uuid, j json,
  jb jsonb, y bytea, d date, ti time, tt timetz, ts timestamp, tz timestamptz, i interval, a text[], m money, g int
  generated always as (id * 2) stored);
alter table kinds replica identity full;
insert into kinds values (1, true, 'NaN', 'Infinity', 0.1, E'\\\\N', 'ab', '00000000-0000-0000-0000-000000000001',
  '{"a":  "\\n"}', '{"k": "\\t\\\\"}', '\\x00ff5c', 'infinity', '10:00', '10:00+02', '0044-03-15 BC',
  '2024-01-15 08:30:00.123456+05:30', '1 year 2 days 03:04:05.6', array['a,b', null, 'NULL', '"', E'\\\\', ''], 12.5),
  (2, false, 1e-20, 1e-310, 1e10, E'tab\\t nl\\n cr\\r bs\\\\ \\b\\f\\x0b é 🐘', '', null, 'null', 'null', '', '2024-02-29',
  '24:00', null, 'infinity', '-infinity', '-1 mon', '{}', -0.01)
"""


@pytest.mark.every_postgres
def test_snapshot_and_stream_print_every_kind_of_value_alike(source_db: Bench) -> None:
    generated = source_db.connection.info.server_version >= 180_000  # before, no stream has them
    source_db.run(VALUES, f"alter database {source_db.connection.info.dbname} set datestyle = 'German'")
    source_db.run(PUBLISH + "kinds" + (" with (publish_generated_columns = stored)" if generated else ""))
    source = source_db.open()
    read = source_db.snapshot(source)
    source_db.run("update kinds set n = n")
    changed = source_db.tail(source)
    assert len(read) == len(changed) == 2
    assert ("g" in read[0]["columns"]) == generated
    for before, after in zip(read, changed, strict=True):
        assert before["columns"] == after["columns"]
        for name in before["columns"]:
            assert before[f"after_{name}"] == after[f"before_{name}"] == after[f"after_{name}"], name
    assert read[0]["after_tz"] == "2024-01-15 03:00:00.123456+00"
    assert (read[0]["after_t"], read[0]["after_y"], read[0]["after_c"]) == ("\\N", "\\x00ff5c", "ab   ")
    assert read[1]["after_t"] == "tab\t nl\n cr\r bs\\ \b\f\v é 🐘"


def test_more_rows_than_one_lsn_has_ordinals_for(source_db: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each span of rows has an LSN of its own, all below the stream's first; where they do not suffice it is an error."""
    monkeypatch.setattr("bitvelocity.capture.snapshots.initial._SPAN", 1000)
    monkeypatch.setattr("bitvelocity.capture.snapshots.ranges.RANGE_BYTES", 1 << 15)
    source_db.run(ORDERS, PUBLISH + "orders")
    source_db.fill(1, 5000)
    source = source_db.open()
    rows: list[tuple[int, int]] = []
    for snapshot in source.snapshot():
        rows += [(row["_lsn"], row["_ordinal"]) for batch in snapshot for row in batch.data.to_pylist()]
        end = snapshot.mark.lsn
    assert len(set(rows)) == 5000
    assert rows == sorted(rows)
    assert len({lsn for lsn, _ in rows}) == 5
    assert rows[-1][0] <= end
    source_db.fill(5001, 5001)
    assert [row["after_id"] for row in source_db.tail(source)] == ["5001"]
    source.close()
    monkeypatch.setattr("bitvelocity.capture.snapshots.initial._PER_BLOCK", 0)
    with pytest.raises(CaptureError, match=r"more than [0-9,]+ rows") as caught:
        source_db.snapshot(source_db.open())
    assert caught.value.code == "TooManyRows"
    assert "Leave the largest table out" in str(caught.value.remedy)


@pytest.mark.every_postgres
def test_generated_columns_that_are_not_published_are_left_out(source_db: Bench) -> None:
    source_db.run("create table sums (id int primary key, g int generated always as (id * 2) stored, v text)",
                  "insert into sums values (1, default, 'a')", PUBLISH + "sums")  # fmt: skip
    source = source_db.open()
    rows = source_db.snapshot(source)
    source_db.run("insert into sums values (2, default, 'b')", "update sums set v = 'c' where id = 1")
    rows += source_db.tail(source)
    assert [(row["columns"], row["after_v"]) for row in rows] == [(("id", "v"), value) for value in "abc"]


def test_tables_without_columns_or_key_and_with_odd_names(source_db: Bench) -> None:
    source_db.run('create schema "My Schema"', f'create table {ODD} (a text, "B c" int[])',
                  f"alter table {ODD} replica identity full", "create table empty ()",
                  f"insert into {ODD} values (E'x\\ty\\\\', '{{1,2}}'), (null, null), ('', '{{}}')",
                  "insert into empty default values", f"{PUBLISH} {ODD}, empty")  # fmt: skip
    source = source_db.open()
    rows = source_db.snapshot(source)
    source_db.run("insert into empty default values", f"delete from {ODD} where a is null")
    rows += source_db.tail(source)
    odd = [row for row in rows if row["relation"] == 'My Schema.T-a "b"']
    assert [(row["_op"], row["after_a"], row["after_B c"]) for row in odd] == [
        ("r", "x\ty\\", "{1,2}"), ("r", None, None), ("r", "", "{}"), ("d", None, None),
    ]  # fmt: skip
    assert [(row["_op"], row["columns"]) for row in rows if row["relation"] == "public.empty"] == [
        ("r", ()),
        ("c", ()),
    ]


@pytest.mark.every_postgres
def test_row_filters_and_column_lists_hold_for_the_snapshot_too(source_db: Bench) -> None:
    source_db.run(ORDERS)
    source_db.fill(1, 10)
    source_db.run(PUBLISH + "orders (id, name) where (id > 5)")
    source = source_db.open()
    rows = source_db.snapshot(source)
    source_db.run("insert into orders values (-3, 'no', 's'), (33, 'yes', 's')")
    rows += source_db.tail(source)
    assert {row["columns"] for row in rows} == {("id", "name")}
    assert [row["after_id"] for row in rows] == ["6", "7", "8", "9", "10", "33"]


def test_an_empty_publication_gives_a_position(source_db: Bench) -> None:
    source_db.run("create publication bitvelocity")
    source = source_db.open()
    marks = [change_set.mark for change_set in source.snapshot() if not list(change_set)]
    assert [mark.resume - mark.lsn for mark in marks] == [1]
    assert list(source.tail(0)) == []


def test_large_tables_come_in_pieces(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH + "orders")
    source_db.run(
        "insert into orders select i, repeat('x', 1000), E'\\\\' || i from generate_series(1, 20000) i"
    )
    source = source_db.open()
    sizes = [batch.data.num_rows for change_set in source.snapshot() for batch in change_set]
    assert len(sizes) > 2
    assert sum(sizes) == 20_000


def test_a_snapshot_that_was_never_committed_begins_again(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH + "orders")
    source_db.fill(1, 10)
    first = source_db.open()
    for change_set in first.snapshot():
        next(iter(change_set))
        break
    with pytest.raises(CaptureError, match="snapshot was not read to its end"):
        list(first.tail(0))
    first.close()
    source_db.fill(11, 12)
    second = source_db.open()
    rows = source_db.snapshot(second)
    source_db.fill(13, 13)
    rows += source_db.tail(second)
    assert [row["_op"] for row in rows] == ["r"] * 12 + ["c"]


def test_rows_that_a_policy_hides_are_an_error_not_a_gap(source_db: Bench) -> None:
    name = "reader_of_" + source_db.connection.info.dbname
    source_db.run(ORDERS, PUBLISH + "orders", f"create role {name} login replication password 'pw'")
    try:
        source_db.fill(1, 10)
        source_db.run(f"grant select on orders to {name}", "alter table orders enable row level security",
                      "create policy few on orders using (id < 3)")  # fmt: skip
        source = source_db.open(dsn=f"{source_db.dsn} user={name} password=pw")
        with pytest.raises(CaptureError, match="row-level security") as caught:
            source_db.snapshot(source)
        assert caught.value.entity == "public.orders"
        source.close()
    finally:
        source_db.run(f"drop owned by {name}", f"drop role {name}")
