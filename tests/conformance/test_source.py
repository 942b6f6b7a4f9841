"""What any `Source` must hold: every committed change once, in order, with the same numbers however it was sent.

Each workload is read three times, through three slots: once as the server likes, once with a server that has so little
memory that it streams all but small transactions ahead of their commit, once through COPY. All must give the same rows,
and all are held against two oracles: the server's own `test_decoding`, and the tables as they stand in the end.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.changes import SYSTEM_COLUMNS, ChangeSet, Mark, format_lsn

Row = dict[str, Any]
Connection = psycopg.Connection[tuple[Any, ...]]
SMALL_MEMORY = Tuning(settings={"logical_decoding_work_mem": "64kB"})
READERS = {"plain": Tuning(feed="walsender"), "streaming": SMALL_MEMORY, "copied": Tuning(feed="copy")}
PATIENCE = 60.0
pytestmark = pytest.mark.every_postgres


@dataclass
class Taken:
    """All rows that a source gave, in order, and the marks at which it gave them."""

    rows: list[Row] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def add(self, change_set: ChangeSet) -> Mark:
        """Take a change set as a sink would: rows that are here already are dropped by position."""
        known = self.position
        new: list[Row] = []
        for batch in change_set:
            images = batch.data.schema.types[len(SYSTEM_COLUMNS) :]
            assert all(kind in (pa.string(), pa.string_view()) for kind in images)
            batch.data.validate(full=True)
            new += [{"relation": batch.relation, "columns": batch.columns, **row} for row in batch.data.to_pylist()]
        mark = change_set.mark
        assert mark.rows == len(new)
        self.rows += sorted((r for r in new if r["_lsn"] > known), key=lambda r: (r["_lsn"], r["_ordinal"]))
        assert all(row["_lsn"] <= mark.lsn < mark.resume for row in new)
        self.marks.append(mark)
        return mark

    @property
    def position(self) -> int:
        return self.marks[-1].lsn if self.marks else -1

    def changes(self) -> list[Row]:
        return [row for row in self.rows if row["_op"] != "r"]


@dataclass
class Stage:
    """A database, a source for each way to read it, and an oracle slot."""

    dsn: str
    spill: Path
    connection: Connection
    sources: dict[str, WalSource] = field(default_factory=dict)
    taken: dict[str, Taken] = field(default_factory=dict)

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement.encode())

    def one(self, query: str, *args: object) -> Any:
        row = self.connection.execute(query.encode(), args).fetchone()
        assert row is not None
        return row[0]

    def slot(self, name: str) -> str:
        """Slots are the cluster's: each database has its own."""
        return f"{name}_{self.connection.info.dbname}"

    def another(self) -> Connection:
        return psycopg.connect(self.dsn)

    def open(self, slot: str, tuning: Tuning | None = None, taken: Taken | None = None) -> WalSource:
        position = taken.position if taken else -1
        return WalSource(self.dsn, slot=slot, spill=self.spill, has_position=position >= 0,
                         start_lsn=max(position, 0), tuning=tuning)  # fmt: skip

    def begin(self, stack: ExitStack, *tables: str, options: str = "publish_via_partition_root = true") -> None:
        """Publish the tables, and let the sources take their snapshots."""
        self.run(f"create publication bitvelocity for table {', '.join(tables)} with ({options})")
        self.one("select pg_create_logical_replication_slot(%s, 'test_decoding')", self.slot("oracle"))
        for name, tuning in READERS.items():
            source = stack.enter_context(self.open(self.slot(name), tuning))
            self.sources[name], self.taken[name] = source, Taken()
            for change_set in source.snapshot():
                source.confirm(self.taken[name].add(change_set).resume)

    def flushed(self) -> int:
        return int(self.one("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn"))

    def drain(self, source: WalSource, taken: Taken, *, confirm: bool = True) -> None:
        end, deadline = self.flushed(), time.monotonic() + PATIENCE
        while source.seen < end:
            assert time.monotonic() < deadline, f"seen {format_lsn(source.seen)} of {format_lsn(end)}: {source.stats}"
            for change_set in source.tail(0.05):
                mark = taken.add(change_set)
                if confirm:
                    source.confirm(mark.resume)

    def finish(self, *, key: dict[str, tuple[str, ...]], leaves: dict[str, str] | None = None) -> list[Row]:
        """Read all, compare all; gives the changes."""
        plain = self.same()
        oracle = self.oracle(set(key), leaves or {})
        assert [(r["_xid"], r["_ordinal"], r["relation"], r["_op"]) for r in plain.changes()] == oracle
        for table, columns in key.items():
            assert replayed(plain.rows, table, columns) == self.printed(table, columns), table
        return plain.changes()

    def same(self) -> Taken:
        """All that was read, by any of the sources."""
        for name, source in self.sources.items():
            self.drain(source, self.taken[name])
        plain, streamed, copied = self.taken.values()
        assert plain.changes() == streamed.changes() == copied.changes()
        assert [source.stats.copied > 0 for source in self.sources.values()] == [False, False, True]
        return plain

    def oracle(self, published: set[str], leaves: dict[str, str]) -> list[tuple[int, int, str, str]]:
        """Transaction, ordinal, table and kind of every change, as `test_decoding` tells them."""
        found, ordinal = [], 0
        lines = self.connection.execute(
            "select xid::text::bigint, data from pg_logical_slot_peek_changes(%s, null, null, 'include-xids', '0')",
            [self.slot("oracle")],
        ).fetchall()
        for xid, line in lines:
            if line == "BEGIN":
                ordinal = 0
            elif line.startswith("table "):
                tables, _, kind = line[6:].partition(": ")
                for table in tables.split(", "):
                    name = leaves.get(table, table)
                    if name in published:
                        op = {"INSERT": "c", "UPDATE": "u", "DELETE": "d", "TRUNCATE": "t"}[kind.partition(":")[0]]
                        found.append((xid, ordinal, name, op))
                        ordinal += 1
        return found

    def printed(self, table: str, key: tuple[str, ...], *, generated: bool = False) -> dict[tuple[Any, ...], Row]:
        """The table as it stands, each value as the server prints it."""
        self.run("set timezone = 'UTC'")
        names = [
            name for (name,) in self.connection.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
                "and (attgenerated = '' or %s) order by attnum", [table, generated]
            )
        ]  # fmt: skip
        column = sql.SQL("case when {0} is not null then format('%s', {0}) end")
        query = sql.SQL("select {} from {}").format(
            sql.SQL(", ").join(column.format(sql.Identifier(name)) for name in names), sql.Identifier(*table.split("."))
        )
        rows = [dict(zip(names, row, strict=True)) for row in self.connection.execute(query)]
        return {tuple(row[name] for name in key): row for row in rows}


