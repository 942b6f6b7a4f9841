"""No anonymous change: `audit_context` refuses a write without a context, or tells whose session it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from bitvelocity.contracts import AUDIT_COLUMNS, Column, EntitySpec, Partition, Reference, Type
from bitvelocity.oltp import (
    EmbeddedPostgres,
    Server,
    apply,
    audit,
    connect,
    ensure_partitions,
    installed,
    plan,
)

INT = Type("int32")
NOTE = EntitySpec(
    name="note",
    table="notes",
    columns=(Column(name="id", type=INT), Column(name="text", type=Type("text"), nullable=True), *AUDIT_COLUMNS),
    key=("id",),
    audit_context="strict",
)
REMARK = EntitySpec(
    name="remark",
    table="remarks",
    columns=(Column(name="id", type=INT), Column(name="note_id", type=INT, nullable=True)),
    key=("id",),
    references=(Reference(columns=("note_id",), to="public.notes", to_columns=("id",), on_delete="cascade"),),
    audit=False,
    audit_context="strict",
)
EVENT = replace(
    NOTE, name="event", table="events", key=("id", "created_at"), partition=Partition(column="created_at", ahead=1, behind=0)
)
WRITES = {
    "insert": "insert into notes (id) values (2)",
    "upsert": "insert into notes (id) values (1) on conflict (id) do update set text = 'x'",
    "update": "update notes set text = 'x'",
    "update of nothing": "update notes set text = 'x' where false",
    "delete": "delete from notes",
    "truncate": "truncate notes cascade",
    "merge": "merge into notes n using (values (1)) as v (id) on v.id = n.id when matched then delete",
}


def settle(dsn: str, *specs: EntitySpec) -> str:
    """Plan and apply; the plan's text."""
    made = plan(dsn, specs)
    apply(dsn, made)
    assert plan(dsn, specs).text() == ""
    return made.text()


def listen(dsn: str) -> None:
    with connect(dsn, autocommit=True) as admin:
        admin.execute("select pg_create_logical_replication_slot('told', 'test_decoding')")


def told(dsn: str) -> list[dict[str, Any]]:
    """The contexts in the WAL since the last call, as they were written."""
    with connect(dsn, autocommit=True) as admin:
        rows = admin.execute("select data from pg_logical_slot_get_changes('told', null, null)").fetchall()
    return [json.loads(line.split("content:", 1)[1]) for (line,) in rows if line.startswith("message:")]


def refused(connection: Connection[Any], statement: str) -> psycopg.Error:
    with pytest.raises(psycopg.Error) as caught, connection.transaction():
        connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
    assert caught.value.sqlstate == "BV001", caught.value
    return caught.value


@pytest.fixture
def connection(database: str) -> Iterator[Connection[Any]]:
    """On the tables, one note with one remark in them."""
    settle(database, NOTE, REMARK, EVENT)
    with connect(database) as connection:
        with audit(connection, user="setup"):
            connection.execute("insert into notes (id) values (1)")
            connection.execute("insert into remarks values (1, 1)")
        connection.commit()
        yield connection


@pytest.mark.every_postgres
@pytest.mark.parametrize("write", WRITES)
def test_strict_refuses_a_write_without_context(connection: Connection[Any], write: str) -> None:
    error = refused(connection, WRITES[write])
    assert "notes" in (error.diag.message_primary or "")
    assert 'audit_context="strict"' in (error.diag.message_detail or "")
    assert "bv.audit(" in (error.diag.message_hint or "")
    assert (error.diag.schema_name, error.diag.table_name) == ("public", "notes")
    with connection.transaction(), audit(connection, user="alice"):
        connection.execute(WRITES[write])  # type: ignore[call-overload,unused-ignore]


def test_copy_and_the_next_transaction(connection: Connection[Any]) -> None:
    with pytest.raises(psycopg.Error, match="who acts"), connection.cursor().copy("copy notes (id) from stdin") as copy:
        copy.write_row((7,))
    connection.rollback()
    with audit(connection, user="alice"):
        connection.execute("insert into notes (id) values (8)")
    connection.commit()
    refused(connection, "insert into notes (id) values (9)")


def test_reading_and_cascades_need_nothing_of_their_own(connection: Connection[Any]) -> None:
    assert connection.execute("select id from notes for update").fetchall() == [(1,)]
    with audit(connection, user="alice"):
        connection.execute("delete from notes")
    assert connection.execute("select count(*) from remarks").fetchone() == (0,)


@pytest.mark.every_postgres
def test_leaves_too_are_guarded_also_those_that_come_later(connection: Connection[Any], database: str) -> None:
    from datetime import UTC, datetime

    made = ensure_partitions(database, [EVENT], since=datetime(2020, 1, 1, tzinfo=UTC))
    assert "events_p2020_01" in made["event"]
    for leaf, at in (("events_p2020_01", "2020-01-05"), ("events_default", "1999-01-01"), ("events", "2020-01-05")):
        refused(connection, f"insert into {leaf} (id, created_at) values (1, '{at}')")
        with connection.transaction(), audit(connection, user="alice"):
            connection.execute(f"insert into {leaf} (id, created_at) values (2, '{at}')")  # type: ignore[call-overload,unused-ignore]
            connection.execute(f"delete from {leaf}")  # type: ignore[call-overload,unused-ignore]


