"""The gold models over what a replay wrote, held against the replay's own books."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pytest

from bitvelocity.contracts import EntitySpec, load_specs
from bitvelocity.lakehouse.gold import load_models
from bitvelocity.oltp import apply, plan
from bitvelocity.templates import project_folder
from bitvelocity.templates.commerce import Expected, Rates, Replay

EVENTFUL = Rates(cancelled=0.06, refunded=0.06, hidden=0.06, erased=0.06, corrected=0.03, dropped=0.03)


class Gold:
    """All models computed from the tables as they stand."""

    def __init__(self, dsn: str, specs: tuple[EntitySpec, ...], folder: Path) -> None:
        self._lake = duckdb.connect(config={"threads": 1})
        self._lake.execute("set TimeZone = 'UTC'; create schema silver; create schema gold")
        for spec in specs:
            self._load(dsn, spec, folder)
        for model in load_models(project_folder("commerce") / "models", specs):
            self._lake.execute(f"create table {model.table} as {model.sql}")

    def ask(self, text: str) -> list[Any]:
        return self._lake.execute(text).fetchall()

    def close(self) -> None:
        self._lake.close()

    def _load(self, dsn: str, spec: EntitySpec, folder: Path) -> None:
        file = folder / f"{spec.name}.csv"
        export = f"copy (select * from {spec.table}) to stdout (format csv, header)"
        with psycopg.connect(dsn) as connection, connection.cursor().copy(export) as copy, file.open("wb") as out:
            out.writelines(bytes(block) for block in copy)
        columns = ", ".join(f'cast("{c.name}" as {_duckdb(c.type.kind)}) as "{c.name}"' for c in spec.columns)
        self._lake.execute(f"create table silver.{spec.name} as select {columns} from read_csv('{file}', all_varchar = true)")


def _duckdb(kind: str) -> str:
    types = {"decimal": "decimal(12,4)", "int32": "integer", "timestamptz": "timestamptz", "float64": "double"}
    return types.get(kind, "varchar")


@pytest.fixture
def replay(database: str) -> Replay:
    apply(database, plan(database, load_specs(project_folder("commerce") / "entities.py")))
    replay = Replay(database, lines=9_000, synthetic=True, rates=EVENTFUL)
    for _ in replay.run():
        pass
    return replay


@pytest.fixture
def books(replay: Replay) -> Expected:
    return replay.expected()


@pytest.fixture
def gold(replay: Replay, database: str, tmp_path: Path) -> Iterator[Gold]:
    made = Gold(database, load_specs(project_folder("commerce") / "entities.py"), tmp_path)
    yield made
    made.close()


def test_gold_says_what_the_books_say(gold: Gold, books: Expected) -> None:
    assert gold.ask("select order_date_key, order_count, unique_customers, total_revenue from gold.daily_sales order by 1") == [
        (int(f"{day.day:%Y%m%d}"), day.order_count, day.unique_customers, day.total_revenue) for day in books.days
    ]
    for key, average in gold.ask("select order_date_key, avg_order_value from gold.daily_sales"):
        day = next(day for day in books.days if int(f"{day.day:%Y%m%d}") == key)
        assert abs(average - day.total_revenue / day.order_count) <= Decimal("0.005")


def test_facts_have_one_row_per_living_order(gold: Gold, books: Expected) -> None:
    living = books.rows["orders"] - books.soft_deleted
    assert gold.ask("select count(*), count(distinct source_silver_order_id), sum(order_count) from gold.order_facts") == [
        (living, living, living)
    ]
    lost = books.statuses["CANCELLED"] + books.statuses["REFUNDED"]
    sales = sum(day.order_count for day in books.days)
    assert gold.ask("select count(*) from gold.order_facts where is_sale") == [(sales,)]
    assert sales >= living - lost


def test_items_add_up_to_their_orders(gold: Gold, books: Expected) -> None:
    text = """
select sum(o.total_amount), sum(o.shipping_amount),
       (select sum(i.total_amount) from gold.order_item_facts i where i.is_sale)
  from gold.order_facts o where o.is_sale"""
    ((total, shipping, items),) = gold.ask(text)
    assert total == books.revenue == items + shipping
    assert shipping > 0


def test_every_key_finds_its_dimension(gold: Gold) -> None:
    text = """
select count(*), count(d.date_key), count(c.customer_key), count(p.product_key)
  from gold.order_item_facts i
  left join gold.dim_date d on d.date_key = i.order_date_key
  left join gold.dim_customer c using (customer_key)
  left join gold.dim_product p using (product_key)"""
    (counts,) = gold.ask(text)
    assert counts[0] > 0
    assert len(set(counts)) == 1


def test_the_calendar_is_the_calendar(gold: Gold) -> None:
    text = "select date_key, date, year, quarter, month, day, weekday, iso_week, is_weekend from gold.dim_date"
    rows = gold.ask(text)
    assert rows
    for key, day, year, quarter, month, number, weekday, week, weekend in rows:
        assert isinstance(day, date)
        assert key == int(f"{day:%Y%m%d}")
        assert (year, month, number, quarter) == (day.year, day.month, day.day, (day.month + 2) // 3)
        assert (weekday, week, weekend) == (day.isoweekday(), day.isocalendar().week, day.isoweekday() > 5)


def test_personal_data_stays_out_of_gold() -> None:
    specs = load_specs(project_folder("commerce") / "entities.py")
    personal = {column.name for spec in specs for column in spec.columns if column.pii}
    assert personal == {"name", "email"}
    (customers,) = (m for m in load_models(project_folder("commerce") / "models", specs) if m.name == "dim_customer")
    assert not personal & set(customers.column_names)