def replayed(rows: list[Row], table: str, key: tuple[str, ...]) -> dict[tuple[Any, ...], Row]:
    """The table that the changes make."""
    state: dict[tuple[Any, ...], Row] = {}
    for row in (row for row in rows if row["relation"] == table):
        after = {name: row[f"after_{name}"] for name in row["columns"]}
        before = tuple(row[f"before_{name}"] for name in key)
        now = tuple(after[name] for name in key)
        match row["_op"]:
            case "t":
                state.clear()
            case "d":
                del state[before]
            case "u":
                old = state.pop(before if before[0] is not None else now)
                absent = re.findall(r'"([^"]+)"', row["_absent"] or "")
                state[now] = {**old, **after, **{name: old[name] for name in absent}}
            case _:
                assert now not in state
                state[now] = after
    width = {name: None for row in state.values() for name in row}  # rows from before a column was added
    return {key_: {**width, **row} for key_, row in state.items()}


@pytest.fixture
def stage(database: str, tmp_path: Path) -> Iterator[Stage]:
    with psycopg.connect(database, autocommit=True) as connection:
        yield Stage(database, tmp_path, connection)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as opened:
        yield opened


ORDERS = "create table orders (id bigint primary key, name text, note text); alter table orders replica identity full"
ITEMS = "create table items (id bigint primary key, order_id bigint, what text)"
KEYS: dict[str, tuple[str, ...]] = {"public.orders": ("id",), "public.items": ("id",)}


def fill(first: int, last: int) -> str:
    return f"insert into orders select i, 'name ' || i, repeat('x', i % 90) from generate_series({first}, {last}) i"


def audit(user: str) -> str:
    return f"select pg_logical_emit_message(true, 'bv.audit', '{{\"user\":\"{user}\"}}')"


@contextmanager
def transaction(connection: Connection) -> Iterator[Callable[[str], object]]:
    with connection.transaction():
        yield lambda statement: connection.execute(statement.encode())


def test_copy_and_inserts_of_many_rows_give_each_row_its_own_position(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS, ITEMS, fill(1, 50))
    stage.begin(stack, "orders", "items")
    with stage.connection.cursor().copy("copy orders from stdin") as copy:
        for number in range(1000, 1400):
            copy.write_row((number, f"copied {number}", None))
    stage.run(fill(100, 200), "insert into items values (1, 2, 'a'), (2, 2, 'b'), (3, 1, 'c')")
    changes = stage.finish(key=KEYS)
    assert len({(row["_lsn"], row["_ordinal"]) for row in changes}) == len(changes) == 504
    assert [row["_ordinal"] for row in changes[:400]] == list(range(400))
    assert stage.sources["streaming"].stats.streamed == 0


