"""Plan and apply: made as declared, empty the second time, evolved without loss, refused with a remedy."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.unit.oltp.applied import BARE, run, settle, with_column

from bitvelocity import templates
from bitvelocity.contracts import (
    AUDIT_COLUMNS,
    Column,
    EntitySpec,
    Index,
    Partition,
    Reference,
    Type,
    load_specs,
)
from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import apply, audit, connect, ensure_partitions, plan

UUID, TEXT, INT, MONEY = Type("uuid"), Type("text"), Type("int32"), Type("decimal", 10, 2)

CUSTOMER = EntitySpec(
    name="customer",
    table="customers",
    columns=(
        Column(name="id", type=UUID, default="gen_random_uuid()"),
        Column(name="email", type=Type("text", length=320), pattern=r"[^@]+@[^@:]+", doc="Where we write to: 'mail'."),
        *AUDIT_COLUMNS,
    ),
    key=("id",),
    unique=(("email",),),
    doc="Somebody who buys, 100% of the time.",
)
ORDER = EntitySpec(
    name="order",
    table="orders",
    columns=(
        Column(name="id", type=UUID, default="gen_random_uuid()"),
        Column(name="customer_id", type=UUID, nullable=True),
        Column(name="status", type=TEXT, default="'PENDING'", choices=("PENDING", "SHIPPED")),
        Column(name="total", type=MONEY, default="0", minimum="0"),
        *AUDIT_COLUMNS,
    ),
    key=("id", "created_at"),
    references=(Reference(columns=("customer_id",), to="public.customers", to_columns=("id",)),),
    indexes=(
        Index(name="idx_orders_open", columns=("customer_id", "created_at desc"), where="deleted_at is null"),
        Index(name="idx_orders_when", columns=("created_at",), method="brin"),
    ),
    partition=Partition(column="created_at", ahead=2, behind=1),
)
PLAIN = replace(ORDER, key=("id",), partition=None)
def sql_of(steps: Sequence[Any]) -> str:
    return "\n".join(step.sql for step in steps)


# Making ---------------------------------------------------------------------------------------------------


@pytest.mark.every_postgres
def test_the_shop_is_made_and_the_second_plan_is_empty(database: str) -> None:
    specs = load_specs(Path(str(templates.__file__)).parent / "commerce" / "entities.py")
    made = settle(database, *specs)
    assert not made.refused
    published = run(database, "select tablename from pg_publication_tables where pubname = 'bitvelocity'")
    assert {name for (name,) in published} == {spec.table for spec in specs}, "orders through its root, no leaves"


@pytest.mark.every_postgres
def test_a_row_of_every_type_survives(database: str) -> None:
    kinds: dict[str, Type] = {
        "b": Type("boolean"), "i2": Type("int16"), "i8": Type("int64"), "f4": Type("float32"), "f8": Type("float64"),
        "n": Type("decimal"), "c": Type("char", length=3), "j": Type("json"), "jb": Type("jsonb"), "y": Type("bytes"),
        "d": Type("date"), "t": Type("time"), "tz": Type("timetz"), "ts": Type("timestamp"), "iv": Type("interval"),
        "a": Type("array", item=Type("text", length=5)), "o": Type("other", native="inet"),
        "e": Type("enum", native="mood", choices=("sad", "so-so")), "ea": Type("array", item=Type("enum", native="mood", choices=("sad", "so-so"))),
    }  # fmt: skip
    columns = tuple(Column(name=name, type=of, nullable=True) for name, of in kinds.items())
    generated = (
        Column(name="number", type=Type("int64"), identity=True),
        Column(name="double", type=Type("int64"), nullable=True, generated="number * 2"),
    )
    spec = replace(BARE, columns=(*BARE.columns, *columns, *generated))
    settle(database, spec)
    run(database, "insert into bare (id, e, ea) values (1, 'so-so', '{sad}')")
    assert run(database, "select number, double, e::text from bare") == [(1, 2, "so-so")]


def test_names_and_texts_that_need_quoting(database: str) -> None:
    odd = EntitySpec(
        name="odd",
        table="Odd; Table",
        schema="My Schema",
        columns=(
            Column(name='say "hi"', type=INT),
            Column(name="select", type=TEXT, default="'50%: it''s :ok\ttab'", doc="100% :fine\tor 'not'", choices=("a:b", "50%", "50%: it's :ok\ttab")),
        ),
        key=('say "hi"',),
        indexes=(Index(name="Odd Index", columns=('"select" desc nulls last', "lower(\"select\")"), where="\"select\" <> ':x%'"),),
        audit=False,
        doc="It's :odd, 100%.",
    )  # fmt: skip
    settle(database, odd)
    run(database, 'insert into "My Schema"."Odd; Table" ("say ""hi""") values (1)')


