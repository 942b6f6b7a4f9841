"""The event trigger of the DDL markers: made where it may be made, removed when it is not wanted, never in the way."""

from __future__ import annotations

import pytest
from psycopg import conninfo

from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.oltp import apply, connect, plan
from bitvelocity.oltp.markers import marker_steps

SPEC = EntitySpec(
    name="things", table="things", key=("id",), columns=(Column(name="id", type=Type("int64"), nullable=False),), audit=False
)
pytestmark = pytest.mark.every_postgres


def triggers(dsn: str) -> list[str]:
    with connect(dsn) as connection:
        return [name for (name,) in connection.execute("select evtname from pg_event_trigger order by 1")]


def test_made_with_the_tables_and_removed_when_not_wanted(database: str) -> None:
    apply(database, plan(database, [SPEC]))
    assert triggers(database) == ["bv_ddl", "bv_rewrite"]
    assert not plan(database, [SPEC])
    unwanted = plan(database, [SPEC], ddl_markers=False)
    assert [step.sql for step in unwanted.steps] == ["drop event trigger bv_ddl", "drop event trigger bv_rewrite"]
    apply(database, unwanted)
    assert triggers(database) == []
    assert not plan(database, [SPEC], ddl_markers=False)


def test_a_role_that_may_not_make_one_does_without(database: str) -> None:
    name = f"owner_{conninfo.conninfo_to_dict(database)['dbname']}"
    with connect(database, autocommit=True) as admin:
        admin.execute(f"create role {name} login createrole password 'secret'".encode())
        admin.execute(f"grant all on database {conninfo.conninfo_to_dict(database)['dbname']} to {name}".encode())
        admin.execute(f"grant all on schema public to {name}".encode())
    try:
        with connect(database) as owner:
            owner.execute(f"set role {name}".encode())
            assert list(marker_steps(owner, [SPEC], wanted=True)) == []
    finally:
        with connect(database, autocommit=True) as admin:
            admin.execute(f"drop owned by {name}".encode())
            admin.execute(f"drop role {name}".encode())


def test_everybodys_ddl_goes_on(database: str) -> None:
    """Whoever changes a table needs no right on our schema."""
    apply(database, plan(database, [SPEC]))
    role = f"other_{conninfo.conninfo_to_dict(database)['dbname']}"
    with connect(database, autocommit=True) as admin:
        admin.execute(f"create role {role}".encode())
        admin.execute(f"grant all on schema public to {role}".encode())
        admin.execute(f"set role {role}".encode())
        admin.execute("create table mine (id int primary key, kind text)")
        admin.execute("alter table mine add column more int default 3")
        admin.execute("create temp table passing (id int)")
        admin.execute("drop table mine")
        admin.execute("reset role")
        admin.execute(f"drop owned by {role}".encode())
        admin.execute(f"drop role {role}".encode())
