"""The trail as apply makes and changes it, and what each way can and cannot say."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import psycopg
import pytest
from psycopg import conninfo

from bitvelocity.capture import WalSource
from bitvelocity.contracts import Column, Entity, EntitySpec, Key, Type, check_set
from bitvelocity.contracts.trail import trail_of
from bitvelocity.errors import DatabaseError, DeclarationError
from bitvelocity.oltp import (
    TrailSink,
    apply,
    audit,
    check,
    connect,
    ensure_partitions,
    expire_partitions,
    plan,
)

NOTE = EntitySpec(
    name="note",
    table="notes",
    columns=(Column(name="id", type=Type("int32")), Column(name="text", type=Type("text"), nullable=True)),
    key=("id",),
    audit=False,
    audit_context="fallback",
    audit_trail="sync",
)
FOLLOWED = replace(NOTE, audit_trail="cdc")
NONE = replace(NOTE, audit_trail=None)


def settle(dsn: str, *specs: EntitySpec) -> str:
    made = plan(dsn, specs)
    apply(dsn, made)
    assert plan(dsn, specs).text() == ""
    return made.text()


def run(dsn: str, statement: str) -> list[tuple[Any, ...]]:
    with connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
        return cursor.fetchall() if cursor.description else []


def test_the_trail_is_never_published(database: str) -> None:
    settle(database, NOTE)
    assert run(database, "select tablename from pg_publication_tables") == [("notes",)]


def test_an_application_writes_the_trail_only_by_what_it_does(database: str) -> None:
    settle(database, NOTE)
    run(database, "drop role if exists shop_login")
    run(database, "create role shop_login login password 'x' in role bv_app")
    with connect(conninfo.make_conninfo(database, user="shop_login", password="x")) as connection:
        with audit(connection, user="alice"):
            connection.execute("insert into notes values (1, 'x')")
        connection.commit()
        assert connection.execute("select id, operation_user from notes_audit").fetchall() == [(1, "alice")]
        for statement in ("delete from notes_audit", "update notes_audit set operation_user = 'bob'", "insert into notes_audit (operation_type) values ('DELETE')"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), connection.transaction():
                connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
    run(database, "drop role shop_login")


def test_from_one_way_to_the_other_and_back(database: str) -> None:
    assert "trigger bv_trail" not in settle(database, NONE)
    made = settle(database, NOTE)
    assert made.count("create or replace trigger bv_trail_") == 4
    run(database, "insert into notes values (1, 'by the trigger')")
    changed = settle(database, FOLLOWED)
    assert changed.count("drop trigger") == 4
    assert "drop function" in changed
    (position,) = run(database, "select relation, lsn > '0/0' from bv.trail_position")
    assert position == ("public.notes", True), "what the trigger wrote is not written again"
    assert "set until = pg_current_wal_insert_lsn()" in settle(database, NOTE)
    (refused,) = plan(database, [FOLLOWED]).conflicts
    assert "not all in it yet" in refused.reason
    assert settle(database, NONE).count("drop trigger") == 4
    assert run(database, "select count(*) from notes_audit") == [(1,)], "a trail is never dropped"


def test_the_key_alone_where_the_source_sends_no_more(database: str, open_folder: Path) -> None:
    spec = replace(FOLLOWED, replica_identity="default")
    made = plan(database, [spec])
    (refused,) = made.refused
    assert "no old values" in refused.reason
    assert not refused.blocks
    apply(database, made)
    (told,) = [found for found in check(database, [spec]) if found.name == "audit trail"]
    assert told.state == "warn"
    assert "no old values" in told.what
    sink = TrailSink([spec])
    sink.connect(database)
    with WalSource(database, slot="trail", publication="bitvelocity", spill=open_folder, has_position=False) as source:
        for change_set in source.snapshot():
            assert not [batch.data.num_rows for batch in change_set if batch.data.num_rows]
            source.confirm(change_set.mark.resume)
        for statement in ("insert into notes values (1, 'x')", "update notes set text = 'y'", "update notes set id = 2", "delete from notes"):
            run(database, statement)
        for change_set in source.tail(0.5):
            for batch in change_set:
                sink.stage(batch)
            sink.commit(change_set.mark)
    sink.close()
    rows = run(database, "select id, operation_type, old_values, new_values from notes_audit order by audit_id")
    assert rows == [
        (1, "INSERT", None, {"id": 1, "text": "x"}), (1, "UPDATE", None, {"id": 1, "text": "y"}),
        (1, "DELETE", {"id": 1}, None), (2, "INSERT", None, {"id": 2, "text": "y"}), (2, "DELETE", {"id": 2}, None),
    ]  # fmt: skip


def test_a_copy_of_the_database_is_noticed(database: str) -> None:
    settle(database, FOLLOWED)
    run(database, "update bv.trail_position set lsn = 'FFFFFF/0'")
    with pytest.raises(DatabaseError, match="copy"):
        TrailSink([FOLLOWED]).connect(database)
    run(database, "delete from bv.trail_position")
    with pytest.raises(DatabaseError, match="no audit trail of"):
        TrailSink([FOLLOWED]).connect(database)


def test_what_a_declaration_may_not_ask() -> None:
    with pytest.raises(DeclarationError, match="is unknown"):

        class Odd(Entity, audit_trail="async"):  # type: ignore[arg-type]
            id: Annotated[int, Key()]

    with pytest.raises(DeclarationError, match="without a key"):

        class Keyless(Entity, key=(), audit_trail="cdc"):
            id: int

    with pytest.raises(DeclarationError, match="never altered"):

        class Foreign(Entity, managed=False, audit_trail="cdc"):
            id: Annotated[int, Key()]

    with pytest.raises(DeclarationError, match="of this name"):

        class Taken(Entity, audit_trail="cdc"):
            source: Annotated[str, Key()]

    with pytest.raises(DeclarationError, match="means nothing"):

        class Vain(Entity, audit_changed_only=True):
            id: Annotated[int, Key()]

    with pytest.raises(DeclarationError, match="declared 2 times"):
        check_set([NOTE, replace(NONE, name="other", table="notes_audit")])


@pytest.mark.every_postgres
def test_what_is_older_than_the_retention_goes(database: str) -> None:
    spec = replace(NOTE, retention="1 year")
    settle(database, spec)
    trail = trail_of(spec)
    ensure_partitions(database, [trail], since=datetime(2020, 1, 1, tzinfo=UTC))
    for moment in ("2019-05-01", "2020-02-01", "2020-02-29 23:59", "now"):
        run(database, f"insert into notes_audit (operation_type, operation_timestamp) values ('DELETE', '{moment}')")
    gone = expire_partitions(database, [trail])["note_audit"]
    assert "notes_audit_p2020_02" in gone
    assert "1 rows of notes_audit_default" in gone
    assert run(database, "select count(*) from notes_audit") == [(1,)]
    assert expire_partitions(database, [trail]) == {}
    assert not [name for name in gone if "p2026" in name]
    assert plan(database, [spec]).text() == ""
