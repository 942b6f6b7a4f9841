"""Databases made by somebody else: what can be captured as it is, what cannot and why, and the checks."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import conninfo

from bitvelocity.contracts import EntitySpec, Type, render_entities
from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import (
    Adoption,
    EmbeddedPostgres,
    Server,
    adopt,
    check,
    connect,
    describe,
    find_binaries,
    has_password,
    plan,
    prepare_capture,
)
from bitvelocity.oltp.adopt import lake_names

STRANGE = '''
create schema "Sales Dept";
create type public.mood as enum ('sad', 'it''s ok');
create domain public.amount as numeric(12, 3) check (value >= 0);
create domain public.big_amount as amount;
create type public.place as (street text, number int);
create table "Customers" (
  "Customer ID" int generated always as identity primary key, "näme" varchar(40) not null default 'x',
  tags text[], grid int[][], feelings mood[], feeling mood default 'sad', owes big_amount, lives place,
  span int4range, code char(4), plain_char "char", address inet, document xml, search tsvector, nothing numeric,
  at timestamp(3), "weird ""quote""" bit varying(5), unique ("näme", code));
create index "by name" on "Customers" (lower("näme") desc) where code is not null;
create table orders (a int, b text, customer int references "Customers" on delete set null, primary key (b, a));
create table "Sales Dept".orders (id bigserial primary key, note text);
create table "Sales Dept"."ORDERS" (id uuid primary key);
create table lines (order_a int, order_b text, line int,
  foreign key (order_b, order_a) references orders (b, a) on delete cascade, primary key (order_a, order_b, line));
