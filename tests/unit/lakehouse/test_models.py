"""Model files: what the header says, what the SQL gives, and what is said when the two do not agree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.errors import ModelError
from bitvelocity.lakehouse import Model, load_models
from bitvelocity.lakehouse.gold import lint
from bitvelocity.lakehouse.gold.kinds import parse_type
from bitvelocity.lakehouse.gold.model import parse_model

COLUMNS = (
    Column(name="order_id", type=Type("int64")),
    Column(name="customer_id", type=Type("uuid"), nullable=True),
    Column(name="total", type=Type("decimal", precision=12, scale=2), nullable=True),
    Column(name="weight", type=Type("float64"), nullable=True),
    Column(name="placed_at", type=Type("timestamptz"), nullable=True),
    Column(name="Odd Name", type=Type("text"), nullable=True),
)
SPECS = (
    EntitySpec(name="orders", table="orders", key=("order_id",), columns=COLUMNS),
    EntitySpec(name="clicks", table="clicks", key=(), columns=COLUMNS),
)

GOOD = """\
-- model: sales
-- doc: Sales per customer.
--      Cancelled ones too.
-- owner: analytics
-- key: customer
--
-- columns:
--   customer  text           Who bought
--   orders    bigint
--   revenue   decimal(38,2)  Sum of totals
select
    o.customer_id as customer,
    count(*) as orders,
    sum(o.total) as revenue