@pytest.mark.every_postgres
def test_uuid7_keys_divide_partitions_by_time(database: str) -> None:
    spec = replace(
        BARE,
        columns=(Column(name="id", type=UUID, default="uuidv7()"), *BARE.columns[1:]),
        partition=Partition(column="id", by="uuid7", step="month", ahead=1, behind=1),
    )
    settle(database, spec)
    run(database, "insert into bare select from generate_series(1, 100)")
    month = datetime.now(UTC).strftime("bare_p%Y_%m")
    assert run(database, "select distinct tableoid::regclass::text from bare") == [(month,)]
    assert run(database, "select count(distinct id) from bare") == [(100,)]


def test_references_that_form_a_cycle(database: str) -> None:
    a = replace(BARE, name="a", table="a", references=(Reference(columns=("id",), to="public.b", to_columns=("id",)),))
    b = replace(BARE, name="b", table="b", references=(Reference(columns=("id",), to="public.a", to_columns=("id",)),))
    settle(database, a, b)


# Stamps ---------------------------------------------------------------------------------------------------


@pytest.mark.every_postgres
def test_rows_are_stamped(database: str) -> None:
    settle(database, CUSTOMER, ORDER)
    who = "select created_by, updated_by, version, deleted_by, updated_at > created_at from orders"
    with connect(database, autocommit=True) as connection:
        with audit(connection, user="alice"):
            connection.execute("insert into orders (created_by, version) values ('mallory', 7)")
        assert connection.execute(who).fetchall() == [("alice", "alice", 1, None, False)]
        with audit(connection, user="bob"):
            connection.execute("update orders set status = 'SHIPPED', created_by = 'mallory', updated_by = 'mallory'")
        assert connection.execute(who).fetchall() == [("alice", "bob", 2, None, True)]
        with audit(connection, user="carol"):
            connection.execute("update orders set deleted_at = now()")
        assert connection.execute(who).fetchall() == [("alice", "carol", 3, "carol", True)]
        connection.execute("update orders set deleted_at = null")
        assert connection.execute(who).fetchall() == [("alice", "postgres", 4, None, True)]


@pytest.mark.every_postgres
def test_a_statement_may_set_the_stamps_but_no_others(database: str) -> None:
    """What it sets exactly so passes without a call; all else is stamped over. An older trigger is made anew."""
    settle(database, CUSTOMER, ORDER)
    older = "create or replace trigger bv_stamp_change before update on orders for each row execute function bv.stamp_change()"
    run(database, older)
    assert sql_of(settle(database, CUSTOMER, ORDER).steps).count("create or replace trigger bv_stamp_change") == 1
    run(database, "insert into orders default values")
    calls = "select coalesce(pg_stat_get_xact_function_calls('bv.stamp_change()'::regprocedure), 0)"
    stamps = "select updated_by, updated_at = now(), version from orders"
    exact = {"updated_by": "'bob'", "updated_at": "now()", "version": "version + 1"}
    forged = [{"updated_by": "'mallory'"}, {"updated_at": "now() - interval '1 day'"}, {"version": "version"},
              {"version": "version + 2"}, {"version": "null"}, {"updated_by": "null"}, {"updated_at": "null"}]  # fmt: skip
    with connect(database, autocommit=True) as connection:
        connection.execute("set track_functions = 'pl'")
        for version, given in enumerate([{}, *forged], 2):
            with audit(connection, user="bob"):
                said = ", ".join(f"{name} = {value}" for name, value in {**exact, **given}.items())
                ((before,),) = connection.execute(calls).fetchall()
                connection.execute(f"update orders set status = 'SHIPPED', {said}")
                assert connection.execute(stamps).fetchall() == [("bob", True, version)], given
                assert connection.execute(calls).fetchall() == [(before + bool(given),)], given
        mine = f"update orders set {', '.join(f'{name} = {value}' for name, value in exact.items())}, created_by = 'bob'"
        connection.execute(mine.replace("'bob'", "session_user"))
        assert connection.execute("select created_by, updated_by from orders").fetchall() == [("postgres", "postgres")]


def test_a_stamp_that_was_switched_off_comes_back(database: str) -> None:
    settle(database, PLAIN, CUSTOMER)
    run(database, "alter table orders disable trigger bv_stamp_change, disable trigger bv_stamp_guard")
    assert len(settle(database, PLAIN, CUSTOMER).steps) == 2
    run(database, "insert into orders default values")
    run(database, "update orders set updated_by = 'mallory'")
    assert run(database, "select updated_by, version from orders") == [("postgres", 2)]