create table keyless (x int, y text);
create table keyless_full (x int, y text);
alter table keyless_full replica identity full;
create table silent (id int primary key);
alter table silent replica identity nothing;
create table by_index (id int not null, code text not null);
create unique index by_index_code on by_index (code);
alter table by_index replica identity using index by_index_code;
create table late_key (id int primary key deferrable initially deferred);
create unlogged table scratch_pad (id int primary key);
create table computed (id int primary key, twice int generated always as (id * 2) stored);
create table measured (at timestamptz, v float, primary key (at)) partition by range (at);
create table measured_2026 partition of measured for values from ('2026-01-01Z') to ('2027-01-01Z');
create table measured_rest partition of measured default;
create table half (id int primary key) partition by list (id);
create table half_1 partition of half for values in (1);
alter table half_1 replica identity nothing;
create table animals (id int primary key);
create table dogs (good boolean, primary key (id)) inherits (animals);
create table empty_table ();
create view seen as select 1 as one;
create materialized view stored as select 1 as one;
insert into orders values (1, 'x', null);
'''


@pytest.fixture
def strange(database: str) -> str:
    with connect(database, autocommit=True) as connection:
        connection.execute(STRANGE)
    return database


def of(adoption: Adoption, table: str) -> EntitySpec:
    (found,) = (spec for spec in adoption.specs if spec.qualified == table)
    return found


def reasons(adoption: Adoption) -> dict[str, str]:
    return {problem.table: problem.reason for problem in adoption.problems}


@pytest.mark.every_postgres
def test_what_can_be_captured_is_adopted(strange: str, postgres: Server) -> None:
    found = adopt(strange)
    assert {spec.qualified: spec.name for spec in found.specs} == {
        "Sales Dept.ORDERS": "sales_dept_orders",
        "Sales Dept.orders": "sales_dept_orders_2",
        "public.Customers": "customers",
        "public.by_index": "by_index",
        "public.computed": "computed",
        "public.dogs": "dogs",
        "public.keyless_full": "keyless_full",
        "public.lines": "lines",
        "public.measured": "measured",
        "public.orders": "public_orders",
    }
    assert not any(spec.managed or spec.audit for spec in found.specs)
    assert of(found, "public.orders").key == ("b", "a")
    assert of(found, "public.keyless_full").key == ()
    assert of(found, "public.keyless_full").replica_identity == "full"
    assert of(found, "public.lines").references[0].to_columns == ("b", "a")
    assert of(found, "public.lines").references[0].on_delete == "cascade"
    assert ("twice" in of(found, "public.computed").by_name) == (postgres.major >= 18)


@pytest.mark.every_postgres
def test_types_are_understood(strange: str) -> None:
    customers = of(adopt(strange), "public.Customers")
    types = {name: str(column.type) for name, column in customers.by_name.items()}
    assert types == {
        "Customer ID": "int32", "näme": "text(40)", "tags": "text[]", "grid": "int32[]", "feelings": "enum:mood[]",
        "feeling": "enum:mood", "owes": "decimal(12,3)", "lives": "other:place", "span": "other:int4range",
        "code": "char(4)", "plain_char": 'other:"char"', "address": "other:inet", "document": "other:xml",
        "search": "other:tsvector", "nothing": "decimal", "at": "timestamp", 'weird "quote"': "other:bit varying",
    }  # fmt: skip
    assert customers.by_name["feeling"].type == Type("enum", native="mood", choices=("sad", "it's ok"))
    assert customers.by_name["Customer ID"].identity
    assert customers.by_name["tags"].nullable
    assert customers.unique == (("näme", "code"),)
    (index,) = customers.indexes
    assert (index.name, index.where) == ("by name", "code IS NOT NULL")
    assert index.columns == ("lower(\"näme\"::text) desc",)


@pytest.mark.every_postgres
def test_what_cannot_be_captured_is_named_with_a_remedy_that_works(strange: str, postgres: Server) -> None:
    found = adopt(strange)
    said = reasons(found)
    assert "no primary key" in said["public.keyless"]
    assert "NOTHING" in said["public.silent"]
    assert "deferrable" in said["public.late_key"]
    assert "unlogged" in said["public.scratch_pad"]
    assert "NOTHING" in said["public.half"]
    assert "inherit" in said["public.animals"]
    assert "a view" in said["public.seen"]
    assert "a materialized view" in said["public.stored"]
    assert "no columns" in said["public.empty_table"]
    assert ("public.computed" in said) == (postgres.major < 18)
    with connect(strange, autocommit=True) as connection:
        for problem in found.problems:
            if "..." not in problem.remedy and "<" not in problem.remedy and problem.remedy.startswith("alter"):
                connection.execute(problem.remedy.split("; (")[0])  # type: ignore[call-overload,unused-ignore]
    healed = reasons(adopt(strange))
    assert not {"public.silent", "public.late_key", "public.scratch_pad", "public.half", "public.computed"} & set(healed)


def test_rendered_entities_read_back(strange: str) -> None:
    assert "class " in render_entities(adopt(strange, schemas=["public"]).specs)


def test_unknown_schema(database: str) -> None:
    with pytest.raises(DatabaseError, match="no schema 'nope'") as caught:
        adopt(database, schemas=["nope"])
    assert "public" in str(caught.value.remedy)


def test_names_in_the_lake_are_plain_and_unique() -> None:
    keys = [("public", "Ünits"), ("public", "units"), ("a", "x"), ("b", "x"), ("c", "%%%"), ("public", "Order Items")]
    assert lake_names(keys) == {
        ("public", "Ünits"): "units", ("public", "units"): "units_2", ("a", "x"): "a_x", ("b", "x"): "b_x",
        ("c", "%%%"): "table", ("public", "Order Items"): "order_items",
    }  # fmt: skip


# Publishing -----------------------------------------------------------------------------------------------


@pytest.mark.every_postgres
def test_capture_is_prepared_without_touching_tables(strange: str) -> None:
    specs = adopt(strange).specs
    before = columns_of(strange)
    assert prepare_capture(strange, specs) == ()
    assert prepare_capture(strange, specs) == (), "again is harmless"
    assert columns_of(strange) == before
    with connect(strange, autocommit=True) as connection:
        rows = connection.execute("select schemaname || '.' || tablename from pg_publication_tables").fetchall()
        assert {name for (name,) in rows} == {spec.qualified for spec in specs}
        for statement in (
            "update orders set b = 'y'",
            'update "Customers" set tags = \'{a}\'',
            "update keyless set x = 1",
            "delete from late_key",
            "update half set id = 1",
            "delete from keyless_full",
            "update by_index set id = 2",
        ):
            connection.execute(statement)  # type: ignore[call-overload,unused-ignore]


def test_a_table_that_lost_its_identity_leaves_the_publication(strange: str) -> None:
    specs = adopt(strange).specs
    prepare_capture(strange, specs)
    with connect(strange, autocommit=True) as connection:
        connection.execute("alter table keyless_full replica identity default")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            connection.execute("delete from keyless_full")
        (problem,) = prepare_capture(strange, specs)
        assert problem.table == "public.keyless_full"
        connection.execute("delete from keyless_full")


def columns_of(dsn: str) -> list[tuple[object, ...]]:
    query = "select attrelid, attnum, attname, atttypid from pg_attribute where attrelid > 16384 order by 1, 2"
    with connect(dsn) as connection:
        return connection.execute(query).fetchall()


def test_adopted_table_that_changed_is_a_clear_error(strange: str) -> None:
    specs = adopt(strange).specs
    with connect(strange, autocommit=True) as connection:
        connection.execute("alter table orders drop column customer")
    with pytest.raises(DatabaseError, match=r"no column customer of public\.orders"):
        prepare_capture(strange, specs)


@pytest.fixture(scope="module")
def replica_server() -> Iterator[Server]:
    """A server that cannot do change capture."""
    folder = Path(tempfile.mkdtemp(prefix="bv-test-"))
    folder.chmod(0o755)
    settings = {"wal_level": "replica", "fsync": "off", "shared_buffers": "16MB"}
    if find_binaries().incremental:
        settings["summarize_wal"] = "off"  # it asks for more than that level
    with EmbeddedPostgres(folder / "pg", settings=settings) as server:
        yield server
    shutil.rmtree(folder)


def test_wal_level_replica(replica_server: Server) -> None:
    with pytest.raises(DatabaseError, match="wal_level = replica") as caught:
        prepare_capture(replica_server.dsn, [])
    assert "alter system set wal_level = logical" in str(caught.value.remedy)
    (found,) = (one for one in check(replica_server.dsn, []) if one.name == "wal_level")
    assert not found.ok


def test_missing_privilege(strange: str) -> None:
    specs = adopt(strange).specs
    with connect(strange, autocommit=True) as admin:
        admin.execute("drop role if exists weak")
        admin.execute("create role weak login password 'w'")
        weak = conninfo.make_conninfo(strange, user="weak", password="w")
        with pytest.raises(DatabaseError, match="may not read the change stream") as caught:
            prepare_capture(weak, specs)
        assert "alter role weak replication" in str(caught.value.remedy)
        assert "We may not read it." in reasons(adopt(weak, schemas=["public"])).values()
        admin.execute("alter role weak replication")
        with pytest.raises(DatabaseError, match="may not make the publication") as caught:
            prepare_capture(weak, specs)
        assert "create publication bitvelocity for table" in str(caught.value.remedy)
        prepare_capture(strange, specs)
        assert prepare_capture(weak, specs) == (), "made by the owner, it does"
        admin.execute("drop owned by weak")
        admin.execute("drop role weak")


# Checks ---------------------------------------------------------------------------------------------------


@pytest.mark.every_postgres
def test_all_is_well(strange: str) -> None:
    specs = adopt(strange).specs
    prepare_capture(strange, specs)
    found = check(strange, specs)
    assert [one for one in found if not one.ok] == []
    assert {"connection", "version", "wal_level", "publication", "disk", "max_slot_wal_keep_size"} <= {c.name for c in found}


def test_each_fault_has_its_remedy(strange: str) -> None:
    specs = adopt(strange).specs
    bad = {one.name: one for one in check(strange, specs, begun=True) if not one.ok}
    assert bad["publication"].what.startswith("there is no publication bitvelocity")
    prepare_capture(strange, specs)
    with connect(strange, autocommit=True) as admin:
        admin.execute("alter publication bitvelocity set (publish_via_partition_root = false)")
        admin.execute("alter publication bitvelocity drop table orders")
        admin.execute("alter table by_index replica identity default")
        admin.execute("drop table lines")
        admin.execute("alter table dogs enable row level security")
        admin.execute("drop role if exists weak")
        admin.execute("create role weak login password 'w'")
    bad = {one.name: one for one in check(strange, specs) if not one.ok}
    assert bad.keys() == {"publication", "partition root", "replica identity", "table"}
    assert "public.orders" in bad["publication"].what
    assert all(one.remedy for one in bad.values())
    bad = {one.name: one for one in check(conninfo.make_conninfo(strange, user="weak", password="w"), specs) if not one.ok}
    assert {"replication privilege", "row security"} <= bad.keys()
    with connect(strange, autocommit=True) as admin:
        admin.execute("drop role weak")


# Connecting -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dsn", "said"),
    [
        ("postgresql://u:s3cret@127.0.0.1:1/x", "refused"),
        ("host=/no/such/folder password=s3cret", "No such file"),
        ("postgresql://u:s3cret@no-such-host.invalid/x", "host=no-such-host.invalid"),
        ("s3cret", "cannot be read"),
        ("host=x s3cret=y", "cannot be read"),
    ],
)
def test_wrong_dsn_is_a_clear_error_without_the_password(dsn: str, said: str) -> None:
    with pytest.raises(DatabaseError, match=said) as caught:
        connect(dsn, connect_timeout=2)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "s3cret" not in str(chain)
        chain = chain.__cause__
    assert caught.value.remedy
    (found,) = check(dsn, [])
    assert not found.ok
    assert "s3cret" not in found.what


def test_wrong_password_and_database(postgres: Server) -> None:
    with pytest.raises(DatabaseError, match="password authentication failed"):
        connect(postgres.tcp_dsn, password="s3cret")
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        connect(conninfo.make_conninfo(postgres.dsn, dbname="nowhere"))
    assert "create" in str(caught.value.remedy)


def test_describe_and_has_password() -> None:
    assert describe("postgresql://u:p@h:1/d") == "host=h port=1 dbname=d user=u"
    assert has_password("postgresql://u:p@h/d")
    assert not has_password("postgresql://u@h/d")


def test_planning_needs_a_server() -> None:
    with pytest.raises(DatabaseError, match="No connection"):
        plan("host=/no/such/folder", [])
