"""A made-up year of retail with the tables and columns of the real one: same seed, same shop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

START = np.datetime64("2017-01-01T00:00:00", "us")
LINES_PER_DAY = 4_025
MEAN_BASKET = 9.4
SHARE_OF_WEEK = np.array([1.00, 0.94, 0.93, 0.95, 0.99, 1.12, 1.07])
DEPARTMENTS = {
    "GROCERY": ("SOFT DRINKS", "BAG SNACKS", "COLD CEREAL", "SOUP", "FRZN PIZZA", "CANDY - PACKAGED"),
    "DRUG GM": ("MAGAZINE", "VITAMINS", "PAPER TOWELS", "SOAP - LIQUID", "BATTERIES"),
    "PRODUCE": ("BANANAS", "BERRIES", "TOMATOES", "SALAD MIX", "POTATOES"),
    "COSMETICS": ("MAKEUP AND TREATMENT", "FRAGRANCES"),
    "MEAT": ("BEEF", "CHICKEN", "PORK"),
    "DELI": ("LUNCHMEAT", "CHEESES"),
    "PASTRY": ("BREAD", "CAKES", "DOUGHNUTS"),
    "FUEL": ("COUPON/MISC ITEMS",),
}


@dataclass(frozen=True, slots=True)
class Tables:
    """Column for column what the files of the real data set hold."""

    transactions: pl.DataFrame
    products: pl.DataFrame
    demographics: pl.DataFrame


def synthesize(lines: int, seed: int = 7) -> Tables:
    """At least `lines` lines of whole baskets, from 1 January 2017 on, at the real data's 4,025 lines a day."""
    dice = np.random.default_rng(seed)
    lines = int(lines * 1.15) + 100  # a product drawn twice for one basket is dropped below
    products = _products(dice, max(40, min(90_000, int(120 * lines**0.47))))
    baskets = _baskets(dice, lines)
    return Tables(_lines(dice, baskets, products), products.drop("price"), _demographics(dice))


def _products(dice: np.random.Generator, count: int) -> pl.DataFrame:
    """Products with a `price` in cents, which the real catalogue does not tell."""
    kinds = [(department, kind) for department, names in DEPARTMENTS.items() for kind in names]
    kind = dice.integers(0, len(kinds), count)
    size = dice.integers(1, 49, count)
    return pl.DataFrame(
        {
            "product_id": np.sort(dice.choice(18_000_000, count, replace=False)) + 25_000,
            "manufacturer_id": dice.integers(2, 6_478, count),
            "department": [kinds[k][0] for k in kind],
            "brand": np.where(dice.random(count) < 0.15, "Private", "National"),
            "product_category": [kinds[k][1] for k in kind],
            "product_type": [f"{kinds[k][1]} {'ABCDEFGH'[n % 8]}" for k, n in zip(kind, size, strict=True)],
            "package_size": [None if n % 3 == 0 else f"{n} OZ" for n in size],
            "price": np.clip(np.round(dice.lognormal(5.4, 0.7, count)), 19, 9_999).astype(np.int64),
        }
    )


def _baskets(dice: np.random.Generator, lines: int) -> pl.DataFrame:
    count = max(1, round(lines / MEAN_BASKET * 1.25) + 20)
    sizes = np.clip(np.round(dice.lognormal(1.66, 1.05, count)), 1, 161).astype(np.int64)
    count = min(int(np.searchsorted(np.cumsum(sizes), lines)) + 1, count)
    per_day = LINES_PER_DAY / MEAN_BASKET
    days = max(1, round(count / per_day))
    weights = SHARE_OF_WEEK[np.arange(days) % 7]
    day = np.sort(dice.choice(days, count, p=weights / weights.sum()))
    second = dice.normal(62_000, 14_000, count).astype(np.int64) % 86_400
    at = np.sort(START + day.astype("timedelta64[D]") + second.astype("timedelta64[s]"))
    return pl.DataFrame(
        {
            "household_id": dice.integers(1, 2_501, count),
            "store_id": dice.integers(286, 450, count),
            "basket_id": 31_198_000_000 + np.cumsum(dice.integers(1, 120_000, count)),
            "size": sizes[:count],
            "week": ((at - START).astype("timedelta64[D]").astype(np.int64) // 7) + 1,
            "transaction_timestamp": at.astype("datetime64[ns]"),
        }
    )


def _lines(dice: np.random.Generator, baskets: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    """Few products sell often: rank to the power of three. A product stands once in a basket."""
    size = baskets["size"].to_numpy()
    count = int(size.sum())
    rank = (dice.random(count) ** 3 * products.height).astype(np.int64)
    place = dice.permutation(products.height)[rank]
    fuel = products["department"].to_numpy()[place] == "FUEL"
    units = np.where(dice.random(count) < 0.8, 1, dice.geometric(0.45, count))
    shelf = products["price"].to_numpy()[place] * units
    retail = np.where(dice.random(count) < 0.5, np.round(shelf * dice.uniform(0.02, 0.4, count)), 0)
    coupon = np.where(dice.random(count) < 0.015, np.minimum(100, shelf - retail), 0)
    match = np.where(coupon > 0, np.round((shelf - retail - coupon) * 0.1), 0)
    drawn = pl.DataFrame(
        {
            "product_id": products["product_id"].to_numpy()[place],
            "quantity": np.where(fuel, units * 4_000, units),
            "sales_value": (shelf - retail - coupon - match) / 100,
            "retail_disc": retail / 100,
            "coupon_disc": coupon / 100,
            "coupon_match_disc": match / 100,
        }
    )
    repeated = baskets.drop("size")[np.repeat(np.arange(baskets.height), size)]
    return pl.concat([repeated, drawn], how="horizontal").unique(["basket_id", "product_id"], keep="first").select(
        "household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc",
        "coupon_disc", "coupon_match_disc", "week", "transaction_timestamp",
    ).sort("transaction_timestamp", "basket_id", "product_id")  # fmt: skip


def _demographics(dice: np.random.Generator) -> pl.DataFrame:
    count = 801
    pick = dice.integers
    ages = np.array(["19-24", "25-34", "35-44", "45-54", "55-64", "65+"])
    incomes = np.array(["Under 15K", "15-24K", "25-34K", "35-49K", "50-74K", "75-99K", "100-124K", "150-174K"])
    homes = np.array(["Homeowner", "Renter", None], dtype=object)
    marriages = np.array(["Married", "Unmarried", None], dtype=object)
    return pl.DataFrame(
        {
            "household_id": np.sort(dice.choice(2_500, count, replace=False)) + 1,
            "age": ages[pick(0, len(ages), count)],
            "income": incomes[pick(0, len(incomes), count)],
            "home_ownership": pl.Series(homes[pick(0, 3, count)].tolist(), dtype=pl.String),
            "marital_status": pl.Series(marriages[pick(0, 3, count)].tolist(), dtype=pl.String),
            "household_size": np.array(["1", "2", "3", "4", "5+"])[pick(0, 5, count)],
            "household_comp": np.array(["1 Adult No Kids", "2 Adults No Kids", "2 Adults Kids"])[pick(0, 3, count)],
            "kids_count": np.array(["0", "1", "2", "3+"])[pick(0, 4, count)],
        }
    )