def test_optimistic_lock(database: str) -> None:
    settle(database, CUSTOMER, PLAIN)
    run(database, "insert into orders default values")
    with connect(database, autocommit=True) as connection:
        update = "update orders set status = 'SHIPPED' where version = 1"
        assert connection.execute(update).rowcount == 1
        assert connection.execute(update).rowcount == 0


def test_rules_hold_for_applications(database: str) -> None:
    settle(database, CUSTOMER, ORDER)
    for wrong in (
        "insert into orders (status) values ('LOST')",
        "insert into orders (total) values (-1)",
        "insert into customers (email) values ('nobody')",
        "insert into orders (customer_id) values (gen_random_uuid())",
    ):
        with pytest.raises(psycopg.errors.IntegrityError):
            run(database, wrong)


def test_roles_have_least_privilege(database: str) -> None:
    settle(database, CUSTOMER, ORDER)
    settle(database, CUSTOMER, ORDER, BARE)
    for role, statement, allowed in (
        ("bv_app", "insert into orders default values", True),
        ("bv_app", "select count(*) from bare", True),
        ("bv_app", "truncate orders", False),
        ("bv_app", "alter table orders add column x int", False),
        ("bv_reader", "select count(*) from orders", True),
        ("bv_reader", "delete from orders", False),
        ("bv_capture", "select count(*) from orders", True),
        ("bv_capture", "update orders set status = 'SHIPPED'", False),
    ):
        if allowed:
            run(database, f"set role {role}", statement)
        else:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                run(database, f"set role {role}", statement)


# Partitions -----------------------------------------------------------------------------------------------


@pytest.mark.every_postgres
def test_partitions_are_whole(database: str) -> None:
    """A leaf has the rules, indexes, triggers and replica identity of its root."""
    settle(database, CUSTOMER, ORDER)
    made = ensure_partitions(database, [ORDER], since=datetime(2020, 1, 1, tzinfo=UTC))
    assert "orders_p2020_01" in made["order"]
    assert ensure_partitions(database, [ORDER]) == {}
    run(database, "insert into orders (created_at) values ('2020-01-31 23:59:59Z'), ('1999-01-01Z')")
    assert run(database, "select tableoid::regclass::text, created_by from orders order by 1") == [
        ("orders_default", "postgres"),
        ("orders_p2020_01", "postgres"),
    ]
    leaf = "orders_p2020_01"
    assert run(database, f"select relreplident from pg_class where relname = '{leaf}'") == [("f",)]
    assert len(run(database, f"select 1 from pg_indexes where tablename = '{leaf}'")) == 3
    assert plan(database, [CUSTOMER, ORDER]).text() == ""


def test_a_range_with_rows_in_the_default_partition_is_left_alone(database: str) -> None:
    settle(database, CUSTOMER, ORDER)
    run(database, "insert into orders (created_at) values ('2020-02-15Z')")
    made = ensure_partitions(database, [ORDER], since=datetime(2020, 1, 1, tzinfo=UTC))
    assert "orders_p2020_01" in made["order"]
    assert "orders_p2020_02" not in made["order"]
    assert run(database, "select count(*) from orders") == [(1,)]


