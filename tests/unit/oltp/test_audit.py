"""The audit context: in the caller's transaction, as one message and three settings, for any role and any driver."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from psycopg import conninfo
from sqlalchemy.orm import Session

from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import audit, connect, install_audit

SLOT = "audit_test"
Stream = list[tuple[str, Any]]


class Wal:
    """What the WAL tells: per transaction, context messages and inserted rows in their order."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        with connect(dsn, autocommit=True) as admin:
            admin.execute("create table noted (n int)")
            admin.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [SLOT])

    def read(self) -> Stream:
        with connect(self._dsn, autocommit=True) as admin:
            rows = admin.execute("select data from pg_logical_slot_get_changes(%s, null, null)", [SLOT]).fetchall()
        return [event for (line,) in rows if (event := self._event(line))]

    @staticmethod
    def _event(line: str) -> tuple[str, Any] | None:
        if line.startswith("message:"):
            assert "prefix: bv.audit" in line
            return "context", json.loads(line.split("content:", 1)[1])["user"]
        if "INSERT" in line:
            return "row", int(line.rsplit(":", 1)[1])
        return None


@pytest.fixture
def wal(database: str) -> Wal:
    return Wal(database)


@pytest.fixture
def engine(database: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(database))
    yield engine
    engine.dispose()


def settings(connection: psycopg.Connection) -> tuple[Any, ...] | None:
    return connection.execute(
        "select current_setting('bv.operation_user', true), current_setting('bv.correlation_id', true),"
        " current_setting('bv.source', true)"
    ).fetchone()


@pytest.mark.every_postgres
def test_context_is_in_the_transaction_and_ends_with_it(database: str, wal: Wal) -> None:
    with connect(database) as connection:
        with audit(connection, user="alice", correlation_id="c-1", source="shop") as context:
            assert settings(connection) == ("alice", "c-1", "shop")
            connection.execute("insert into noted values (1)")
        connection.commit()
        assert settings(connection) == ("", "", "")
        assert context.correlation_id == "c-1"
    assert wal.read() == [("context", "alice"), ("row", 1)]


def test_correlation_id_is_made_when_none_is_given(database: str) -> None:
    with connect(database) as connection:
        with audit(connection, user="a") as first:
            pass
        with audit(connection, user="a") as second:
            assert settings(connection) == ("a", second.correlation_id, "")
    assert first.correlation_id != second.correlation_id


def test_autocommit_makes_the_block_a_transaction(database: str, wal: Wal) -> None:
    with connect(database, autocommit=True) as connection:
        with audit(connection, user="alice"):
            connection.execute("insert into noted values (1)")
            connection.execute("insert into noted values (2)")
        with pytest.raises(psycopg.errors.DivisionByZero), audit(connection, user="bob"):
            connection.execute("insert into noted select 3 / n from generate_series(0, 1) as s (n)")
    assert wal.read() == [("context", "alice"), ("row", 1), ("row", 2)]


def test_inner_block_takes_over_and_outer_comes_back(database: str, wal: Wal) -> None:
    with connect(database) as connection, audit(connection, user="outer"):
        with audit(connection, user="inner"):
            connection.execute("insert into noted values (1)")
        connection.execute("insert into noted values (2)")
    assert wal.read() == [("context", "outer"), ("context", "inner"), ("row", 1), ("context", "outer"), ("row", 2)]


def test_error_in_the_block_keeps_its_own_face(database: str) -> None:
    with connect(database) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero), audit(connection, user="o"), audit(connection, user="i"):
            connection.execute("select 1/0")
        connection.rollback()
        assert connection.execute("select 1").fetchone() == (1,)


def test_in_a_pipeline(database: str, wal: Wal) -> None:
    with connect(database, autocommit=True) as connection:
        with connection.pipeline(), connection.transaction(), audit(connection, user="alice"):
            connection.execute("insert into noted values (1)")
        assert wal.read() == [("context", "alice"), ("row", 1)]


