"""Tables altered while they are captured: nothing is lost in bronze, silver is right as far as it can be, and says where not.

Each case writes before and after the change, in the same transaction and in others, once as the server likes and once
with a server that streams transactions ahead of their commit. Then it compares bronze with what was written, silver
with the source, and what the lake says of the change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bitvelocity.capture import Tuning, WalSource, export_tables
from bitvelocity.changes import ChangeSet
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import DatabaseError
from bitvelocity.lakehouse import (
    MARKER,
    EntityVerdict,
    Lake,
    LakeReader,
    Watermark,
    compare_silver,
    mismatches,
    outdated,
    publish,
    read_watermark,
    rebuild,
    stored_shapes,
)
from bitvelocity.oltp import adopt
from bitvelocity.oltp.statements import load

pytestmark = [pytest.mark.every_postgres, pytest.mark.timeout(120)]
STREAMING = Tuning(settings={"logical_decoding_work_mem": "64kB"})
FILLER = "insert into things (id, n, note) select n, n, repeat('x', 500) from generate_series(1000, 1400) as n"
"""Enough for a server with little memory to stream the transaction ahead of its commit."""


@dataclass
class Way:
    """A table `things`, and a lake that follows it."""

    connection: psycopg.Connection[Any]
    dsn: str
    root: Path
    tuning: Tuning
    spec: EntitySpec = field(init=False)
    lake: Lake = field(init=False)
    source: WalSource | None = None

    def begin(self, ddl: str, *, publication: str = "for table things") -> None:
        """Make the table with two rows, publish it, adopt it, take the snapshot."""
        self.run(ddl)
        self.run(f"create publication bitvelocity {publication} with (publish_via_partition_root = true)")
        (self.spec,) = [spec for spec in adopt(self.dsn).specs if spec.name == "things"]
        self.open(has_position=False)
        assert self.source
        for change_set in self.source.snapshot():
            self.take(change_set)

    def open(self, *, has_position: bool = True, start: int = 0) -> None:
        self.lake = Lake(self.root, [self.spec], sync=False)
        self.source = WalSource(
            self.dsn, slot=f"altered_{self.connection.info.dbname}", spill=self.root.parent, has_position=has_position,
            start_lsn=start, tuning=self.tuning, messages=(MARKER,),
        )  # fmt: skip

    def close(self) -> None:
        if self.source is not None:
            self.source.close()
            self.source = None
            self.lake.close()

    def run(self, *statements: str) -> None:
        """One transaction."""
        with self.connection.transaction():
            for statement in statements:
                self.connection.execute(statement.encode())

    def take(self, change_set: ChangeSet) -> None:
        assert self.source
        for batch in change_set:
            self.lake.stage(batch)
        mark = change_set.mark
        self.lake.commit(mark)
        publish(self.root, Watermark(position=mark.lsn, resume=mark.resume, tables=self.lake.versions()), sync=False)
        self.source.confirm(mark.resume)

    def follow(self) -> None:
        """Take all that is committed."""
        assert self.source
        row = self.connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
        while row and self.source.seen < row[0]:
            for change_set in self.source.tail(0.05):
                self.take(change_set)

    def again(self, *, declared: bool = False) -> list[str]:
        """Start again as `up` does, with the entity as the table is now if `declared`; why silver was made anew."""
        self.close()
        mark = read_watermark(self.root)
        assert mark
        if declared:
            (found,) = [spec for spec in adopt(self.dsn).specs if spec.table in ("things", "others")]
            self.spec = replace(found, name="things")
        reasons = [reason for item in outdated(self.root, [self.spec]) for reason in item.reasons]
        if reasons:
            rebuild(self.root, self.spec, sync=False)
        self.open(start=mark.position)
        return reasons

    def verdict(self) -> EntityVerdict:
        export = export_tables(self.dsn, [self.spec], self.root.parent / "export")
        with LakeReader(self.root, [self.spec]) as reader:
            reader.refresh()
            return compare_silver(reader, self.spec, export.files["things"], export.lsn)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with LakeReader(self.root, [self.spec]) as reader:
            reader.refresh()
            return reader.connection.sql(query).fetchall()

    def silver(self, columns: str = "*") -> list[tuple[Any, ...]]:
        return self.ask(f"select {columns} from silver.things where id < 1000 order by id")

    def said(self) -> list[str]:
        return [item.what for item in mismatches(self.root, [self.spec])]

    def changes(self) -> list[str]:
        return [row["change"] for row in stored_shapes(self.root) if row["change"]]


@pytest.fixture(params=[Tuning(), STREAMING], ids=["plain", "streamed"])
def way(request: pytest.FixtureRequest, database: str, open_folder: Path) -> Iterator[Way]:
    with psycopg.connect(database, autocommit=True) as connection:
        made = Way(connection, database, open_folder / "lake", request.param)
        yield made
        made.close()


TABLE = "create table things (id int primary key, n int, note varchar(600)); insert into things values (1, 1, 'a'), (2, 2, 'b')"


def altered(way: Way, ddl: str, *, before: str = "", after: str = "", later: str = "") -> None:
    """The change in a transaction with rows before and after it, then rows in another transaction."""
    way.begin(TABLE)
    way.run(FILLER, before or "insert into things values (3, 3, 'c')", ddl, after or "insert into things values (4, 4, 'd')")
    way.run(later or "insert into things values (5, 5, 'e')")
    way.follow()


def test_add_column(way: Way) -> None:
    altered(way, "alter table things add column extra int", after="insert into things values (4, 4, 'd', 44)",
            later="insert into things values (5, 5, 'e', 55)")  # fmt: skip
    assert way.ask("select after_id, after_extra from bronze.things where after_extra is not null order by 1") == [("4", "44"), ("5", "55")]
    assert way.silver("id, n, note")[-1] == (5, 5, "e")
    assert way.said() == ["public.things has a column extra that the entity does not know: only bronze keeps it"]
    assert way.changes() == ["column extra is new"]
    assert way.again(declared=True)[0] == "bronze has the column extra since before the entity had it"
    way.run("update things set extra = 1 where id = 1")
    way.follow()
    assert way.silver("id, extra") == [(1, 1), (2, None), (3, None), (4, 44), (5, 55)]
    assert way.said() == []
    assert way.verdict().ok


@pytest.mark.parametrize("default", ["7", "(random() * 100)::int"], ids=["constant", "volatile"])
def test_add_column_with_a_default(way: Way, default: str) -> None:
    """No row is sent for what the ALTER wrote: rows not written since are NULL, `reconcile` says so, a new read mends it."""
    altered(way, f"alter table things add column extra int not null default {default}",
            after="insert into things values (4, 4, 'd', 44)", later="update things set n = 10 where id = 1")  # fmt: skip
    way.again(declared=True)
    way.follow()
    verdict = way.verdict()
    assert (verdict.missing, verdict.extra) == (0, 0)
    assert verdict.different == verdict.source - 2, "all but the two rows that were written since"
    assert way.silver("id, extra is null") == [(1, False), (2, True), (3, True), (4, False)]


def test_drop_column(way: Way) -> None:
    altered(way, "alter table things drop column n", after="insert into things values (4, 'd')", later="update things set note = 'z' where id = 2")
    assert way.ask("select after_id, after_n from bronze.things where after_id in ('3', '4') order by 1") == [("3", "3"), ("4", None)]
    assert way.silver("id, n, note") == [(1, 1, "a"), (2, None, "z"), (3, 3, "c"), (4, None, "d")]
    assert way.said() == ["public.things has no column n: it is NULL in rows written since"]
    assert way.changes() == ["column n is gone"]
    assert way.again(declared=True) == []
    assert way.verdict().ok


def test_rename_column(way: Way) -> None:
    altered(way, "alter table things rename column n to number", later="update things set number = 20 where id = 2")
    assert way.ask("select after_id, after_n, after_number from bronze.things where after_id in ('3', '4') order by 1") == [
        ("3", "3", None), ("4", None, "4"),
    ]  # fmt: skip
    assert way.said() == [
        "public.things has no column n: it is NULL in rows written since",
        "public.things has a column number that the entity does not know: only bronze keeps it",
    ]
    assert way.changes() == ["column number is new; column n is gone"]
    with pytest.raises(DatabaseError) as stale:
        way.verdict()
    assert "change the entity" in str(stale.value.remedy)
    assert way.again(declared=True)[0] == "bronze has the column number since before the entity had it"
    assert way.silver("id, number") == [(1, None), (2, 20), (3, None), (4, 4)]


def test_rename_table_and_move_it_to_another_schema(way: Way) -> None:
    way.begin(TABLE)
    way.run(FILLER, "insert into things values (3, 3, 'c')", "alter table things rename to others", "insert into others values (4, 4, 'd')")
    way.run("insert into others values (5, 5, 'e')")
    way.follow()
    assert [row[0] for row in way.silver("id")] == [1, 2, 3, 4, 5], "its changes still come to the entity"
    assert way.said() == ["public.things is public.others now; its changes still go to things"]
    way.run("create schema elsewhere", "alter table others set schema elsewhere", "insert into elsewhere.others values (6, 6, 'f')")
    way.again()
    way.run("update elsewhere.others set n = 0 where id = 6")
    way.follow()
    assert way.silver("id, n")[-1] == (6, 0)
    assert way.changes() == ["public.things is public.others now", "public.others is elsewhere.others now"]
    assert way.again(declared=True) == []
    assert way.said() == []
    assert way.verdict().ok


@pytest.mark.parametrize(("ddl", "value", "said"), [
    ("alter column n type bigint", "30000000000", "public.things.n is int64, in the entity int32"),
    ("alter column n type numeric(12, 4)", "1.2345", "public.things.n is decimal(12,4), in the entity int32"),
    ("alter column n type text using 'n' || n", "'word'", "public.things.n is text, in the entity int32"),
], ids=["bigint", "numeric", "text"])  # fmt: skip
def test_change_type(way: Way, ddl: str, value: str, said: str) -> None:
    """What the old type cannot hold is told with its value; with the entity changed, silver is made anew from bronze."""
    altered(way, f"alter table things {ddl}", after=f"insert into things values (4, {value}, 'd')", later="delete from things where id = 2")
    printed = value.strip("'")
    assert way.ask("select after_n from bronze.things where after_id = '4'") == [(printed,)]
    assert way.silver("id, n")[-1] == (4, None)
    assert json.loads(way.silver("_unfit")[-1][0]) == {"n": printed}
    assert way.said() == [said]
    assert way.changes() == ["column n has another type"]
    assert way.again(declared=True)[0].startswith("the column n was int32 and is ")
    assert way.said() == []
    assert str(way.silver("n")[-1][0]) == printed
    verdict = way.verdict()
    assert (verdict.missing, verdict.extra) == (0, 0)
    assert verdict.ok == ("using" not in ddl), "what USING wrote is in no row that was sent"


def test_text_to_int(way: Way) -> None:
    way.begin("create table things (id int primary key, n text, note text); insert into things values (1, '1', 'a')")
    way.run(FILLER, "alter table things alter column n type int using n::int", "insert into things values (4, 4, 'd')")
    way.follow()
    assert way.silver("id, n") == [(1, "1"), (4, "4")]
    assert way.said() == ["public.things.n is int32, in the entity text"]
    assert way.again(declared=True) == [], "text holds all: it stays until somebody rebuilds it"
    way.run("insert into things values (5, 5, 'e')")
    way.follow()
    assert way.silver("n")[-1] == ("5",)
    way.close()
    rebuild(way.root, way.spec, sync=False)
    way.open(start=(mark.position if (mark := read_watermark(way.root)) else 0))
    assert way.silver("n")[-1] == (5,)
    assert way.verdict().ok


def test_what_changes_no_value(way: Way) -> None:
    """Longer text, NOT NULL and back: nobody has to do anything. A published table cannot become unlogged."""
    way.begin(TABLE)
    for number, ddl in enumerate([
        "alter column note type varchar(900)", "alter column n set not null", "alter column n drop not null",
        "alter column n set default 5", "add constraint positive check (n > 0)", "set (fillfactor = 50)",
    ], start=10):  # fmt: skip
        way.run(FILLER if number == 10 else "select 1", f"alter table things {ddl}", f"insert into things values ({number}, 1, 'x')")
    with pytest.raises(psycopg.Error, match="publication"):
        way.run("alter table things set unlogged")
    way.follow()
    assert [row[0] for row in way.silver("id")] == [1, 2, 10, 11, 12, 13, 14, 15]
    assert way.said() == []
    assert way.verdict().ok


def test_enum_values(way: Way) -> None:
    way.begin("create type mood as enum ('sad'); create table things (id int primary key, n mood, note text); insert into things values (1, 'sad', 'a')")
    way.run("alter type mood add value 'glad'")
    way.run(FILLER.replace("n, n,", "n, 'sad',"), "insert into things values (2, 'glad', 'b')", "alter type mood rename value 'sad' to 'blue'", "insert into things values (3, 'blue', 'c')")
    way.follow()
    assert way.silver("id, n") == [(1, "sad"), (2, "glad"), (3, "blue")], "a renamed value is what it was in rows that were not sent again"
    assert way.said() == []


def test_domain(way: Way) -> None:
    way.begin(TABLE)
    way.run("create domain positive as int check (value > 0)", FILLER, "alter table things alter column n type positive", "insert into things values (3, 3, 'c')")
    way.follow()
    assert way.silver("id, n") == [(1, 1), (2, 2), (3, 3)]
    assert way.said() == []
    assert way.again(declared=True) == []
    assert way.verdict().ok


def test_another_primary_key(way: Way) -> None:
    way.begin(TABLE)
    way.run(FILLER, "update things set n = id", "alter table things drop constraint things_pkey", "alter table things add primary key (n)",
            "update things set note = 'z' where id = 2")  # fmt: skip
    way.run("update things set id = 9 where n = 1")
    way.follow()
    assert way.changes() == ["rows are identified by n"]
    assert way.again(declared=True) == ["its key was id and is n"]
    way.run("delete from things where n = 2")
    way.follow()
    assert way.silver("id, n") == [(9, 1)]
    assert way.verdict().ok


def test_no_primary_key_any_more(way: Way) -> None:
    """The source refuses updates of such a table; inserts come on, and the entity's key holds."""
    way.begin(TABLE)
    way.run(FILLER, "alter table things drop constraint things_pkey", "insert into things values (3, 3, 'c')")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        way.run("update things set n = 0 where id = 1")
    way.run("alter table things replica identity full", "update things set n = 0 where id = 1")
    way.follow()
    assert way.silver("id, n") == [(1, 0), (2, 2), (3, 3)]
    assert way.changes()[-1] == "replica identity is full, was default"