def test_updates_of_the_key_tell_the_old_one(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS, ITEMS, fill(1, 20), "insert into items select i, i, 'item' from generate_series(1, 20) i")
    stage.begin(stack, "orders", "items")
    for table in ("orders", "items"):
        stage.run(f"update {table} set id = id + 1000 where id % 3 = 0", f"update {table} set id = -id where id = 7")
    stage.run("update items set what = 'changed' where id = 8")
    changes = stage.finish(key=KEYS)
    moved = [row for row in changes if row["relation"] == "public.items" and row["before_id"] is not None]
    assert [(row["before_id"], row["after_id"]) for row in moved][-1] == ("7", "-7")
    assert len(moved) == 7
    assert {row["before_what"] for row in moved} == {None}


def test_a_huge_transaction_streams_while_small_ones_commit(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS, ITEMS)
    stage.begin(stack, "orders", "items")
    with stage.another() as huge:
        huge.execute(audit("huge").encode())
        for part in range(5):
            huge.execute(fill(part * 1000 + 1, part * 1000 + 1000).encode())
            stage.run(f"insert into items values ({part}, 0, 'small')")
            stage.drain(stage.sources["streaming"], stage.taken["streaming"])
        assert list((stage.spill / stage.slot("streaming")).iterdir())
        assert {row["relation"] for row in stage.taken["streaming"].changes()} == {"public.items"}
        huge.commit()
    changes = stage.finish(key=KEYS)
    assert {row["_operation_user"] for row in changes if row["relation"] == "public.orders"} == {"huge"}
    assert stage.sources["streaming"].stats.streamed == 1
    assert stage.sources["plain"].stats.streamed == 0
    assert [mark.rows for mark in stage.taken["streaming"].marks][-1] == 5000
    assert not list((stage.spill / stage.slot("streaming")).iterdir())


@pytest.mark.parametrize("size", [3, 3000])
def test_savepoints_that_are_rolled_back_leave_no_trace(stage: Stage, stack: ExitStack, size: int) -> None:
    stage.run(ORDERS, ITEMS)
    stage.begin(stack, "orders", "items")
    with transaction(stage.connection) as run:
        run(audit("ann"))
        run(fill(1, size))
        run("savepoint a")
        run(fill(10_001, 10_000 + size))
        run("savepoint b")
        run("insert into items select i, i, repeat('y', 50) from generate_series(1, 2000) i")
        run("release b")
        run("truncate items")
        run("rollback to a")
        run(fill(20_001, 20_000 + size))
        run("savepoint c")
        run("update orders set name = 'kept' where id % 2 = 0")
        run("release c")
        run("insert into items values (1, 1, 'one')")
    changes = stage.finish(key=KEYS)
    assert {row["_operation_user"] for row in changes} == {"ann"}
    assert [row["_ordinal"] for row in changes] == list(range(len(changes)))
    assert stage.sources["streaming"].stats.streamed == 1


def test_transactions_that_are_rolled_back_leave_no_trace(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS)
    stage.begin(stack, "orders")
    with stage.another() as lost:
        for part in range(3):
            lost.execute(fill(part * 2000 + 1, part * 2000 + 2000).encode())
        stage.run("select pg_logical_emit_message(true, 'heartbeat', '')")  # flushes what is open, too
        stage.drain(stage.sources["streaming"], stage.taken["streaming"])
        assert stage.sources["streaming"].stats.spilled_bytes > 0
        lost.rollback()
    stage.run(fill(1, 5))
    assert len(stage.finish(key={"public.orders": ("id",)})) == 5
    assert not list((stage.spill / stage.slot("streaming")).iterdir())


def test_streamed_transactions_interleave(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS)
    stage.begin(stack, "orders")
    with stage.another() as one, stage.another() as two, stage.another() as three:
        for part in range(6):
            for number, writer in enumerate((one, two, three)):
                first = number * 100_000 + part * 700
                writer.execute(audit(f"user {number} {part}").encode())
                writer.execute(fill(first + 1, first + 700).encode())
                if part == 2:
                    writer.execute(b"savepoint s")
        two.execute(b"rollback to s")
        three.commit()
        stage.run(fill(900_000, 900_003))
        one.rollback()
        two.commit()
    changes = stage.finish(key={"public.orders": ("id",)})
    assert stage.sources["streaming"].stats.streamed == 2
    assert len(changes) == 6 * 700 + 4 + 3 * 700
    assert len({row["_operation_user"] for row in changes}) == 6 + 1 + 3