@pytest.mark.every_postgres
def test_unprivileged_role(database: str, wal: Wal) -> None:
    with connect(database, autocommit=True) as admin:
        admin.execute("drop role if exists nobody_special")
        admin.execute("create role nobody_special login password 'x'")
        admin.execute("grant insert on noted to nobody_special")
    plain = conninfo.make_conninfo(database, user="nobody_special", password="x")
    with connect(plain) as connection, audit(connection, user="alice"):
        connection.execute("insert into noted values (1)")
    assert wal.read() == [("context", "alice"), ("row", 1)]
    with connect(database, autocommit=True) as admin:
        admin.execute("drop owned by nobody_special")
        admin.execute("drop role nobody_special")


def test_savepoint_rolled_back_takes_the_context_back(database: str, wal: Wal) -> None:
    """What the docstring warns of, so that it is known when PostgreSQL changes it."""
    with connect(database) as connection:
        connection.execute("savepoint s")
        with audit(connection, user="lost"):
            connection.execute("rollback to s")
            connection.execute("insert into noted values (1)")
    assert wal.read() == [("row", 1)]


def test_async_psycopg(database: str, wal: Wal) -> None:
    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            async with audit(connection, user="alice"):
                await connection.execute("insert into noted values (1)")
            await connection.commit()
            await connection.set_autocommit(True)
            async with audit(connection, user="bob"):
                await connection.execute("insert into noted values (2)")

    asyncio.run(run())
    assert wal.read() == [("context", "alice"), ("row", 1), ("context", "bob"), ("row", 2)]


def test_session_before_and_inside_its_transaction(engine: sa.Engine, wal: Wal) -> None:
    with Session(engine) as session:
        with audit(session, user="before"):
            session.execute(sa.text("insert into noted values (1)"))
            session.commit()
            session.execute(sa.text("insert into noted values (2)"))  # the next transaction has it too
            session.commit()
        session.execute(sa.text("insert into noted values (3)"))
        with audit(session, user="inside"):
            session.execute(sa.text("insert into noted values (4)"))
        session.commit()
    assert wal.read() == [
        ("context", "before"), ("row", 1), ("context", "before"), ("row", 2),
        ("row", 3), ("context", "inside"), ("row", 4),
    ]  # fmt: skip


def test_sqlalchemy_gives_it_again_after_a_savepoint(engine: sa.Engine, wal: Wal) -> None:
    with Session(engine) as session:
        session.execute(sa.text("insert into noted values (1)"))
        nested = session.begin_nested()
        with audit(session, user="alice"):
            session.execute(sa.text("insert into noted values (2)"))
            nested.rollback()
            session.execute(sa.text("insert into noted values (3)"))
        session.commit()
    assert wal.read() == [("row", 1), ("context", "alice"), ("row", 3)]


def test_connection_and_installed_engine(engine: sa.Engine, wal: Wal) -> None:
    install_audit(engine)
    install_audit(engine)
    with audit(user="everywhere"), engine.begin() as connection:
        connection.execute(sa.text("insert into noted values (1)"))
    with engine.begin() as connection, audit(connection, user="here"):
        connection.execute(sa.text("insert into noted values (2)"))
    with engine.begin() as connection:
        connection.execute(sa.text("insert into noted values (3)"))
    assert wal.read() == [("context", "everywhere"), ("row", 1), ("context", "here"), ("row", 2), ("row", 3)]


def test_async_session(database: str, wal: Wal) -> None:
    pytest.importorskip("greenlet", reason="SQLAlchemy's asyncio needs it")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def run() -> None:
        engine = create_async_engine(
            "postgresql+psycopg_async://", async_creator=lambda: psycopg.AsyncConnection.connect(database)
        )
        async with AsyncSession(engine) as session:
            async with audit(session, user="alice"):
                await session.execute(sa.text("insert into noted values (1)"))
                await session.commit()
            await session.execute(sa.text("insert into noted values (2)"))
            async with audit(session, user="bob"):
                await session.execute(sa.text("insert into noted values (3)"))
            await session.commit()
        await engine.dispose()

    asyncio.run(run())
    assert wal.read() == [("context", "alice"), ("row", 1), ("row", 2), ("context", "bob"), ("row", 3)]


def test_wrong_uses(database: str) -> None:
    with pytest.raises(DatabaseError, match=r"cannot use a builtins\.str"), audit("dsn", user="a"):
        pass
    with connect(database) as connection, pytest.raises(DatabaseError, match="who does it"):
        audit(connection, user="")