from silver.orders o
group by o.customer_id;
"""
OTHER = """\
-- model: top
-- key: customer
-- columns:
--   customer text
select customer from gold.sales
"""

Load = Callable[..., tuple[Model, ...]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def do(**texts: str) -> tuple[Model, ...]:
        for name, text in texts.items():
            (tmp_path / f"{name}.sql").write_text(text)
        return load_models(tmp_path, SPECS)

    return do


def test_a_model_is_its_header_and_its_select(load: Load) -> None:
    (model,) = load(sales=GOOD)
    assert (model.name, model.table, model.key, model.owner) == (
        "sales",
        "gold.sales",
        ("customer",),
        "analytics",
    )
    assert model.doc == "Sales per customer. Cancelled ones too."
    assert [(column.name, column.type.text, column.doc) for column in model.columns] == [
        ("customer", "text", "Who bought"),
        ("orders", "bigint", ""),
        ("revenue", "decimal(38,2)", "Sum of totals"),
    ]
    assert model.inputs == ("silver.orders",)
    assert model.sql.startswith("select")
    assert model.sql.endswith("o.customer_id"), "a last semicolon is left away"


def test_inputs_come_before_their_readers(load: Load) -> None:
    first = OTHER.replace("top", "a_top")
    assert [model.name for model in load(sales=GOOD, a_top=first)] == ["sales", "a_top"]


def test_the_fingerprint_follows_the_rows_and_not_the_documentation() -> None:
    model = parse_model(GOOD, Path("sales.sql"))
    assert (
        parse_model(GOOD.replace("Who bought", "The buyer"), Path("sales.sql")).fingerprint
        == model.fingerprint
    )
    assert (
        parse_model(GOOD.replace("decimal(38,2)", "decimal(38,3)"), Path("sales.sql")).fingerprint
        != model.fingerprint
    )
    assert (
        parse_model(GOOD.replace("count(*)", "count(o.total)"), Path("sales.sql")).fingerprint
        != model.fingerprint
    )


HEADER = [
    ("-- model: sales\n", "", 1, "names no model", "begin the file with"),
    ("model: sales", "model: Sales", 1, "'Sales' is no name of a model", "small letters"),
    ("model: sales", "model: sale", 1, "the file is named sales.sql", "rename the file to sale.sql"),
    ("-- doc:", "-- docs:", 2, "no entry 'docs'", "`-- doc:`"),
    ("-- owner: analytics", "-- key: orders", 5, "says 'key' twice", "keep one"),
    ("-- owner: analytics\n", "-- by analytics\n", 4, "does not understand '-- by analytics'", "entries are"),
    ("-- owner: analytics", "-- owner: a\n--     b", 5, "belongs to no entry", "entries are"),
    ("-- key: customer\n", "", 1, "has no key", "tell its rows apart"),
    ("-- key: customer", "-- key: client", 5, "'client', which is no column", "customer, orders, revenue"),
    ("-- key: customer", "-- key: customer, customer", 5, "names a column twice", "keep one"),
    ("orders    bigint", "orders", 9, "'orders' declares no column", "write name"),
    ("orders    bigint", "customer  bigint", 9, "column customer is declared twice", "keep one"),
    ("bigint", "numeric", 9, "'numeric' is no type", "write decimal(18,2), with its digits"),
    ("bigint", "timestamp", 9, "'timestamp' is no type", "write timestamptz"),
    ("bigint", "decimal(40,2)", 9, "'decimal(40,2)' is no type", "precision is 1 to 38"),
]


@pytest.mark.parametrize(("old", "new", "line", "what", "remedy"), HEADER)
def test_a_wrong_header(old: str, new: str, line: int, what: str, remedy: str) -> None:
    assert old in GOOD
    with pytest.raises(ModelError) as caught:
        parse_model(GOOD.replace(old, new, 1), Path("sales.sql"))
    check(caught.value, line, what, remedy)


def test_a_header_without_columns_or_sql() -> None:
    with pytest.raises(ModelError, match="declares no columns"):
        parse_model("-- model: sales\n-- key: a\n-- columns:\nselect 1 as a", Path("sales.sql"))
    with pytest.raises(ModelError, match="no SQL under the header"):
        parse_model(GOOD.split("select", maxsplit=1)[0], Path("sales.sql"))


SQL = [
    ("select\n", "selec\n", 11, "syntax error", "DuckDB's dialect"),
    ("select\n", "insert into x select\n", 11, "is no SELECT", "one SELECT"),
    ("select\n", "select 1; select\n", 11, "more than one statement", "one SELECT"),
    ("count(*)", "count(o.totall)", 13, '"totall"', '(near it: "total")'),
    ("count(*)", "countt(*)", 13, "countt does not exist", "count"),
    ("silver.orders o", "silver.order o", 15, "there is no table silver.order", "write silver.orders"),
    ("silver.orders o", "orders o", 15, "orders names no table of the lake", "write silver.orders"),
    ("silver.orders o", "bronze.orders o", 15, "bronze.orders is bronze", "read silver.orders"),
    ("silver.orders o", "silver.clicks o", 15, "clicks has no key", "primary key"),
    ("silver.orders o", "silver.orders o, read_csv('x')", 15, "not read_csv()", "read silver or gold"),
    ("silver.orders o", "silver.orders o tablesample 3 rows", 15, "another one at each run", "condition"),
    (
        "silver.orders o",
        "silver.orders o where placed_at < now()",
        15,
        "now() gives another answer",
        "_committed_at",
    ),
    (
        "silver.orders o",
        "silver.orders o where current_date is null",
        15,
        "current_date gives another",
        "column",
    ),
    ("count(*)", "count(age(o.placed_at))", 13, "age() gives another answer", "column"),
    ("count(*)", "cast(random() as bigint)", 13, "random() gives another answer", "column"),
    (
        "count(*)",
        "length(string_agg(o.\"Odd_Name\", ''))",
        13,
        "string_agg() without ORDER BY",
        "any_value()",
    ),
    (
        "    sum(o.total) as revenue\n",
        "    1.0 as revenu\n",
        10,
        "revenue is declared, but",
        "gives customer, orders",
    ),
    (
        "count(*) as orders",
        "count(*) as orders, 1 as more",
        11,
        "gives more, which is not declared",
        "columns:",
    ),
    ("count(*) as orders", "count(*) as orders, 1 as orders", 11, "gives orders twice", "name of its own"),
    ("decimal(38,2)", "decimal(38,1)", 10, "the SELECT gives DECIMAL(38,2)", "cast(... as decimal(38,1))"),
    ("sum(o.total)", "avg(o.total)", 10, "the SELECT gives DOUBLE", "cast(... as decimal(38,2))"),
    ("count(*)", "max(o.placed_at)", 9, "gives TIMESTAMP WITH TIME ZONE", "declare what comes out"),
    ("group by o.customer_id", "", 12, "GROUP BY", "ANY_VALUE"),
]


@pytest.mark.parametrize(("old", "new", "line", "what", "remedy"), SQL)
def test_wrong_sql(load: Load, old: str, new: str, line: int, what: str, remedy: str) -> None:
    assert old in GOOD
    with pytest.raises(ModelError) as caught:
        load(sales=GOOD.replace(old, new, 1))
    check(caught.value, line, what, remedy)


def check(error: ModelError, line: int, what: str, remedy: str) -> None:
    assert error.entity == "gold.sales"
    assert what in error.what
    assert remedy in (error.remedy or "")
    assert error.position == f"sales.sql:{line}"


def test_models_that_read_each_other(load: Load) -> None:
    circle = GOOD.replace("silver.orders o", "silver.orders o join gold.top t on t.customer = o.customer_id")
    with pytest.raises(ModelError, match="in a circle: sales → top → sales"):
        load(sales=circle, top=OTHER)


def test_a_model_cannot_be_called_like_a_log(load: Load) -> None:
    with pytest.raises(ModelError, match="names that end in _changes"):
        load(sales_changes=GOOD.replace("model: sales", "model: sales_changes"))


def test_a_wide_value_may_be_declared_narrow_only_where_overflow_raises() -> None:
    assert parse_type("integer").accepts("HUGEINT")
    assert parse_type("decimal(10,2)").accepts("DECIMAL(38,2)")
    assert parse_type("decimal(10,2)").accepts("BIGINT")
    assert parse_type("text").accepts("ENUM('a', 'b')")
    assert parse_type("date").accepts('"NULL"')
    assert not parse_type("decimal(10,2)").accepts("DECIMAL(10,3)")
    assert not parse_type("decimal(10,2)").accepts("DOUBLE")
    assert not parse_type("integer").accepts("DECIMAL(4,0)")
    assert not parse_type("date").accepts("TIMESTAMP")
    assert not parse_type("timestamptz").accepts("TIMESTAMP")


LINT = [
    ("o.total / 2", "double", "a double here and a decimal elsewhere"),
    ("cast(o.total as integer)", "integer", "rounds here and cuts off elsewhere"),
    ("cast(floor(o.total) as integer)", "integer", None),
    ("hash(o.customer_id)", "bigint", "hash() differs"),
    ("regexp_replace(o.customer_id, 'a', 'b')", "text", "first match here"),
    ("regexp_replace(o.customer_id, 'a', 'b', 'g')", "text", None),
    ("date_trunc('month', o.placed_at)", "timestamptz", "date_trunc gives"),
    ("cast(date_trunc('month', o.placed_at) as date)", "date", None),
    ("date_diff('month', o.placed_at, o._committed_at)", "bigint", "counts boundaries"),
    ("o.placed_at + interval 1 day", "timestamptz", "date + interval"),
    ("substring(o.customer_id, 0, 2)", "text", "substring from 0"),
    ("dayofweek(o.placed_at)", "integer", "dayofweek() differs"),
    ("cast(o.total as double) / nullif(o.order_id, 0)", "double", None),
    ("o.weight * 2", "double", None),
]


@pytest.mark.parametrize(("expression", "kind", "warning"), LINT)
def test_what_other_engines_answer_differently_is_told(
    load: Load, expression: str, kind: str, warning: str | None
) -> None:
    text = f"-- model: sales\n-- key: k\n-- columns:\n--  k bigint\n--  x {kind}\nselect order_id as k,\n{expression} as x\n"
    found = lint(load(sales=f"{text}from silver.orders o"), SPECS)
    if warning is None:
        assert not found
    else:
        assert [(item.model, item.line) for item in found] == [("sales", 7)]
        assert warning in str(found[0])


def test_sums_of_doubles_are_told(load: Load) -> None:
    (found,) = lint(
        load(sales=GOOD.replace("count(*) as orders", "count(sum(o.weight)) over () as orders")), SPECS
    )
    assert "order of the rows" in found.what