def test_truncate_of_several_tables(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS, ITEMS, "create table unpublished (id int)", fill(1, 10))
    stage.begin(stack, "orders", "items")
    stage.run("insert into items values (1, 1, 'x')")
    with transaction(stage.connection) as run:
        run(fill(100, 102))
        run("truncate items, unpublished, orders")
        run(fill(200, 201))
    changes = stage.finish(key=KEYS)
    assert [row["_op"] for row in changes] == ["c", "c", "c", "c", "t", "t", "c", "c"]


def test_audit_messages_stamp_the_rows_after_them(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS)
    stage.begin(stack, "orders")
    with transaction(stage.connection) as run:
        run(fill(1, 1))
        run("""select pg_logical_emit_message(true, 'bv.audit', '{"user":"ann","correlation_id":"c","source":"web"}')""")
        run("select pg_logical_emit_message(true, 'other', '{\"user\":\"eve\"}')")
        run("select pg_logical_emit_message(false, 'bv.audit', '{\"user\":\"eve\"}')")
        run(fill(2, 2))
        run("select pg_logical_emit_message(true, 'bv.audit', 'not json')")
        run(fill(3, 3))
    stage.run("select pg_logical_emit_message(false, 'heartbeat', 'x')", fill(4, 4))
    changes = stage.finish(key={"public.orders": ("id",)})
    said = [(row["_operation_user"], row["_correlation_id"], row["_source"]) for row in changes]
    assert said == [(None,) * 3, ("ann", "c", "web"), (None,) * 3, (None,) * 3]
    assert stage.sources["plain"].stats.ignored_messages == 3
    assert stage.sources["copied"].stats.ignored_messages >= 3  # it asks again, and some come a second time


def test_partitions_come_under_their_root_and_rows_move_between_them(stage: Stage, stack: ExitStack) -> None:
    stage.run(
        "create table sales (id int, at date, v text, primary key (id, at)) partition by range (at)",
        "create table sales_1 partition of sales for values from ('2026-01-01') to ('2026-02-01')",
        "create table sales_2 partition of sales for values from ('2026-02-01') to ('2026-03-01')",
        "insert into sales select i, '2026-01-15', 'v' || i from generate_series(1, 30) i",
    )
    stage.begin(stack, "sales")
    assert len(stage.taken["plain"].rows) == 30
    stage.run("update sales set at = '2026-02-15' where id % 10 = 0", "update sales set v = 'w' where id = 10",
              "delete from sales where id = 20", "truncate sales_1")  # fmt: skip
    plain = stage.same().changes()
    assert [row["_op"] for row in plain] == ["d", "c"] * 3 + ["u", "d"]  # the leaf's TRUNCATE is none of the root's
    assert {row["relation"] for row in plain} == {"public.sales"}
    told = stage.oracle({"public.sales"}, {"public.sales_1": "public.sales", "public.sales_2": "public.sales"})
    assert [op for *_, op in told[:-1]] == [row["_op"] for row in plain]


@pytest.mark.parametrize("identity", ["full", "default"])
def test_unchanged_toast_is_filled_or_named(stage: Stage, stack: ExitStack, identity: str) -> None:
    stage.run(
        "create table docs (id int primary key, short text, body text, more text)",
        "alter table docs alter body set storage external, alter more set storage external",
        f"alter table docs replica identity {identity}",
        "insert into docs select i, 's', repeat(md5(i::text), 200), repeat('m', 9000) from generate_series(1, 6) i",
    )
    stage.begin(stack, "docs")
    stage.run("update docs set short = 'one' where id = 1", "update docs set more = 'short now' where id = 2",
              "update docs set body = null where id = 3", "update docs set id = 40 where id = 4")  # fmt: skip
    changes = stage.finish(key={"public.docs": ("id",)})
    absent = [row["_absent"] for row in changes]
    expected = ['["body","more"]', '["body"]', '["more"]', '["body","more"]']
    assert absent == ([None] * 4 if identity == "full" else expected)
    assert [row["before_body"] is not None for row in changes] == [identity == "full"] * 4