def test_partition_makers_do_not_meet(database: str) -> None:
    settle(database, CUSTOMER, ORDER)
    made: list[dict[str, list[str]]] = []
    since = datetime(2023, 1, 1, tzinfo=UTC)
    makers = [threading.Thread(target=lambda: made.append(ensure_partitions(database, [ORDER], since=since))) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(made) == 3
    names = [name for part in made for name in part.get("order", [])]
    assert len(names) == len(set(names)) > 30


@pytest.mark.every_postgres
def test_index_of_a_living_partitioned_table(database: str) -> None:
    settle(database, CUSTOMER, replace(ORDER, indexes=()))
    made = settle(database, CUSTOMER, ORDER)
    text = sql_of(made.steps)
    assert "ON ONLY public.orders USING btree" in text
    assert text.count("CREATE INDEX CONCURRENTLY") == 2 * 5, "default and four months, two indexes"
    assert run(database, "select bool_and(indisvalid) from pg_index") == [(True,)]


def test_interrupted_index_is_finished(database: str) -> None:
    settle(database, CUSTOMER, replace(ORDER, indexes=()))
    whole = plan(database, [CUSTOMER, ORDER])
    apply(database, replace(whole, steps=whole.steps[:4]))  # the root, one leaf attached, one leaf not attached
    assert run(database, "select bool_and(indisvalid) from pg_index where indexrelid = 'idx_orders_open'::regclass") == [(False,)]
    settle(database, CUSTOMER, ORDER)
    assert run(database, "select bool_and(indisvalid) from pg_index") == [(True,)]


# Evolving -------------------------------------------------------------------------------------------------


def test_new_columns(database: str) -> None:
    settle(database, BARE)
    run(database, "insert into bare values (1, 'kept')")
    more = with_column(
        BARE,
        Column(name="maybe", type=INT, nullable=True, doc="Perhaps."),
        Column(name="state", type=TEXT, default="'new'", choices=("new", "old")),
    )
    settle(database, more)
    assert run(database, "select * from bare") == [(1, "kept", None, "new")]
    with pytest.raises(psycopg.errors.CheckViolation):
        run(database, "update bare set state = 'x'")


def test_audit_columns_come_to_old_rows(database: str) -> None:
    settle(database, BARE)
    run(database, "insert into bare values (1, 'kept')")
    settle(database, replace(with_column(BARE, *AUDIT_COLUMNS), audit=True))
    assert run(database, "select created_by, updated_by, version from bare") == [("unknown", "unknown", 1)]
    run(database, "insert into bare values (2)")
    assert run(database, "select created_by from bare where id = 2") == [("postgres",)]


def test_dropping_wants_the_flag(database: str) -> None:
    settle(database, BARE)
    run(database, "insert into bare values (1, 'kept')")
    less = replace(BARE, columns=BARE.columns[:1])
    made = settle(database, less)
    assert not made.steps
    assert "rename column" in made.refused[0].remedy
    assert run(database, "select note from bare") == [("kept",)]
    dropped = settle(database, less, allow_destructive=True)
    assert [step.destructive for step in dropped.steps] == [True]
    assert run(database, "select * from bare") == [(1,)]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (Type("int16"), Type("int64")),
        (Type("int32"), Type("decimal", 12, 2)),
        (MONEY, Type("decimal", 12, 2)),
        (Type("text", length=5), Type("text", length=50)),
        (Type("text", length=5), TEXT),
        (Type("float32"), Type("float64")),
        (Type("array", item=Type("int32")), Type("array", item=Type("int64"))),
    ],
    ids=str,
)
def test_widening_goes_by_itself(database: str, old: Type, new: Type) -> None:
    settle(database, with_column(BARE, Column(name="x", type=old, nullable=True)))
    run(database, "insert into bare (id, x) values (1, '{7}')" if old.kind == "array" else "insert into bare (id, x) values (1, '7')")
    made = settle(database, with_column(BARE, Column(name="x", type=new, nullable=True)))
    assert not any(step.destructive for step in made.steps)
    assert run(database, "select x is not null from bare") == [(True,)]


def test_rules_defaults_and_docs_follow(database: str) -> None:
    settle(database, CUSTOMER, PLAIN)
    run(database, "insert into orders (total) values (5)")
    changed = with_column(
        replace(PLAIN, doc="Another meaning."),
        Column(name="status", type=TEXT, default="'NEW'", choices=("NEW", "PENDING", "SHIPPED"), doc="How far it is."),
        Column(name="total", type=MONEY, nullable=True, maximum="10"),
        Column(name="customer_id", type=UUID, nullable=True),
    )
    made = settle(database, CUSTOMER, changed)
    assert "NOT VALID" in sql_of(made.steps)
    assert "validate constraint" in sql_of(made.steps)
    run(database, "insert into orders (total) values (null)")
    assert run(database, "select status from orders order by 1") == [("NEW",), ("PENDING",)]
    free = with_column(changed, Column(name="total", type=MONEY, nullable=True), Column(name="status", type=TEXT))
    settle(database, CUSTOMER, free)
    run(database, "insert into orders (total, status) values (-100, 'free')")


def test_not_null_is_proved_first(database: str) -> None:
    settle(database, BARE)
    run(database, "insert into bare values (1, null)")
    strict = with_column(BARE, Column(name="note", type=TEXT))
    with pytest.raises(DatabaseError, match="violated by some row"):
        apply(database, plan(database, [strict]))
    run(database, "update bare set note = ''")
    settle(database, strict)
    settle(database, BARE)


def test_unique_and_references_come_to_living_tables(database: str) -> None:
    settle(database, replace(CUSTOMER, unique=()), replace(PLAIN, references=()))
    run(database, "insert into customers (email) values ('a@b')", "insert into orders (customer_id) select id from customers")
    made = settle(database, CUSTOMER, PLAIN)
    text = sql_of(made.steps)
    assert "CREATE UNIQUE INDEX CONCURRENTLY" in text
    assert "unique using index" in text
    assert "NOT VALID" in text
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(database, "insert into customers (email) values ('a@b')")


