"""The story that a replay tells: who meets which fate, in which order, in transactions of which size."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from bitvelocity.templates.commerce.fates import Rates, Step, write_story
from bitvelocity.templates.commerce.ledger import Ledger
from bitvelocity.templates.commerce.retail import WINDOW, load_retail
from bitvelocity.templates.commerce.shop import Shop, open_shop
from bitvelocity.templates.commerce.telemetry import install_devices

EVENTFUL = Rates(cancelled=0.1, refunded=0.1, hidden=0.1, erased=0.1, corrected=0.05, dropped=0.05, renamed=0.1)
Lives = dict[int, list[str]]


@pytest.fixture(scope="module")
def shop() -> Shop:
    return open_shop(load_retail(12_000, synthetic=True))


@pytest.fixture(scope="module")
def lives(shop: Shop) -> Lives:
    """Order -> what happened to it, in order."""
    ledger = Ledger(shop, install_devices(shop, WINDOW))
    found: Lives = defaultdict(list)
    for step in write_story(shop, EVENTFUL, 7):
        if step.kind not in {"customers", "products", "rename", "readings"}:
            for order in ledger.orders_of(step).tolist():
                found[order].append(step.kind)
    return found


def story(shop: Shop, seed: int = 7) -> list[Step]:
    return list(write_story(shop, Rates(), seed))


def test_every_order_is_placed_once_and_first(shop: Shop, lives: Lives) -> None:
    assert len(lives) == shop.orders.height
    assert all(life[0] == "place" and life.count("place") == 1 for life in lives.values())


def test_orders_move_forward(lives: Lives) -> None:
    way = ["place", "confirm", "process", "ship", "deliver", "refund"]
    for life in lives.values():
        places = [way.index(kind) for kind in life if kind in way]
        assert places == sorted(set(places)), life


def test_nothing_happens_after_the_end(lives: Lives) -> None:
    for life in lives.values():
        if "erase" in life:
            assert life[-1] == "erase"
        if "cancel" in life:
            assert set(life) <= {"place", "confirm", "process", "cancel"}
            assert life[-1] == "cancel"


def test_all_fates_are_met(lives: Lives) -> None:
    met = Counter(kind for life in lives.values() for kind in set(life))
    assert set(met) == {
        "place", "confirm", "process", "cancel", "correct", "drop", "ship", "deliver", "refund", "hide", "erase",
    }  # fmt: skip


def test_the_first_item_of_an_order_stays(shop: Shop) -> None:
    line = shop.items["line_number"].to_numpy()
    for step in write_story(shop, EVENTFUL, 7):
        if step.kind == "drop":
            assert line[step.rows].min() > 1


def test_nobody_buys_before_he_is_known(shop: Shop) -> None:
    known: set[str] = set()
    sold: set[str] = set()
    for step in story(shop):
        if step.kind == "customers":
            known.update(shop.customers["customer_id"][step.rows])
        if step.kind == "products":
            sold.update(shop.products["product_id"][step.rows])
        if step.kind == "place":
            assert set(shop.orders["customer_id"][step.rows]) <= known
            items = np.isin(shop.items["order"].to_numpy(), step.rows)
            assert set(shop.items["product_id"].filter(items)) <= sold


def test_transactions_have_mixed_sizes(shop: Shop) -> None:
    sizes = [len(step.rows) for step in story(shop) if step.kind == "place"]
    assert {1, 2, 5, 11} <= set(sizes)
    assert max(sizes) > 50


def test_a_longer_story_begins_like_the_shorter(shop: Shop) -> None:
    longer = open_shop(load_retail(25_000, synthetic=True))
    for short, long in zip(story(shop), story(longer), strict=False):
        assert (short.kind, short.user, short.at) == (long.kind, long.user, long.at)
        assert np.array_equal(short.rows, long.rows)


def test_another_seed_tells_another_story(shop: Shop) -> None:
    assert _cancelled(story(shop, 1)) != _cancelled(story(shop, 2))
    assert _cancelled(story(shop, 1)) == _cancelled(story(shop, 1))


def _cancelled(steps: list[Step]) -> set[int]:
    return {int(order) for step in steps if step.kind == "cancel" for order in step.rows}
