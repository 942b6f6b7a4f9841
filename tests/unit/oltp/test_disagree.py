"""Where entity and database disagree, or the rows do: refused with a remedy, and nothing is half done."""

from __future__ import annotations

from dataclasses import replace

import psycopg
import pytest
from tests.unit.oltp.applied import BARE, run, settle, with_column

from bitvelocity.contracts import Column, Type
from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import apply, plan

TEXT, INT, MONEY = Type("text"), Type("int32"), Type("decimal", 10, 2)


@pytest.mark.parametrize(
    ("ddl", "said"),
    [
        ("create view bare as select 1 as id, ''::text as note", "a view"),
        ("create table bare (id int, note text)", r"key of public\.bare is \(\)"),
        ("create table bare (id int primary key, note text) partition by range (id)", "partitioned by"),
        ("create unlogged table bare (id int primary key, note text)", "unlogged"),
        ("create table bare (id bigint primary key, note text)", "id is bigint"),
        ("create table bare (id int generated always as identity primary key, note text)", "identity"),
    ],
)
def test_entity_and_database_disagree(database: str, ddl: str, said: str) -> None:
    run(database, ddl)
    made = plan(database, [BARE])
    with pytest.raises(DatabaseError, match=said) as caught:
        apply(database, made)
    assert caught.value.entity == "bare"
    assert caught.value.remedy
    assert caught.value.safe == "Nothing was changed."


def test_expression_that_does_not_exist(database: str) -> None:
    with pytest.raises(DatabaseError, match="no_such_function") as caught:
        plan(database, [with_column(BARE, Column(name="note", type=TEXT, default="no_such_function()"))])
    assert caught.value.entity == "bare"


def test_role_that_may_not(database: str) -> None:
    run(database, "drop role if exists weak", "create role weak login password 'w'")
    weak = f"{database} user=weak password=w"
    with pytest.raises(DatabaseError, match="permission denied") as caught:
        plan(weak, [BARE])
    assert "CREATE on the database" in str(caught.value.remedy)
    run(database, "drop role weak")


def test_new_column_without_a_value_for_old_rows_is_refused(database: str) -> None:
    settle(database, BARE)
    needy = with_column(BARE, Column(name="needed", type=INT))
    assert not plan(database, [needy]).refused, "an empty table has no old rows"
    run(database, "insert into bare values (1, 'kept')")
    made = plan(database, [needy])
    assert "no default" in made.conflicts[0].reason
    with pytest.raises(DatabaseError, match="Entity and database disagree"):
        apply(database, made)
    settle(database, BARE)


def test_rule_that_rows_break(database: str) -> None:
    settle(database, BARE)
    run(database, "insert into bare values (1, 'x')")
    ruled = with_column(BARE, Column(name="note", type=TEXT, nullable=True, choices=("a", "b")))
    with pytest.raises(DatabaseError, match="is violated by some row") as caught:
        apply(database, plan(database, [ruled]))
    assert "correct them" in str(caught.value.remedy)
    with pytest.raises(psycopg.errors.CheckViolation):
        run(database, "insert into bare values (2, 'y')")
    run(database, "update bare set note = 'a'")
    settle(database, ruled)


@pytest.mark.parametrize(
    ("old", "new"),
    [(TEXT, INT), (Type("int64"), INT), (MONEY, Type("decimal", 9, 2)), (TEXT, Type("text", length=3)), (MONEY, Type("decimal", 10, 3))],
    ids=str,
)
def test_narrowing_wants_the_flag(database: str, old: Type, new: Type) -> None:
    settle(database, with_column(BARE, Column(name="x", type=old, nullable=True)))
    narrow = with_column(BARE, Column(name="x", type=new, nullable=True))
    with pytest.raises(DatabaseError, match="Values might not fit"):
        apply(database, plan(database, [narrow]))
    run(database, "insert into bare (id, x) values (1, '7')")
    assert settle(database, narrow, allow_destructive=True).steps[0].destructive


def test_narrowing_that_does_not_fit_changes_nothing(database: str) -> None:
    settle(database, BARE)
    run(database, "insert into bare values (1, 'seven')")
    narrow = with_column(BARE, Column(name="note", type=INT, nullable=True), Column(name="y", type=INT, nullable=True))
    with pytest.raises(DatabaseError) as caught:
        apply(database, plan(database, [narrow], allow_destructive=True))
    assert caught.value.safe == "Nothing was changed."
    assert run(database, "select * from bare") == [(1, "seven")]


def test_unique_that_rows_break_leaves_no_broken_index(database: str) -> None:
    """PostgreSQL keeps it, and an entity that takes the rule back would never name it again."""
    settle(database, BARE)
    run(database, "insert into bare values (1, 'x'), (2, 'x')")
    with pytest.raises(DatabaseError, match="could not create unique index") as caught:
        apply(database, plan(database, [replace(BARE, unique=(("note",),))]))
    assert "having count(*) > 1" in str(caught.value.remedy)
    assert run(database, "select count(*) from pg_index where indrelid = 'bare'::regclass") == [(1,)]


@pytest.mark.parametrize("schema", ["public", "Old One"])
def test_a_table_that_was_renamed_is_not_made_anew(database: str, schema: str) -> None:
    """Else the rows would be in a table that nobody reads, and an empty one would stand in its place."""
    settle(database, BARE)
    run(database, 'create schema if not exists "Old One"', "insert into bare values (1, 'kept')")
    run(database, 'alter table bare rename to "Bare, old"', f'alter table "Bare, old" set schema "{schema}"')
    made = plan(database, [BARE])
    with pytest.raises(DatabaseError, match=r"public\.bare is not in the database, but .*Bare, old is") as caught:
        apply(database, made)
    remedy = str(caught.value.remedy)
    assert f"table='Bare, old', schema='{schema}', name='bare'" in remedy
    settle(database, replace(BARE, table="Bare, old", schema=schema))
    run(database, *remedy.partition("new name:")[2].partition(" Are they")[0].strip().rstrip(";").split(";"))
    settle(database, BARE)
    assert run(database, "select note from bare") == [("kept",)]


def test_a_new_table_beside_one_that_is_captured_no_more(database: str) -> None:
    settle(database, BARE)
    other = replace(BARE, name="other", table="other")
    (refused,) = plan(database, [other]).conflicts
    assert "alter table public.bare rename to other;" in refused.remedy
    run(database, refused.remedy.rpartition(": ")[2])
    settle(database, other)
