"""How a model follows its inputs, and why: the plan says it in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.lakehouse.gold import Plan, bind_models, plan_models
from bitvelocity.lakehouse.gold.model import parse_model
from bitvelocity.lakehouse.gold.silver import silver_schemas


def entity(name: str, *columns: str) -> EntitySpec:
    declared = [Column(name="id", type=Type("int64"))]
    declared += [Column(name=column, type=Type("int64"), nullable=True) for column in columns]
    return EntitySpec(name=name, table=name, key=("id",), columns=tuple(declared))


SPECS = (entity("a", "b_id", "x", "y"), entity("b", "c_id", "x"), entity("c", "x"))


def plan(sql: str, key: str = "k", columns: str = "k bigint, n bigint") -> Plan:
    declared = "".join(f"--   {column.strip()}\n" for column in columns.split(","))
    text = f"-- model: m\n-- key: {key}\n-- columns:\n{declared}{sql}"
    models = bind_models([parse_model(text, Path("m.sql"))], silver_schemas(SPECS))
    (made,) = plan_models(models, SPECS)
    return made


FULL = [
    ("select id as k, x as n from silver.a order by id limit 3", "LIMIT"),
    ("select id as k, row_number() over (order by id) as n from silver.a", "window"),
    (
        "select id as k, x as n from silver.a qualify row_number() over (partition by x order by id) = 1",
        "QUALIFY",
    ),
    ("select id as k, x as n from silver.a union all select id, x from silver.b", "UNION"),
    ("select id as k, x as n from silver.a where x in (select x from silver.b)", "subquery"),
    ("select id as k, (select max(x) from silver.b) as n from silver.a", "subquery"),
    ("select a.id as k, b.x as n from silver.a full join silver.b on b.id = a.b_id", "FULL"),
    ("select a.id as k, b.x as n from silver.b right join silver.a on b.id = a.b_id", "RIGHT"),
    ("select a.id as k, a.x as n from silver.a semi join silver.b on b.id = a.b_id", "SEMI"),
    ("select any_value(id) as k, count(*) as n from silver.a", "total over all rows"),
    ("select product(id)::bigint as k, count(*) as n from silver.a", "total over all rows"),
    ("select x as k, count(*) as n from silver.a group by rollup (x)", "several ways"),
    ("select max(y) as k, count(*) as n from silver.a group by x", "not among what it groups by"),
    ("select 1 as k, count(*) as n from silver.a group by x", "same for all rows"),
    ("select unnest([id, x]) as k, 1 as n from silver.a", "unnests"),
    ("select distinct on (x) id as k, x as n from silver.a order by x, id", "DISTINCT ON"),
    (
        "with t as (select x, count(*) as n from silver.a group by x) select t.x as k, max(t.n) as n from t group by t.x",
        "cannot be merged",
    ),
    (
        "select a.id as k, s.one as n from silver.a left join (select id, 1 as one from silver.b) s on s.id = a.b_id",
        "optional side of a left join computes",
    ),
]


@pytest.mark.parametrize(("sql", "reason"), FULL)
def test_what_looks_at_other_rows_is_computed_in_full(sql: str, reason: str) -> None:
    made = plan(sql)
    assert made.strategy == "full"
    assert reason in made.reason
    assert {how.strategy for how in made.inputs.values()} == {"full"}


def test_a_key_that_stands_in_the_input_needs_no_statement() -> None:
    how = plan("select id as k, x as n from silver.a").inputs["silver.a"]
    assert (how.strategy, how.direct, how.keys_sql, how.columns) == ("affected", ("id",), "", ("id", "x"))


def test_groups_are_found_from_their_expressions() -> None:
    made = plan(
        "select x // 10 as k, count(*) as n from silver.a where y > 0 group by all having count(*) > 1"
    )
    how = made.inputs["silver.a"]
    assert made.strategy == "affected"
    assert made.one_row_per_key
    assert how.keys_sql == 'SELECT DISTINCT "a"."x" // 10 AS "_k0" FROM "_changed" AS "a" WHERE "a"."y" > 0'
    assert [(item.table, item.number, item.sql) for item in made.computed] == [
        ("silver.a", 0, '"_row"."x" // 10')
    ]


def test_a_join_is_followed_from_either_side() -> None:
    made = plan("select a.id as k, b.x as n from silver.a join silver.b on b.id = a.b_id")
    assert made.inputs["silver.a"].direct == ("id",)
    assert made.inputs["silver.b"].keys_sql == (
        'SELECT DISTINCT "a"."id" AS "_k0" FROM "silver"."a" AS "a" JOIN "_changed" AS "b" ON "b"."id" = "a"."b_id"'
    )


def test_tables_that_the_key_does_not_need_are_not_read() -> None:
    sql = (
        "select a.x as k, count(c.x) as n from silver.a join silver.b on b.id = a.b_id "
        "left join silver.c on c.id = b.c_id group by a.x"
    )
    inputs = plan(sql).inputs
    assert inputs["silver.a"].direct == ("x",)
    assert '"silver"."c"' not in inputs["silver.b"].keys_sql
    assert 'JOIN "_changed" AS "c"' in inputs["silver.c"].keys_sql


def test_a_key_on_the_optional_side_is_found_with_and_without_a_match() -> None:
    sql = (
        "select coalesce(b.x, 0) as k, count(*) as n from silver.a left join silver.b on b.id = a.b_id "
        "where a.y > 0 and coalesce(b.c_id, 0) = 0 group by all"
    )
    made = plan(sql)
    how = made.inputs["silver.b"]
    assert "with and without a match" in how.reason
    assert " UNION " in how.keys_sql
    assert "c_id" not in how.keys_sql, "a condition on the optional side may have held before, and not now"
    assert how.keys_sql.endswith('WHERE "a"."y" > 0')
    assert "IN (SELECT" in made.restricted_sql, "keys behind a left join filter, they are not joined first"


def test_a_table_that_is_read_twice_makes_its_changes_full() -> None:
    sql = "select p.id as k, q.x as n from silver.a p join silver.a q on q.id = p.b_id join silver.b b on b.id = p.x"
    inputs = plan(sql).inputs
    assert (inputs["silver.a"].strategy, inputs["silver.b"].strategy) == ("full", "affected")
    assert "reads silver.a 2 times" in inputs["silver.a"].reason


def test_plain_subqueries_are_merged() -> None:
    sql = "with t as (select id, x from silver.a where y = 1) select t.id as k, t.x as n from t"
    made = plan(sql)
    assert made.strategy == "affected"
    assert made.inputs["silver.a"].columns == ("id", "x", "y")


def test_a_star_reads_all_columns() -> None:
    sql = "select b_id as k, count(*) as n from (select * from silver.a) group by b_id"
    assert plan(sql).inputs["silver.a"].columns == ("b_id",), "only what the block reads touches it"
