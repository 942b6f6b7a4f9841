"""What a source gives beside rows, to those who ask: logical messages, transactions, shapes and the rows' own LSNs.

Each test reads the same workload twice: as the server likes to send it, and with so little memory on the server that
all but small transactions come ahead of their commit.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.changes import MESSAGES, TRANSACTIONS, Batch, Mark

pytestmark = pytest.mark.every_postgres
BIG = "select {i}, repeat(md5({i}::text), 8)"


@dataclass
class Reader:
    """A source and all that it gave."""

    source: WalSource
    connection: psycopg.Connection[tuple[Any, ...]]
    batches: list[Batch] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)

    def drain(self) -> None:
        self.connection.execute("checkpoint")  # a message outside of a transaction does not flush itself
        row = self.connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        deadline = time.monotonic() + 60
        while self.source.seen < row[0]:
            assert time.monotonic() < deadline
            for change_set in self.source.tail(0.05):
                self.batches += change_set
                self.marks.append(change_set.mark)
                self.source.confirm(change_set.mark.resume)

    def rows(self, relation: str) -> list[dict[str, Any]]:
        return [row for b in self.batches if b.relation == relation for row in b.data.to_pylist()]

    def said(self) -> list[tuple[str, str, str, int]]:
        """Prefix, content, transactional, ordinal of each message."""
        return [
            (r["after_prefix"], bytes.fromhex(r["after_content"][2:]).decode(), r["after_transactional"], r["_ordinal"])
            for r in self.rows(MESSAGES)
        ]


@dataclass
class Stage:
    dsn: str
    spill: Path
    connection: psycopg.Connection[tuple[Any, ...]]
    opened: list[WalSource] = field(default_factory=list)

    def run(self, *statements: str) -> None:
        for statement in statements:
            self.connection.execute(statement.encode())

    def open(self, name: str, messages: tuple[str, ...], tuning: Tuning) -> Reader:
        slot = f"{name}_{self.connection.info.dbname}"
        source = WalSource(self.dsn, slot=slot, spill=self.spill, has_position=False, messages=messages,
                           tuning=replace(tuning, detail=True))  # fmt: skip
        self.opened.append(source)
        for change_set in source.snapshot():
            list(change_set)
            source.confirm(change_set.mark.resume)
        return Reader(source, self.connection)

    def readers(self, *messages: str) -> list[Reader]:
        self.run("create table orders (id bigint primary key, note text)", "create table items (id int primary key)",
                 "create publication bitvelocity for table orders, items")  # fmt: skip
        ahead = Tuning(settings={"logical_decoding_work_mem": "64kB"})
        ways = {"plain": Tuning(feed="walsender"), "ahead": ahead, "copied": Tuning(feed="copy")}
        return [self.open(name, messages, tuning) for name, tuning in ways.items()]


@pytest.fixture
def stage(database: str, tmp_path: Path) -> Iterator[Stage]:
    with psycopg.connect(database, autocommit=True) as connection:
        opened = Stage(database, tmp_path, connection)
        yield opened
        for source in opened.opened:
            source.close()


def emit(prefix: str, content: str, *, transactional: bool = True) -> str:
    return f"select pg_logical_emit_message({str(transactional).lower()}, '{prefix}', '{content}')"


def test_messages_come_in_their_place_before_the_next_row(stage: Stage) -> None:
    readers = stage.readers("*")
    insert = f"insert into orders {BIG.format(i='i')} from generate_series({{}}, {{}}) i"
    with stage.connection.transaction():
        stage.run(emit("bv.audit", '{"user":"ann"}'), insert.format(1, 500), emit("bv.watermark", "w€"))
        stage.run(insert.format(501, 1000), emit("mine", ""))
    stage.run(emit("alone", "a"), emit("beside", "b", transactional=False), "insert into items values (1)")
    for reader in readers:
        reader.drain()
        assert reader.said() == [
            ("bv.audit", '{"user":"ann"}', "t", 0), ("bv.watermark", "w€", "t", 500), ("mine", "", "t", 1000),
            ("alone", "a", "t", 0), ("beside", "b", "f", 0),
        ]  # fmt: skip
        rows = reader.rows("public.orders")
        assert [(r["_ordinal"], r["_operation_user"]) for r in rows] == [(n, "ann") for n in range(1000)]
        messages = reader.rows(MESSAGES)
        assert {m["_lsn"] for m in messages[:3]} == {r["_lsn"] for r in rows}
        assert [m["_op"] for m in messages] == ["m"] * 5
        beside, after = messages[-1], reader.rows("public.items")[0]
        assert messages[-2]["_lsn"] < beside["_lsn"] < after["_lsn"]
        assert (beside["_xid"], beside["_committed_at"]) == (0, None)
        assert sum(mark.rows for mark in reader.marks) == 1001
        assert reader.source.stats.ignored_messages == 0
    assert readers[1].source.stats.streamed == 1


def test_only_the_wanted_prefixes_come_and_a_set_may_hold_nothing_else(stage: Stage) -> None:
    readers = stage.readers("bv.watermark", "a prefix of more than sixteen bytes")
    stage.run(
        emit("bv.watermark", "1"),
        emit("bv.watermark2", "no"),
        emit("bv.watermar", "no"),
        emit("bv.audit", '{"user":"no"}'),
        emit("a prefix of more than sixteen bytes", "2", transactional=False),
        emit("a prefix of more than sixteen letters", "no", transactional=False),
    )
    for reader in readers:
        reader.drain()
        assert [content for _, content, _, _ in reader.said()] == ["1", "2"]
        assert all(mark.rows == 0 and mark.lsn < mark.resume for mark in reader.marks)
        assert reader.source.stats.ignored_messages == 3


def test_a_message_outside_of_transactions_comes_once_over_a_restart(stage: Stage) -> None:
    reader = stage.readers("*")[0]
    stage.run(emit("one", "", transactional=False))
    reader.drain()
    position = reader.marks[-1].lsn
    reader.source.close()
    stage.run(emit("two", "", transactional=False))
    slot = f"plain_{stage.connection.info.dbname}"
    source = WalSource(stage.dsn, slot=slot, spill=stage.spill, has_position=True, start_lsn=position, messages=["*"])
    stage.opened.append(source)
    again = Reader(source, stage.connection)
    again.drain()
    assert [prefix for prefix, *_ in again.said()] == ["two"]


def test_a_message_in_a_savepoint_that_is_rolled_back_is_dropped(stage: Stage) -> None:
    readers = stage.readers("*")
    with stage.connection.transaction():
        stage.run(emit("kept", "1"), f"insert into orders {BIG.format(i='i')} from generate_series(1, 600) i")
        stage.run("savepoint s", emit("gone", "2"), "insert into items select generate_series(10, 3000)")
        stage.run("rollback to s", emit("kept", "3"), "insert into items values (2)")
    for reader in readers:
        reader.drain()
        assert [(r["_ordinal"], r["after_id"]) for r in reader.rows("public.items")] == [(600, "2")]
        assert reader.said() == [("kept", "1", "t", 0), ("kept", "3", "t", 600)]


def test_transactions_are_told_with_where_they_begin_and_end(stage: Stage) -> None:
    readers = stage.readers()
    stage.run("insert into items values (1)")
    with stage.connection.transaction():
        stage.run(f"insert into orders {BIG.format(i='i')} from generate_series(1, 1000) i")
    stage.run("update items set id = 2")
    told = []
    for reader in readers:
        reader.drain()
        found = [r for r in reader.rows(TRANSACTIONS) if int(r["after_end_lsn"]) > 0]
        rows = sorted(
            (r for name in ("public.items", "public.orders") for r in reader.rows(name)),
            key=lambda r: (r["_lsn"], r["_ordinal"]),
        )
        assert [r["_lsn"] for r in found] == list(dict.fromkeys(r["_lsn"] for r in rows))
        for one in found:
            own = [r["_row_lsn"] for r in rows if r["_lsn"] == one["_lsn"]]
            assert own == sorted(own)
            assert int(one["after_begin_lsn"]) == own[0]
            assert own[-1] < one["_lsn"] < int(one["after_end_lsn"])
            assert {(r["_xid"], r["_committed_at"]) for r in rows if r["_lsn"] == one["_lsn"]} == {
                (one["_xid"], one["_committed_at"])
            }
        told.append([(r["_lsn"], r["_xid"], r["after_end_lsn"], r["after_begin_lsn"]) for r in found])
    assert told[0] == told[1] == told[2]


def test_rows_tell_what_was_sent_of_the_row_before_and_batches_their_shape(stage: Stage) -> None:
    reader = stage.readers()[0]
    stage.run(
        "insert into orders values (1, 'a')",
        "update orders set note = 'b'",
        "update orders set id = 2",
        "alter table orders alter note type varchar(7), replica identity full",
        "update orders set note = 'c'",
        "delete from orders",
    )
    reader.drain()
    assert [(r["_op"], r["_old"]) for r in reader.rows("public.orders")] == [
        ("c", None), ("u", None), ("u", "K"), ("u", "O"), ("d", "O"),
    ]  # fmt: skip
    shapes = [b.shape for b in reader.batches if b.relation == "public.orders"]
    first, last = shapes[0], shapes[-1]
    assert first is not None
    assert last is not None
    assert (first.types, first.modifiers, first.key, first.identity) == ((20, 25), (-1, -1), (True, False), "d")
    assert (last.types, last.modifiers, last.key, last.identity) == ((20, 1043), (-1, 11), (True, True), "f")
