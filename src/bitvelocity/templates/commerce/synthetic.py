"""A made-up retail year with the tables and columns of the real one: same seed, same shop.

Each day is drawn from a generator of its own, so a longer story begins as the shorter one does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

START = np.datetime64("2017-01-01T00:00:00", "us")
YEAR = 365
BASKETS_PER_DAY = 427
PRODUCTS = 60_000
SHARE_OF_WEEK = (1.14, 1.00, 0.93, 0.92, 0.94, 0.99, 1.08)
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
AGES = ("19-24", "25-34", "35-44", "45-54", "55-64", "65+")
INCOMES = ("Under 15K", "15-24K", "25-34K", "35-49K", "50-74K", "75-99K", "100-124K", "150-174K")
HOUSEHOLDS = ("1 Adult No Kids", "2 Adults No Kids", "2 Adults Kids")


@dataclass(frozen=True, slots=True)
class Tables:
    """Column for column what the files of the real data set hold."""

    transactions: pl.DataFrame
    products: pl.DataFrame
    demographics: pl.DataFrame


def synthesize(lines: int | None, seed: int = 7) -> Tables:
    """Whole days from 1 January 2017 on, more than `lines` lines; None: a year, some 1.4 million lines."""
    products = _products(np.random.default_rng([seed, 1]))
    days: list[pl.DataFrame] = []
    count = 0
    while len(days) < YEAR if lines is None else count <= lines:
        days.append(_day(np.random.default_rng([seed, 2, len(days)]), len(days), products))
        count += days[-1].height
    return Tables(pl.concat(days), products.drop("price"), _demographics(np.random.default_rng([seed, 3])))


def _products(dice: np.random.Generator) -> pl.DataFrame:
    """Products with a `price` in cents, which the real catalogue does not tell."""
    kinds = [(department, kind) for department, names in DEPARTMENTS.items() for kind in names]
    kind = dice.integers(0, len(kinds), PRODUCTS)
    size = dice.integers(1, 49, PRODUCTS)
    department, category = (np.array([pair[n] for pair in kinds])[kind] for n in range(2))
    letter = np.array(list(" ABCDEFGH"))[size % 9]
    package = np.where(size % 3 == 0, "", np.char.add(size.astype(str), " OZ"))
    return pl.DataFrame(
        {
            "product_id": np.sort(dice.choice(18_000_000, PRODUCTS, replace=False)) + 25_000,
            "manufacturer_id": dice.integers(2, 6_478, PRODUCTS),
            "department": department,
            "brand": np.where(dice.random(PRODUCTS) < 0.15, "Private", "National"),
            "product_category": category,
            "product_type": np.char.rstrip(np.char.add(np.char.add(category, " "), letter)),
            "package_size": pl.Series(package).replace("", None),
            "price": np.clip(np.round(dice.lognormal(5.4, 0.7, PRODUCTS)), 19, 9_999).astype(np.int64),
        }
    )


def _day(dice: np.random.Generator, day: int, products: pl.DataFrame) -> pl.DataFrame:
    count = max(1, int(dice.poisson(BASKETS_PER_DAY * SHARE_OF_WEEK[day % 7])))
    sizes = np.clip(np.round(dice.lognormal(1.66, 1.05, count)), 1, 161).astype(np.int64)
    second = np.sort(dice.normal(62_000, 14_000, count).astype(np.int64) % 86_400)
    at = START + np.timedelta64(day, "D") + second.astype("timedelta64[s]")
    baskets = pl.DataFrame(
        {
            "household_id": dice.integers(1, 2_501, count),
            "store_id": dice.integers(286, 450, count),
            "basket_id": 31_198_000_000 + day * 30_000_000 + np.cumsum(dice.integers(1, 30_000, count)),
            "week": np.full(count, day // 7 + 1),
            "transaction_timestamp": at.astype("datetime64[ns]"),
        }
    )
    repeated = baskets[np.repeat(np.arange(count), sizes)]
    bought = repeated.hstack(_lines(dice, products, repeated.height))
    return (
        bought.unique(["basket_id", "product_id"], keep="first", maintain_order=True)
        .select(
            "household_id", "store_id", "basket_id", "product_id", "quantity", "sales_value", "retail_disc",
            "coupon_disc", "coupon_match_disc", "week", "transaction_timestamp",
        )
        .sort("transaction_timestamp", "basket_id", "product_id")
    )  # fmt: skip


def _lines(dice: np.random.Generator, products: pl.DataFrame, count: int) -> pl.DataFrame:
    """Products of a day's baskets. Few sell often: the place in the catalogue is a fourth power."""
    place = (dice.random(count) ** 4 * PRODUCTS).astype(np.int64) * 7_919 % PRODUCTS
    fuel = products["department"].to_numpy()[place] == "FUEL"
    units = np.where(dice.random(count) < 0.8, 1, dice.geometric(0.45, count))
    shelf = products["price"].to_numpy()[place] * units
    retail = np.where(dice.random(count) < 0.5, np.round(shelf * dice.uniform(0.02, 0.4, count)), 0)
    coupon = np.where(dice.random(count) < 0.015, np.minimum(100, shelf - retail), 0)
    match = np.where(coupon > 0, np.round((shelf - retail - coupon) * 0.1), 0)
    return pl.DataFrame(
        {
            "product_id": products["product_id"].to_numpy()[place],
            "quantity": np.where(fuel, units * 4_000, units),
            "sales_value": (shelf - retail - coupon - match) / 100,
            "retail_disc": retail / 100,
            "coupon_disc": coupon / 100,
            "coupon_match_disc": match / 100,
        }
    )


def _demographics(dice: np.random.Generator) -> pl.DataFrame:
    def pick(*values: str | None) -> pl.Series:
        return pl.Series(values, dtype=pl.String)[dice.integers(0, len(values), 801)]

    return pl.DataFrame(
        {
            "household_id": np.sort(dice.choice(2_500, 801, replace=False)) + 1,
            "age": pick(*AGES),
            "income": pick(*INCOMES),
            "home_ownership": pick("Homeowner", "Renter", None),
            "marital_status": pick("Married", "Unmarried", None),
            "household_size": pick("1", "2", "3", "4", "5+"),
            "household_comp": pick(*HOUSEHOLDS),
            "kids_count": pick("0", "1", "2", "3+"),
        }
    )