def test_columns_come_and_go_in_the_middle_of_the_stream(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS, ITEMS)
    stage.begin(stack, "orders", "items")
    stage.run(fill(1, 3), "alter table orders add column extra int", "update orders set extra = 5 where id = 2")
    with transaction(stage.connection) as run:
        run("insert into orders select i, 'n', 'n', i from generate_series(100, 3000) i")
        run('alter table orders add column "Odd ""name"" ü" text default \'d\'')
        run("insert into orders select i, 'n', 'n', i, 'x' from generate_series(5000, 8000) i")
        run("savepoint s")
        run("alter table items add column gone int")
        run("insert into items values (1, 1, 'a', 1)")
        run("rollback to s")
        run("insert into items values (2, 1, 'b')")
    stage.run("insert into items values (3, 1, 'c')", "alter table orders rename note to remark", fill(9000, 9001))
    plain = stage.same().changes()
    shapes = list(dict.fromkeys(row["columns"] for row in plain if row["relation"] == "public.orders"))
    assert shapes == [
        ("id", "name", "note"),
        ("id", "name", "note", "extra"),
        ("id", "name", "note", "extra", 'Odd "name" ü'),
        ("id", "name", "remark", "extra", 'Odd "name" ü'),
    ]
    assert {row["columns"] for row in plain if row["relation"] == "public.items"} == {("id", "order_id", "what")}
    assert [(r["_xid"], r["_ordinal"], r["relation"], r["_op"]) for r in plain] == stage.oracle(set(KEYS), {})
    assert stage.sources["streaming"].stats.streamed >= 1


def test_snapshot_joins_the_stream_without_gap_or_overlap(stage: Stage, stack: ExitStack) -> None:
    stage.run(ORDERS, ITEMS, fill(1, 3000), "insert into items values (1, 1, 'x')")
    stage.run("create publication bitvelocity for table orders, items")
    source, taken = stack.enter_context(stage.open(stage.slot("joined"), SMALL_MEMORY)), Taken()
    for change_set in source.snapshot():
        stage.run(fill(4001, 4005), "update orders set name = 'later' where id < 10", "delete from items")
        source.confirm(taken.add(change_set).resume)
    reads = [row for row in taken.rows if row["_op"] == "r"]
    assert [row["_ordinal"] for row in reads] == list(range(3001))
    assert {(row["_lsn"], row["_xid"]) for row in reads} == {(taken.marks[0].resume - 1, 0)}
    assert {row["after_name"] for row in reads if row["relation"] == "public.orders"} == {f"name {i}" for i in range(1, 3001)}
    stage.run("delete from orders where id = 4001")
    stage.drain(source, taken)
    assert len(taken.changes()) == 5 + 9 + 1 + 1
    for table, key in KEYS.items():
        assert replayed(taken.rows, table, key) == stage.printed(table, key)
    assert list(source.snapshot()) == []


@pytest.mark.parametrize("seed", range(4))
def test_resume_at_any_confirmed_point_loses_and_doubles_nothing(stage: Stage, seed: int) -> None:
    dice, reader = random.Random(seed), random.Random(seed)  # two, since how sets are cut is a matter of time
    stage.run(ORDERS, ITEMS, "create publication bitvelocity for table orders, items")
    stage.one("select pg_create_logical_replication_slot(%s, 'test_decoding')", stage.slot("oracle"))
    taken, next_id = Taken(), 1
    with stage.open(stage.slot("resumed")) as source:
        for change_set in source.snapshot():
            taken.add(change_set)
    for _ in range(12):
        with stage.another() as open_one:
            for _ in range(dice.randint(1, 4)):
                count = dice.choice([1, 2, 50, 2000])
                writer = open_one if dice.random() < 0.5 else stage.connection
                writer.execute(fill(next_id, next_id + count - 1).encode())
                next_id += count
            stage.run(f"update orders set note = 'seen' where id % 7 = {dice.randint(0, 6)}")
            with stage.open(stage.slot("resumed"), reader.choice([*READERS.values()]), taken) as source:
                for number, change_set in enumerate(source.tail(0.02)):
                    mark = taken.add(change_set)
                    if reader.random() < 0.5:
                        source.confirm(mark.resume)
                    if number == reader.randint(0, 2):
                        break
                if dice.random() < 0.5:
                    open_one.commit()
    stage.run(fill(next_id, next_id + 2999))
    with stage.open(stage.slot("resumed"), SMALL_MEMORY, taken) as source:
        stage.drain(source, taken)
        assert source.stats.streamed > 0
    found = [(r["_xid"], r["_ordinal"], r["relation"], r["_op"]) for r in taken.changes()]
    assert found == stage.oracle(set(KEYS), {})
    assert replayed(taken.rows, "public.orders", ("id",)) == stage.printed("public.orders", ("id",))