def test_drop_and_make_again(way: Way) -> None:
    """Another table of the same name is told; rows of the old one stay until the table is read again."""
    way.begin(TABLE)
    way.run(FILLER, "insert into things values (3, 3, 'c')", "drop table things")
    way.run("create table things (id int primary key, n int, note text)", "alter publication bitvelocity add table things", "insert into things values (4, 4, 'd')")
    way.follow()
    assert [row[0] for row in way.silver("id")] == [1, 2, 3, 4]
    assert way.changes() == ["public.things is another table now; column note has another type"]


def test_a_table_swapped_for_another(way: Way) -> None:
    """After a swap of names the entity is the table with its name; the other one's changes are not mixed in."""
    way.begin(TABLE)
    way.run("create table fresh (like things including all)", "alter publication bitvelocity add table fresh")
    way.run("alter table things rename to others", "alter table fresh rename to things", "insert into things values (7, 7, 'new')")
    way.run("insert into others values (8, 8, 'old')")
    way.follow()
    assert [row[0] for row in way.silver("id")] == [1, 2, 7]


def test_markers(way: Way) -> None:
    """The event trigger tells of each change in its place, with what the stream itself does not say."""
    way.run("create schema bv", load("schema")["mark_ddl"].sql)
    way.run("create event trigger bv_ddl on ddl_command_end execute function bv.mark_ddl()")
    way.begin("create type mood as enum ('sad'); " + TABLE)
    way.run(FILLER, "insert into things values (3, 3, 'c')", "alter table things add column extra int not null default 7",
            "insert into things values (4, 4, 'd')", "alter table things rename column n to number")  # fmt: skip
    way.run("alter type mood add value 'glad'")
    way.run("create temp table passing (id int)")
    way.follow()
    added, renamed, labels = (row for row in stored_shapes(way.root) if row["command"])
    rows = way.ask("select after_id, _ordinal, _lsn from bronze.things where after_id in ('3', '4') order by 1")
    assert (added["_lsn"], added["_ordinal"], renamed["_ordinal"]) == (rows[1][2], rows[1][1], rows[1][1] + 1)
    assert (added["entity"], added["command"], added["relation"]) == ("things", "ALTER TABLE", "public.things")
    columns = {column["name"]: column for column in json.loads(added["columns"])}
    assert (columns["extra"]["nullable"], columns["extra"]["default"], columns["extra"]["type"]) == (False, "7", "integer")
    names = {column["number"]: column["name"] for column in json.loads(renamed["columns"])}
    assert names == {1: "id", 2: "number", 3: "note", 4: "extra"}, "the number says which column was renamed"
    assert json.loads(labels["columns"]) == ["sad", "glad"]
    assert way.ask("select count(*) from bronze._shapes where command is not null") == [(3,)]
    count = len(stored_shapes(way.root))
    way.again()
    way.follow()
    assert len(stored_shapes(way.root)) == count, "a repeat tells nothing twice"