def test_index_that_changed_is_made_anew(database: str) -> None:
    settle(database, CUSTOMER, PLAIN)
    other = replace(PLAIN, indexes=(replace(PLAIN.indexes[0], where=None), PLAIN.indexes[1]))
    made = settle(database, CUSTOMER, other)
    assert "drop index concurrently public.idx_orders_open" in sql_of(made.steps)
    run(database, "alter publication bitvelocity drop table orders")  # else it looks like a rename
    partitioned = replace(ORDER, table="parts", name="parts", indexes=(replace(ORDER.indexes[0], name="idx_parts"),), references=())
    settle(database, partitioned)
    settle(database, replace(partitioned, indexes=(replace(partitioned.indexes[0], where=None),)))


def test_enum_gets_new_values_and_keeps_old_ones(database: str) -> None:
    mood = with_column(BARE, Column(name="mood", type=Type("enum", native="mood", choices=("a", "c")), nullable=True))
    settle(database, mood)
    more = with_column(BARE, Column(name="mood", type=Type("enum", native="mood", choices=("a", "b", "c")), nullable=True))
    settle(database, more)
    assert run(database, "select enum_range(null::mood)::text") == [("{a,b,c}",)]
    made = plan(database, [mood])
    assert "cannot take an enum value away" in made.refused[0].reason


def test_what_people_added_stays(database: str) -> None:
    settle(database, BARE)
    run(
        database,
        "create index by_hand on bare (note)",
        "alter table bare add constraint by_hand_check check (id > 0)",
        "create table theirs (n int)",
    )
    assert plan(database, [BARE]).text() == ""


def test_publication_holds_the_tables_whole(database: str) -> None:
    settle(database, BARE)
    run(database, "alter publication bitvelocity set table bare (id) where (id > 5)")
    settle(database, BARE)
    assert run(database, "select cardinality(attnames), rowfilter from pg_publication_tables") == [(2, None)]
    run(database, "alter publication bitvelocity set (publish_via_partition_root = false, publish = 'insert')")
    settle(database, BARE, replace(BARE, name="other", table="other"))
    assert run(database, "select pubviaroot, pubupdate from pg_publication") == [(True, True)]


def test_another_project_keeps_its_tables_in_a_shared_publication(database: str) -> None:
    other = replace(BARE, name="other", table="other", columns=(*BARE.columns[:1], Column(name="theirs", type=INT)))
    settle(database, other)
    run(database, "alter publication bitvelocity set table other where (id > 5)")
    made = settle(database, BARE)
    assert run(database, "select tablename, rowfilter from pg_publication_tables order by 1") == [("bare", None), ("other", "(id > 5)")]
    (left,) = made.refused
    assert "public.other, which no entity here declares" in left.reason
    run(database, left.remedy.partition(": ")[2])
    assert run(database, "select tablename from pg_publication_tables") == [("bare",)]
    assert plan(database, [BARE]).refused == ()


# Living with others ----------------------------------------------------------------------------------------


def test_busy_table_gives_up_instead_of_making_everybody_wait(database: str) -> None:
    settle(database, BARE)
    made = plan(database, [with_column(BARE, Column(name="x", type=INT, nullable=True))])
    with connect(database) as busy:
        busy.execute("select * from bare")
        with pytest.raises(DatabaseError, match="lock timeout") as caught:
            apply(database, made, lock_timeout="100ms")
    assert "try again" in str(caught.value.remedy)
    apply(database, made)


def test_adopted_entities_are_only_published(database: str) -> None:
    run(database, "create table theirs (id int primary key, x text)")
    theirs = EntitySpec(
        name="theirs", table="theirs", columns=(Column(name="id", type=INT), Column(name="gone", type=TEXT)),
        key=("id",), audit=False, managed=False,
    )  # fmt: skip
    made = settle(database, BARE, theirs)
    assert "alter table public.theirs" not in sql_of(made.steps)
    assert run(database, "select tablename from pg_publication_tables order by 1") == [("bare",), ("theirs",)]
    with pytest.raises(DatabaseError, match=r"public\.nowhere is not in the database"):
        plan(database, [replace(theirs, table="nowhere")])


def test_the_dry_run_can_be_read_and_run_by_psql(database: str) -> None:
    made = plan(database, [CUSTOMER, ORDER])
    assert all(step.reason for step in made.steps)
    run(database, "begin; set local search_path = public, bv; " + made.text() + " commit")
    assert plan(database, [CUSTOMER, ORDER]).text() == ""
    assert made.as_dict()["steps"][0]["sql"] == made.steps[0].sql
