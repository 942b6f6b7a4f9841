"""An audit trail is the same whoever keeps it: change capture, or a trigger in the transaction itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, LiteralString

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import Connection, errors, sql

from bitvelocity.capture import WalSource
from bitvelocity.changes import Mark, parse_lsn
from bitvelocity.contracts import Column, EntitySpec, Partition, Type
from bitvelocity.contracts.spec import AuditTrail
from bitvelocity.oltp import Server, TrailSink, apply, audit, connect, ensure_partitions, plan

TEXT = Type("text")
KINDS = {
    "note": TEXT, "amount": Type("decimal", 10, 2), "any_number": Type("decimal"), "ratio": Type("float64"),
    "small": Type("float32"), "flag": Type("boolean"), "tags": Type("array", item=TEXT), "data": Type("jsonb"),
    "raw": Type("json"), "day": Type("date"), "span": Type("interval"), "blob": Type("bytes"), "uid": Type("uuid"),
    "moment": Type("timestamp"), "host": Type("other", native="inet"), "spot": Type("other", native="point"),
    "mood": Type("enum", native="mood", choices=("sad", "so-so")), "code": Type("char", length=3), 'odd "name': TEXT,
}  # fmt: skip
EVENT = EntitySpec(
    name="event",
    table="events",
    columns=(
        Column(name="id", type=Type("int32")),
        Column(name="at", type=Type("timestamptz")),
        *(Column(name=name, type=of, nullable=True) for name, of in KINDS.items()),
        Column(name="twice", type=Type("int32"), generated="id * 2", nullable=True),
    ),
    key=("id", "at"),
    partition=Partition(column="at", ahead=1, behind=1),
    audit=False,
    audit_context="fallback",
    audit_trail="cdc",
)
FULL = """
insert into {t} values (1, '2024-01-05', repeat('x', 9000), 99.90, 12345678901234567890.000100, 0.1, 0.1, true, '{{a,"b,c"}}',
  '{{"b": 1.50, "a": null}}', '{{"z": 1,  "a": 2}}', '2024-02-29', '1 mon 2 days 03:04:05.000006', '\\x00ff', '00000000-0000-0000-0000-00000000000a',
  '2024-01-01 00:00:00.5', '10.0.0.1/8', '(1,2.5)', 'so-so', 'ab', E'q"\\n\\\\.\\n')"""
STORY: Sequence[LiteralString] = (
    FULL,
    "insert into {t} (id, at, note) values (2, '2024-01-06', ''), (3, '2024-01-06', null), (4, '2031-05-05', 'n')",
    "insert into {t} (id, at, ratio, any_number) values (5, '2024-01-07', 'NaN', 'NaN'), (6, '2024-01-07', '-infinity', 0)",
    "update {t} set amount = amount + 0.10, raw = raw where id = 1",
    "update {t} set note = 'changed' where id in (2, 3)",
    "update {t} set flag = false where false",
    "update {t} set id = id + 100 where id in (2, 3)",
    "update {t} set at = '2024-02-06' where id = 1",
    "insert into {t} (id, at) values (102, '2024-01-06'), (7, '2024-01-06') on conflict (id, at) do update set note = 'up'",
    "merge into {t} e using (values (103)) v (id) on e.id = v.id when matched then update set flag = true",
    "savepoint s", "delete from {t}", "rollback to s",
    "delete from {t} where id in (7, 103)",
    "insert into {leaf} (id, at) values (8, '2024-01-08')",
    "update {leaf} set note = 'in a leaf' where id = 8",
    "truncate {t}",
    "insert into {t} (id, at) values (9, '2024-01-09')",
)  # fmt: skip
COLUMNS = "id, at, operation_type, operation_user, old_values::text, new_values::text, correlation_id, source"


def specs(*, changed_only: bool = False) -> list[EntitySpec]:
    """The same table, once for each way."""
    ways: tuple[AuditTrail, ...] = ("cdc", "sync")
    return [
        replace(EVENT, name=way, table=f"events_{way}", audit_trail=way, audit_changed_only=changed_only) for way in ways
    ]


def prepare(dsn: str, declared: Sequence[EntitySpec]) -> None:
    from datetime import UTC, datetime

    apply(dsn, plan(dsn, declared))
    assert plan(dsn, declared).text() == ""
    ensure_partitions(dsn, declared, since=datetime(2024, 1, 1, tzinfo=UTC))
    assert plan(dsn, declared).text() == ""


def tell(connection: Connection[Any], story: Sequence[LiteralString]) -> None:
    """The story to both tables, in transactions of their own, with the same context."""
    for spec in specs():
        table, leaf = sql.Identifier(spec.table), sql.Identifier(f"{spec.table}_p2024_01")
        with connection.transaction():
            for n, statement in enumerate(story):
                if n == 1:
                    with audit(connection, user="alice", correlation_id="c-1", source="shop"):
                        connection.execute(sql.SQL(statement).format(t=table, leaf=leaf))
                else:
                    connection.execute(sql.SQL(statement).format(t=table, leaf=leaf))


def follow(dsn: str, declared: Sequence[EntitySpec], folder: Path) -> None:
    """Change capture from where it stands to the end, into the trail."""
    sink = TrailSink(declared)
    sink.connect(dsn)
    with connect(dsn) as connection:
        there = connection.execute("select count(*) from pg_replication_slots where slot_name = 'trail'").fetchone()
    with WalSource(dsn, slot="trail", publication="bitvelocity", spill=folder, has_position=there == (1,)) as source:
        for change_set in source.snapshot():
            for batch in change_set:
                sink.stage(batch)
            sink.commit(change_set.mark)
            source.confirm(change_set.mark.resume)
        for change_set in source.tail(1.0):
            for batch in change_set:
                sink.stage(batch)
            sink.commit(change_set.mark)
            source.confirm(change_set.mark.resume)
    sink.close()


def written(connection: Connection[Any], way: str) -> list[tuple[Any, ...]]:
    rows = connection.execute(f"select {COLUMNS} from events_{way}_audit order by audit_id").fetchall()  # type: ignore[call-overload,unused-ignore]
    connection.commit()
    return rows  # type: ignore[no-any-return,unused-ignore]


def by_statement(connection: Connection[Any], way: str) -> list[list[tuple[Any, ...]]]:
    """The rows of each transaction of one statement, in order; within it a table that is pruned in between gives its rows in another."""
    query = f"select operation_timestamp, {COLUMNS} from events_{way}_audit order by audit_id"
    rows = connection.execute(query).fetchall()  # type: ignore[call-overload,unused-ignore]
    connection.commit()
    return [sorted((row[1:] for row in group), key=repr) for _, group in groupby(rows, key=itemgetter(0))]


@pytest.mark.every_postgres
@pytest.mark.parametrize("changed_only", [False, True], ids=["whole", "changed only"])
def test_both_ways_write_the_same(database: str, open_folder: Path, changed_only: bool) -> None:
    declared = specs(changed_only=changed_only)
    prepare(database, declared)
    follow(database, declared, open_folder)
    with connect(database) as connection:
        connection.execute("set timezone = 'Asia/Kolkata'")
        connection.execute("set intervalstyle = 'iso_8601'")
        connection.commit()
        tell(connection, STORY)
        follow(database, declared, open_folder)
        connection.execute("set timezone = 'UTC'")
        cdc, sync = written(connection, "cdc"), written(connection, "sync")
        assert len(sync) == 24, [row[:3] for row in sync]
        for one, other in zip(cdc, sync, strict=True):
            assert one == other
    first, second = sync[0], sync[1]
    assert first[7] == "fallback:bitvelocity@local"
    assert (second[3], second[6], second[7]) == ("alice", "c-1", "shop")
    assert '"amount": 99.90' in first[5], "money as it is, to the last zero"
    assert "twice" not in first[5]
    changed = next(row for row in sync if row[2] == "UPDATE")
    assert ('"note"' in changed[5]) is not changed_only, changed[5]
    assert '"amount": 100.00' in changed[5]
    assert '"amount": 99.90' in changed[4]
    operations = [row[2] for row in sync]
    assert operations.count("TRUNCATE") == 1
    assert operations[9:13] == ["DELETE", "INSERT", "DELETE", "INSERT"], "a key that changes is another row"


VALUES = st.sampled_from(["null", "0", "1.5", "2.50"])
WRITES = st.one_of(
    st.tuples(st.just("insert"), st.integers(1, 4), VALUES),
    st.tuples(st.just("update"), st.integers(1, 4), VALUES),
    st.tuples(st.just("shift"), st.integers(1, 4), VALUES),
    st.tuples(st.just("move"), st.integers(1, 4), VALUES),
    st.tuples(st.just("all"), st.integers(1, 4), VALUES),
    st.tuples(st.just("delete"), st.integers(1, 4), VALUES),
)
WORDS: dict[str, LiteralString] = {
    "insert": "insert into {t} (id, at, amount) values ({n}, '2024-01-05', {v}) on conflict (id, at) do update set amount = excluded.amount",
    "update": "update {t} set amount = {v} where id = {n}",
    "shift": "update {t} set id = id + 10 where id = {n}",
    "move": "update {t} set at = at + interval '1 month' where id = {n} and at < '2024-06-01'",
    "all": "update {t} set amount = {v}, note = amount::text",
    "delete": "delete from {t} where id = {n}",
}


def test_any_history(postgres: Server, database: str, open_folder: Path) -> None:
    declared = specs(changed_only=True)
    prepare(database, declared)
    follow(database, declared, open_folder)

    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(WRITES, min_size=6, max_size=15))
    def check(writes: list[tuple[str, int, str]]) -> None:
        for spec in declared:
            with connect(database) as connection:
                for word, number, value in (*(("insert", n, "0") for n in range(1, 5)), *writes):
                    text = sql.SQL(WORDS[word]).format(
                        t=sql.Identifier(spec.table), n=sql.Literal(number), v=sql.Literal(value if value != "null" else None)
                    )
                    with suppress(errors.UniqueViolation), connection.transaction():  # both tables refuse it alike
                        connection.execute(text)

    check()
    follow(database, declared, open_folder)
    with connect(database) as connection:
        cdc, sync = by_statement(connection, "cdc"), by_statement(connection, "sync")
        assert len(sync) > 20
        assert cdc == sync


def test_what_a_trigger_took_over_is_done_with_a_later_change(database: str) -> None:
    """Of the table itself nothing was left to write: it is the mark that tells that all before the trigger was seen."""
    (cdc, _) = specs()
    sync = replace(cdc, audit_trail="sync")
    prepare(database, [cdc])
    apply(database, plan(database, [sync]))
    with connect(database, autocommit=True) as connection:
        (until,) = connection.execute("select until::text from bv.trail_position").fetchone() or ("",)
        sink = TrailSink([sync])
        sink.connect(database)
        for lsn, left in ((parse_lsn(until) - 1, 1), (parse_lsn(until), 0)):
            sink.commit(Mark(lsn, lsn))
            assert connection.execute("select count(*) from bv.trail_position").fetchone() == (left,)
        sink.close()