def test_a_context_in_a_savepoint_that_is_rolled_back_does_not_count(connection: Connection[Any]) -> None:
    connection.execute("savepoint s")
    with audit(connection, user="lost"):
        connection.execute("insert into notes (id) values (2)")
        connection.execute("rollback to s")
        refused(connection, "insert into notes (id) values (3)")
    block = "begin perform set_config('bv.operation_user', 'x', true); raise division_by_zero; exception when others then end"
    connection.execute(f"do $$ begin {block}; end $$")
    refused(connection, "insert into notes (id) values (4)")


def test_settings_alone_will_do_and_become_the_message(connection: Connection[Any], database: str) -> None:
    connection.execute("set bv.operation_user = 'carol'")
    connection.execute("set bv.source = 'psql'")
    connection.commit()
    listen(database)
    for n in (2, 3):
        connection.execute("insert into notes (id) values (%s)", [n])
        connection.execute("update notes set text = 'again'")
        connection.commit()
    assert told(database) == [{"user": "carol", "correlation_id": None, "source": "psql"}] * 2, "once in a transaction"


def test_apply_workers_are_let_through(connection: Connection[Any]) -> None:
    """Their origin has asked already; rows that replication applies must never be refused."""
    connection.execute("set session_replication_role = replica")
    connection.execute("insert into notes (id, created_by, updated_by) values (5, 'x', 'x')")


def test_strict_over_a_fallback_of_another_table(connection: Connection[Any], database: str) -> None:
    settle(database, NOTE, replace(REMARK, audit_context="fallback"), EVENT)
    connection.execute("insert into remarks values (9, null)")
    refused(connection, "insert into notes (id) values (9)")


@pytest.mark.every_postgres
def test_fallback_tells_of_the_session_once(database: str) -> None:
    settle(database, replace(NOTE, audit_context="fallback"))
    listen(database)
    with connect(database) as connection:
        connection.execute("set application_name = 'night job'")
        connection.execute("insert into notes (id) values (1)")
        connection.execute("update notes set text = 'x'")
        connection.execute("savepoint s")
        with audit(connection, user="alice"):
            connection.execute("insert into notes (id) values (2)")
        connection.execute("update notes set text = 'y'")
        connection.execute("rollback to s")
        connection.execute("update notes set text = 'z'")
        connection.commit()
        row = connection.execute("select created_by, session_user from notes").fetchone()
    assert row
    assert row[0] == row[1]
    first, *rest = told(database)
    assert first == {
        "user": row[1], "source": "fallback:night job@local", "fallback": True, "application": "night job", "address": None,
    }  # fmt: skip
    assert rest == [], "what was said in the savepoint went with it"


def test_fallback_in_a_savepoint_is_said_again_after_it(database: str) -> None:
    settle(database, replace(NOTE, audit_context="fallback"))
    listen(database)
    with connect(database) as connection:
        connection.execute("savepoint s")
        connection.execute("insert into notes (id) values (1)")
        connection.execute("rollback to s")
        connection.execute("insert into notes (id) values (2)")
        with audit(connection, user="alice"):
            connection.execute("insert into notes (id) values (3)")
        connection.commit()
    assert [bool(message.get("fallback")) for message in told(database)] == [True, False]


def test_apply_adds_changes_and_removes_it(database: str) -> None:
    off = replace(EVENT, audit_context="off")
    assert "bv_context" not in settle(database, off)
    strict = settle(database, EVENT)
    assert strict.count("create or replace trigger bv_context") == 4, "root, default and two months"
    fallback = settle(database, replace(EVENT, audit_context="fallback"))
    assert fallback.count("bv.context_fallback()") == 4
    with connect(database, autocommit=True) as connection:
        connection.execute("alter table events_default disable trigger bv_context")
    assert settle(database, replace(EVENT, audit_context="fallback")).count("create or replace trigger") == 1
    assert settle(database, off).count("drop trigger bv_context") == 4


@pytest.mark.every_postgres
def test_prepared_transactions(postgres: Server, open_folder: Path) -> None:
    """Two-phase commit takes the context along, and needs one."""
    with connect(postgres.dsn) as connection:
        major = connection.info.server_version // 10000
    binaries = next(found for found in installed() if found.major == major)
    engine = EmbeddedPostgres(
        open_folder / "pg", binaries=binaries, settings={"max_prepared_transactions": "2", "fsync": "off"}
    )
    with engine as server:
        settle(server.dsn, NOTE)
        listen(server.dsn)
        with connect(server.dsn) as connection:
            refused(connection, "insert into notes (id) values (1)")
            with audit(connection, user="alice"):
                connection.execute("insert into notes (id) values (1)")
                connection.execute("prepare transaction 'two'")
            connection.autocommit = True
            refused(connection, "insert into notes (id) values (2)")
            connection.execute("commit prepared 'two'")
            assert connection.execute("select created_by from notes").fetchall() == [("alice",)]
        assert [message["user"] for message in told(server.dsn)] == ["alice"]
        with connect(server.dsn, autocommit=True) as connection:
            connection.execute("select pg_drop_replication_slot('told')")
