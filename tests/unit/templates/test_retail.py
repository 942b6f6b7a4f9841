"""The lines of retail life: exact, whole, and the same on every run."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from bitvelocity.templates.commerce.retail import WINDOW, Retail, find_data, load_retail
from bitvelocity.templates.commerce.shop import dice, open_shop, stable_id, tax_within

SOURCES = [
    pytest.param(True, id="synthetic"),
    pytest.param(False, id="real", marks=pytest.mark.skipif(find_data() is None, reason="data package not installed")),
]


@pytest.fixture(params=SOURCES)
def retail(request: pytest.FixtureRequest) -> Retail:
    return load_retail(3_000, synthetic=request.param)


def test_lines_are_in_order_and_in_cents(retail: Retail) -> None:
    assert retail.lines.height >= 3_000
    assert retail.lines["at"].is_sorted()
    amounts = retail.lines.select("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    assert set(amounts.dtypes) == {pl.Int64}
    assert (amounts.to_numpy() >= 0).all()


def test_both_sources_have_the_same_columns() -> None:
    made = load_retail(1, synthetic=True)
    real = load_retail(1)
    assert made.lines.schema == real.lines.schema
    assert made.products.columns == real.products.columns
    assert made.households.columns == real.households.columns


@pytest.mark.parametrize("synthetic", SOURCES)
def test_fewer_lines_are_the_beginning_of_more(synthetic: bool) -> None:
    few, many = load_retail(500, synthetic=synthetic).lines, load_retail(6_000, synthetic=synthetic).lines
    assert few.height < many.height
    assert many.head(few.height).equals(few)


def test_windows_are_whole(retail: Retail) -> None:
    more = load_retail(20_000, synthetic=retail.source == "synthetic")
    end = int(retail.lines["at"].to_physical()[-1]) // WINDOW
    assert more.lines.filter(pl.col("at").to_physical() // WINDOW <= end).height == retail.lines.height


def test_another_seed_is_another_synthetic_shop() -> None:
    assert not load_retail(500, seed=1, synthetic=True).lines.equals(load_retail(500, seed=2, synthetic=True).lines)


def test_an_order_is_a_basket(retail: Retail) -> None:
    shop = open_shop(retail)
    assert shop.orders.height == retail.lines["basket_id"].n_unique()
    assert shop.orders["customer_id"].null_count() == 0
    assert shop.items.height == retail.lines.height
    assert shop.items["product_id"].null_count() == 0
    assert shop.items["total"].sum() == retail.lines["sales_value"].sum()
    lengths = retail.lines.group_by("basket_id", maintain_order=True).len()["len"]
    assert shop.items.group_by("order", maintain_order=True).len()["len"].equals(lengths)
    assert shop.items.group_by("order").agg(pl.col("line_number").n_unique() == pl.len())["line_number"].all()


def test_numbers_of_the_data_become_the_same_keys(retail: Retail) -> None:
    shop = open_shop(retail)
    assert shop.orders["order_id"][0] == stable_id("order", int(retail.lines["basket_id"][0]))
    assert shop.orders["order_id"].n_unique() == shop.orders.height
    assert shop.customers["customer_id"].n_unique() == shop.customers.height


def test_personal_data_is_made_up_once(retail: Retail) -> None:
    shop = open_shop(retail)
    assert shop.customers["email"].n_unique() == shop.customers.height
    assert shop.customers["email"].str.contains(r"^[^@]+@[^@]+\.[^@]+$").all()
    assert open_shop(retail).customers.equals(shop.customers)


def test_tax_is_the_share_of_the_price() -> None:
    totals = np.array([0, 1, 107, 214, 999, 84_000])
    assert tax_within(totals).tolist() == [0, 0, 7, 14, 65, 5_495]


def test_dice_are_even_and_stable() -> None:
    thrown = dice(np.arange(100_000), 1)
    assert thrown.min() >= 0
    assert thrown.max() < 1
    assert abs(thrown.mean() - 0.5) < 0.01
    assert np.array_equal(dice(np.arange(50_000, 50_003), 1), thrown[50_000:50_003])
    assert not np.array_equal(dice(np.arange(3), 2), thrown[:3])
