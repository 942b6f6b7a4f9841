"""Faults whose remedy needs a restart of the server, and those that only another database can have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import conninfo

from bitvelocity.oltp import EmbeddedPostgres, Server, connect, installed
from bitvelocity.oltp.checks import Check, Limits, Wanted, look

if TYPE_CHECKING:
    from tests.unit.oltp.checks.conftest import Patient

pytestmark = pytest.mark.every_postgres
TIGHT = {
    "wal_level": "replica", "summarize_wal": "off", "max_replication_slots": "1", "max_wal_senders": "1",
    "max_prepared_transactions": "2", "fsync": "off", "shared_buffers": "16MB",
}  # fmt: skip
STRICT = Limits(open_seconds=0.0)


@pytest.fixture
def tight(open_folder: Path, postgres: Server) -> Iterator[EmbeddedPostgres]:
    """A server that is set up for anything but change capture."""
    binaries = next(found for found in installed() if found.major == postgres.major)
    settings = {name: value for name, value in TIGHT.items() if name != "summarize_wal" or postgres.major >= 17}
    engine = EmbeddedPostgres(open_folder / "pg", settings=settings, binaries=binaries)
    with engine:
        yield engine


def faults(dsn: str, **options: Any) -> dict[str, Check]:
    wanted = Wanted(specs=(), publication="bitvelocity", slot="none", begun=False, **options)
    return {check.name: check for check in look(dsn, wanted) if check.state != "ok"}


def test_a_server_that_must_be_restarted(tight: EmbeddedPostgres) -> None:
    dsn = tight.start().dsn
    with connect(dsn, autocommit=True) as admin:
        admin.execute("select pg_create_physical_replication_slot('standby')")
        found = faults(dsn)
        expected = {"wal_level": "bad", "max_replication_slots": "bad", "max_wal_senders": "warn"}
        assert {name: found[name].state for name in expected} == expected
        for name in expected:
            statement, _, then = str(found[name].remedy).partition(";")
            assert "restart" in then
            admin.execute(statement.encode())
    tight.stop()
    assert not expected.keys() & faults(tight.start().dsn).keys()


def test_prepared_transactions_hold_back_a_slot(tight: EmbeddedPostgres) -> None:
    dsn = tight.start().dsn
    with connect(dsn, autocommit=True) as admin:
        admin.execute("create table t (id int primary key)")
        for statement in ("begin", "insert into t values (1)", "prepare transaction 'it''s forgotten'"):
            admin.execute(statement.encode())
        found = faults(dsn, limits=STRICT)["prepared transactions"]
        assert "it's forgotten" in found.what
        assert found.remedy == "rollback prepared 'it''s forgotten';"
        admin.execute(found.remedy.encode())
    assert "prepared transactions" not in faults(dsn, limits=STRICT)


@pytest.mark.parametrize(("encoding", "fault"), [("SQL_ASCII", "encoding"), ("LATIN1", None), ("MULE_INTERNAL", "connection")])
def test_encodings(patient: Patient, encoding: str, fault: str | None) -> None:
    with connect(patient.dsn, autocommit=True) as admin:
        name = f"{admin.info.dbname}_coded"
        made = f"create database {name} encoding '{encoding}' locale 'C' template template0"
        try:
            admin.execute(made.encode())
            found = faults(conninfo.make_conninfo(patient.dsn, dbname=name)).keys()
            assert found & {"encoding", "connection"} == ({fault} if fault else set())
        finally:
            admin.execute(f"drop database if exists {name} with (force)".encode())


def test_a_collation_that_changed_under_the_indexes(patient: Patient) -> None:
    """Only where the server's system has versions of its collations."""
    if patient.one("select pg_database_collation_actual_version(oid) from pg_database where datname = current_database()") is None:
        patient.run("update pg_database set datcollversion = '0.1' where datname = current_database()")
        assert patient.find("collation") == [], "a collation without versions cannot have changed"
        return
    patient.run("update pg_database set datcollversion = '0.1' where datname = current_database()")
    (found,) = patient.find("collation")
    assert "0.1" in found.what
    assert found.remedy
    patient.run(found.remedy)
    assert patient.find("collation") == []


def test_a_renamed_table_is_not_taken_out_of_the_publication(patient: Patient) -> None:
    """Its changes still come; the remedy for a table that nobody reads would lose them."""
    patient.run("alter table orders rename to purchases")
    (found,) = [check for check in patient.find("publication") if "purchases" in check.what]
    assert "set table" not in str(found.remedy)
    assert "public.orders" in str(found.remedy)


def test_entities_without_their_tables(patient: Patient) -> None:
    patient.run("drop table orders")
    (found,) = patient.find("table")
    assert found.what == "public.orders is not in the database"
    assert "renamed" in str(found.remedy)
    patient.run("create view orders as select 1 as id")
    (found,) = patient.find("table kind")
    assert "is a view" in found.what
