"""What happens to whom, and when: a replay as a list of steps, each one transaction of one user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from .retail import WINDOW
from .shop import Ints, Shop, dice

Kind = Literal[
    "customers", "products", "place", "confirm", "process", "cancel", "correct", "drop", "ship", "deliver",
    "refund", "hide", "erase", "rename", "readings",
]  # fmt: skip
MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
COPY_FROM = 25
"""From this many orders on, a placing transaction is one COPY per table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Shares of orders (or items) that meet each fate."""

    cancelled: float = 0.02
    refunded: float = 0.01
    hidden: float = 0.002
    """Orders that are soft-deleted."""
    erased: float = 0.0005
    """Orders that are deleted, with items and payment."""
    corrected: float = 0.005
    """Items whose price is corrected."""
    dropped: float = 0.0015
    """Items that are deleted from their order."""
    renamed: float = 0.01
    """Products that get a new name."""


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction. `rows` are numbers of rows: items (correct, drop), products (rename), else orders."""

    kind: Kind
    user: str
    rows: Ints
    at: int
    """The time in the story, microseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Act:
    """All that happens of one kind: rows in order of time, and how its transactions are cut."""

    kind: Kind
    users: tuple[str, str]
    """Who does it one by one, and who does it in batches."""
    rows: Ints
    at: Ints
    singles: int
    batch: int


USERS: dict[Kind, tuple[str, str]] = {
    "customers": ("crm-import", "crm-import"),
    "products": ("catalog-import", "catalog-import"),
    "place": ("checkout-service", "checkout-service"),
    "confirm": ("payment-service", "payment-service"),
    "process": ("picker", "picker"),
    "cancel": ("support:anna", "customer-portal"),
    "correct": ("support:anna", "pricing-service"),
    "drop": ("support:ben", "stock-service"),
    "ship": ("warehouse", "warehouse"),
    "deliver": ("carrier", "carrier"),
    "refund": ("support:ben", "returns-service"),
    "hide": ("fraud-desk", "fraud-desk"),
    "erase": ("privacy-officer", "privacy-officer"),
    "rename": ("catalog:erin", "catalog-import"),
    "readings": ("store-gateway", "store-gateway"),
}


SOURCES: dict[Kind, str] = {
    "customers": "crm", "products": "catalog", "rename": "catalog", "cancel": "back-office",
    "correct": "back-office", "refund": "back-office", "hide": "back-office", "erase": "back-office",
    "ship": "logistics", "deliver": "logistics", "readings": "stores",
}  # fmt: skip
"""The program that a step comes from; the shop itself where nothing is said."""


def write_story(shop: Shop, rates: Rates, seed: int) -> Iterator[Step]:
    """The steps of the replay in order: window after window of the shop's life, to the end of the last.

    Within a window each order meets its fates in the order of their times. The story of fewer lines is the
    beginning of the story of more; orders that are on their way at its end stay there.
    """
    first, last = (int(at) // WINDOW for at in shop.placed[[0, -1]])
    acts = _acts(shop, rates, seed)
    for start in range(first * WINDOW, (last + 1) * WINDOW, WINDOW):
        for act in acts:
            low, high = np.searchsorted(act.at, (start, start + WINDOW))
            yield from _cut(act, int(low), int(high))
        yield Step("readings", USERS["readings"][0], np.array([start]), start)


def _acts(shop: Shop, rates: Rates, seed: int) -> tuple[Act, ...]:
    """In the order in which they are played within a window: nobody buys before he is known."""
    return (
        _act("customers", *_seen(shop.customers), singles=0, batch=1_000),
        _act("products", *_seen(shop.products), singles=0, batch=20_000),
        *_order_acts(shop, rates, seed),
        _renames(shop, rates, seed),
    )


def _seen(table: pl.DataFrame) -> tuple[Ints, Ints]:
    return np.arange(table.height), table["at"].to_physical().to_numpy()


def _order_acts(shop: Shop, rates: Rates, seed: int) -> tuple[Act, ...]:
    numbers = shop.orders["basket_id"].to_numpy() * 1_000 + seed
    home = shop.orders["delivery"].to_numpy()
    placed = shop.placed

    def later(than: Ints, salt: int, low: int, high: int) -> Ints:
        return than + (low + dice(numbers, salt) * (high - low)).astype(np.int64)

    def act(kind: Kind, who: npt.NDArray[np.bool_], at: Ints, *, singles: int = 1, batch: int = 400) -> Act:
        return _act(kind, np.flatnonzero(who), at, singles=singles, batch=batch)

    fate = dice(numbers, 30)
    bounds = np.cumsum([rates.cancelled, rates.refunded, rates.hidden, rates.erased])
    cancelled, refunded, hidden, erased = (np.searchsorted(bounds, fate, side="right") == n for n in range(4))
    early = dice(numbers, 31) < 0.5
    confirmed = later(placed, 32, 2 * MINUTE, 40 * MINUTE)
    processed = later(confirmed, 33, 5 * MINUTE, 25 * MINUTE)
    cancelling = later(np.where(early, placed, confirmed), 34, MINUTE, 2 * MINUTE)
    shipped = later(confirmed, 35, 30 * MINUTE, 5 * HOUR)
    delivered = later(shipped, 36, HOUR, 6 * HOUR)
    finally_ = later(delivered, 37, HOUR, 12 * HOUR)

    return (
        act("place", placed >= 0, placed, singles=3, batch=250),
        act("confirm", ~(cancelled & early), confirmed),
        act("process", home & ~cancelled, processed),
        act("cancel", cancelled, cancelling),
        *_item_acts(shop, rates, np.flatnonzero(~cancelled & ~erased), seed),
        act("ship", ~cancelled, shipped),
        act("deliver", ~cancelled, delivered),
        act("refund", refunded, finally_),
        act("hide", hidden, finally_),
        act("erase", erased, finally_),
    )


def _item_acts(shop: Shop, rates: Rates, orders: Ints, seed: int) -> tuple[Act, Act]:
    """Corrections and removals, of items of `orders`. The first item of an order is never removed."""
    order = shop.items["order"].to_numpy()
    line = shop.items["line_number"].to_numpy()
    numbers = shop.orders["basket_id"].to_numpy()[order] * 1_000 + line
    able = np.isin(order, orders)
    fate = dice(numbers, 41 + seed)
    corrected = able & (fate < rates.corrected) & (shop.items["total"].to_numpy() >= 10)
    dropped = able & (fate >= 1 - rates.dropped) & (line > 1)
    at = shop.placed[order] + (50 * MINUTE + dice(numbers, 42 + seed) * 6 * HOUR).astype(np.int64)
    return (
        _act("correct", np.flatnonzero(corrected), at, singles=2, batch=100),
        _act("drop", np.flatnonzero(dropped), at, singles=1, batch=100),
    )


def _renames(shop: Shop, rates: Rates, seed: int) -> Act:
    numbers = shop.products["product_number"].to_numpy().astype(np.int64) * 1_000 + seed
    seen = shop.products["at"].to_physical().to_numpy()
    at = seen + (DAY * (0.2 + dice(numbers, 51) * 60)).astype(np.int64)
    return _act("rename", np.flatnonzero(dice(numbers, 52) < rates.renamed), at, singles=1, batch=50)


def _act(kind: Kind, rows: Ints, at: Ints, *, singles: int, batch: int) -> Act:
    """`rows` in order of the time, `at[row]`, of their fate."""
    when = at[rows]
    order = np.argsort(when, kind="stable")
    return Act(kind, USERS[kind], rows[order], when[order], singles, batch)


def _cut(act: Act, low: int, high: int) -> Iterator[Step]:
    """A few transactions of one row, a few small ones, then batches."""
    sizes = [1] * act.singles + ([2, 5, 11] if act.kind == "place" else [])
    while low < high:
        size = min(sizes.pop(0) if sizes else act.batch, high - low)
        user = act.users[0 if size == 1 else 1]
        yield Step(act.kind, user, act.rows[low : low + size], int(act.at[low]))
        low += size
