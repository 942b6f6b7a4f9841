"""The shop's tables, made from lines of retail life: baskets become orders, lines become items.

What the data tells stays exact: amounts are whole cents, an item's total is its line's sales value, and an
order's total is the sum of its items and its shipping. What it does not tell (names, addresses, payments, the
tax in a price, delivery) is made up, the same on every run: keys are UUIDv5 of the data's own numbers, and
dice are hashes of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import numpy.typing as npt
import polars as pl

from .retail import Retail

Ints = npt.NDArray[np.int64]
NAMESPACE = uuid5(NAMESPACE_URL, "https://bitvelocity.dev/commerce")
TAXED = ["AUTOMOTIVE", "COSMETICS", "DRUG GM", "FLORAL", "GARDEN CENTER", "HOUSEWARES", "SPIRITS", "TOYS"]
TAX_PERCENT = 7
DELIVERY_FEE = 495
FIRST = ("Ada Ben Carla David Elena Felix Grace Hugo Irene Jonas Kira Liam Mara Nils Olga Pablo Quinn Rosa "
         "Sven Tara Uma Victor Wanda Xenia Yann Zoe").split()  # fmt: skip
LAST = ("Adams Bauer Costa Diaz Evans Fischer Garcia Hansen Ito Jansen Keller Lopez Meyer Novak Olsen Park "
        "Quist Rossi Silva Turner Urban Vega Weber Xu Young Zimmer").split()  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shop:
    """Rows to be written, in the order in which they happened; amounts in cents, times in UTC.

    - `customers`, `products`: their columns, and `at`, when they were first seen
    - `orders`: order_id, customer_id, store_number, at, shipping, delivery (brought home), `first` item
    - `items`: order (row of `orders`), line_number, product_id, quantity, discount, tax, total
    """

    source: str
    customers: pl.DataFrame
    products: pl.DataFrame
    orders: pl.DataFrame
    items: pl.DataFrame

    @property
    def placed(self) -> Ints:
        """When each order was placed: microseconds since 1970, ascending."""
        return self.orders["at"].to_physical().to_numpy()


def open_shop(retail: Retail) -> Shop:
    """The shop that had these baskets."""
    customers = _customers(retail)
    products = _products(retail)
    orders = _orders(retail.lines, customers)
    return Shop(retail.source, customers, products, orders, _items(retail.lines, products))


def stable_id(kind: str, number: int) -> str:
    """The UUID of a thing that the data knows by number; the same in every replay."""
    return str(uuid5(NAMESPACE, f"{kind}/{number}"))


def correlation(seed: int, step: int) -> UUID:
    """The correlation id of one step of a replay."""
    return uuid5(NAMESPACE, f"replay/{seed}/{step}")


def dice(numbers: npt.NDArray[np.int64], salt: int) -> npt.NDArray[np.float64]:
    """One number in [0, 1) for each of `numbers`, by splitmix64: the same whatever stands beside it."""
    with np.errstate(over="ignore"):
        z = numbers.astype(np.uint64) + np.uint64(salt + 1) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def tax_within(total: Ints) -> Ints:
    """The tax that a price with tax contains, to the nearest cent."""
    return (total * TAX_PERCENT * 2 + 100 + TAX_PERCENT) // (2 * (100 + TAX_PERCENT))


def _customers(retail: Retail) -> pl.DataFrame:
    seen = retail.lines.group_by("household_id", maintain_order=True).agg(pl.col("at").first())
    numbers = seen["household_id"]
    values = numbers.to_numpy()
    first = np.array(FIRST)[(dice(values, 11) * len(FIRST)).astype(int)]
    last = np.array(LAST)[(dice(values, 12) * len(LAST)).astype(int)]
    people = pl.DataFrame(
        {
            "customer_id": [stable_id("customer", n) for n in numbers],
            "customer_number": numbers.cast(pl.Int32),
            "name": np.char.add(np.char.add(first, " "), last),
            "at": seen["at"],
        }
    )
    known = retail.households.select(
        pl.col("household_id").cast(pl.Int32).alias("customer_number"),
        pl.col("age").alias("age_band"),
        pl.col("income").alias("income_band"),
        "household_size",
        "home_ownership",
    )
    called = pl.col("name").str.to_lowercase().str.replace(" ", ".")
    address = pl.format("{}.{}@example.com", called, "customer_number")
    people = people.with_columns(address.alias("email"))
    return people.join(known, on="customer_number", how="left", maintain_order="left")


def _products(retail: Retail) -> pl.DataFrame:
    """All that was sold; what the catalogue does not know is called by its number."""
    sold = retail.lines.group_by("product_id", maintain_order=True).agg(pl.col("at").first())
    told = sold.join(retail.products, on="product_id", how="left", maintain_order="left")
    plain = pl.col("product_type").str.to_titlecase()
    return told.select(
        pl.Series("product_id", [stable_id("product", n) for n in sold["product_id"]]),
        pl.col("product_id").cast(pl.Int32).alias("product_number"),
        pl.coalesce(plain, pl.format("Product {}", "product_id")).alias("name"),
        pl.col("department").fill_null("UNKNOWN"),
        pl.col("product_category").alias("category"),
        "brand",
        "package_size",
        "at",
    )


def _orders(lines: pl.DataFrame, customers: pl.DataFrame) -> pl.DataFrame:
    baskets = lines.with_row_index("first").group_by("basket_id", maintain_order=True).first()
    numbers = baskets["basket_id"].to_numpy()
    home = dice(numbers, 21) < 1 / 16
    ids = customers.select(pl.col("customer_number").cast(pl.Int64), "customer_id")
    return baskets.join(
        ids, left_on="household_id", right_on="customer_number", how="left", maintain_order="left"
    ).select(
        pl.Series("order_id", [stable_id("order", n) for n in baskets["basket_id"]]),
        pl.Series("payment_id", [stable_id("payment", n) for n in baskets["basket_id"]]),
        "customer_id",
        pl.col("basket_id"),
        pl.col("store_id").cast(pl.Int32).alias("store_number"),
        "at",
        pl.Series("shipping", np.where(home, DELIVERY_FEE, 0)),
        pl.Series("delivery", home),
        pl.Series("method", np.array(["CARD", "CASH", "CHECK", "VOUCHER"])[_method(numbers)]),
        pl.col("first").cast(pl.Int64),
    )


def _method(numbers: Ints) -> Ints:
    return np.searchsorted(np.array([0.70, 0.90, 0.97]), dice(numbers, 22), side="right")


def _items(lines: pl.DataFrame, products: pl.DataFrame) -> pl.DataFrame:
    catalogue = products.select(
        pl.col("product_number").cast(pl.Int64).alias("number"),
        pl.col("product_id").alias("id"),
        pl.col("department").is_in(TAXED).alias("taxed"),
    )
    joined = lines.join(
        catalogue, left_on="product_id", right_on="number", how="left", maintain_order="left"
    )
    total = joined["sales_value"].to_numpy()
    basket = pl.col("basket_id")
    return joined.select(
        basket.rle_id().cast(pl.Int64).alias("order"),
        (pl.int_range(pl.len()).over("basket_id") + 1).cast(pl.Int32).alias("line_number"),
        pl.col("id").alias("product_id"),
        "quantity",
        (pl.col("retail_disc") + pl.col("coupon_disc") + pl.col("coupon_match_disc")).alias("discount"),
        pl.Series("tax", np.where(joined["taxed"].to_numpy(), tax_within(total), 0)),
        pl.col("sales_value").alias("total"),
        pl.col("taxed"),
    )
