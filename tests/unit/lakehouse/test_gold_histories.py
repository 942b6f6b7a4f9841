"""Gold under random histories: after each commit, equal to its full recompute from silver, to the cent.

The histories insert, update, delete, cancel, move orders between days and customers, truncate; many rows of
several entities change in one commit, and keys repeat within it. Some models are hard on purpose: keys that
may be NULL, a key on the optional side of a left join, models that read models.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitvelocity.changes import Batch, Mark
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.lakehouse import (
    Gold,
    GoldReceipt,
    Lake,
    LakeReader,
    Model,
    Watermark,
    compare_gold,
    load_models,
    publish,
)
from bitvelocity.lakehouse.gold import table as gold_table

Make = Callable[..., Batch]
Change = Callable[..., dict[str, Any]]
Publish = Callable[[Lake, Path, int], None]
Row = dict[str, str | None]

MODELS = Path(__file__).parent / "gold_models"
INT, TEXT, MONEY, UUID = Type("int64"), Type("text"), Type("decimal", precision=12, scale=2), Type("uuid")
SMALL, TIME = Type("int32"), Type("timestamptz")


def entity(table: str, key: tuple[str, ...], /, **columns: Type) -> EntitySpec:
    declared = (Column(name=name, type=kind, nullable=name not in key) for name, kind in columns.items())
    return EntitySpec(name=table, table=table, key=key, columns=tuple(declared), audit=False)


SPECS = (
    entity("customers", ("customer_id",), customer_id=INT, email=TEXT, segment=TEXT),
    entity("products", ("product_id",), product_id=UUID, name=TEXT, category=TEXT, price=MONEY),
    entity(
        "orders",
        ("order_id",),
        order_id=INT,
        customer_id=INT,
        status=TEXT,
        placed_at=TIME,
        total_amount=MONEY,
        note=TEXT,
    ),
    entity(
        "order_items",
        ("order_id", "line"),
        order_id=INT,
        line=SMALL,
        product_id=UUID,
        quantity=SMALL,
        unit_price=MONEY,
    ),
)


@dataclass
class Shop:
    """What an application does to four tables, told as capture tells it."""

    random: random.Random
    batch_of: Make
    change: Change
    lsn: int = 100
    rows: dict[str, dict[tuple[str, ...], Row]] = field(
        default_factory=lambda: {spec.name: {} for spec in SPECS}
    )

    def work(self, changes: int) -> Iterator[Batch]:
        """One commit: that many changes, over all tables."""
        self.lsn += self.random.randint(8, 80)
        told: dict[str, list[dict[str, Any]]] = {spec.name: [] for spec in SPECS}
        for ordinal in range(changes):
            spec = self.random.choice(SPECS)
            told[spec.name].append(self._change(spec, (self.lsn, ordinal)))
        for spec in SPECS:
            if told[spec.name]:
                yield self.batch_of(*told[spec.name], columns=tuple(spec.by_name), relation=spec.qualified)

    def _change(self, spec: EntitySpec, at: tuple[int, int]) -> dict[str, Any]:
        table, luck = self.rows[spec.name], self.random.random()
        if luck < 0.02:
            table.clear()
            return self.change("t", at)
        if luck < 0.25 and table:
            return self.change("d", at, before=table.pop(self.random.choice(list(table))))
        row = self._row(spec)
        key = tuple(str(row[name]) for name in spec.key)
        before = table.get(key)
        if luck < 0.45 and before is not None:
            row = {**before, **self.random.choice([{}, {"note": "again"}, {"status": "CANCELLED"}])}
            row = {name: row.get(name) for name in spec.by_name}
        elif luck < 0.5 and table and before is None:
            before = table.pop(self.random.choice(list(table)))  # the key itself is changed
        table[key] = row
        return self.change("c" if before is None else "u", at, after=row, before=before)

    def _row(self, spec: EntitySpec) -> Row:
        values = {name: self._value(name) for name in spec.by_name}
        return {
            name: value if name in spec.key or self.random.random() > 0.1 else None
            for name, value in values.items()
        }

    def _value(self, name: str) -> str:
        pick, below = self.random.choice, self.random.randrange
        match name:
            case "order_id" | "customer_id":
                return str(below(10))
            case "product_id":
                return f"00000000-0000-4000-8000-00000000000{below(6)}"
            case "line" | "quantity":
                return str(1 + below(3))
            case "placed_at":
                return f"2026-03-0{1 + below(4)} {below(24):02}:30:00.{below(10)}+00"
            case "status":
                return pick(["PENDING", "SHIPPED", "CANCELLED"])
            case "price" | "unit_price" | "total_amount":
                return f"{below(100_000)}.{below(100):02}"
            case _:
                return pick(["a", "B", "c"])


@pytest.fixture(scope="module")
def models() -> tuple[Model, ...]:
    return load_models(MODELS, SPECS)


@dataclass
class House:
    """A lake, its gold and a shop that writes to it."""

    root: Path
    shop: Shop
    models: tuple[Model, ...]
    publish: Publish
    at: Callable[[str], None] = lambda _: None

    def __post_init__(self) -> None:
        self.lake = Lake(self.root, SPECS, sync=False)
        self.gold = Gold(self.root, SPECS, self.models, sync=False, at=self._pass)

    def _pass(self, step: str) -> None:
        self.at(step)

    def write(self, changes: int) -> None:
        for batch in self.shop.work(changes):
            self.lake.stage(batch)
        self.lake.commit(Mark(self.shop.lsn, self.shop.lsn))

    def step(self, changes: int) -> GoldReceipt:
        """One commit all the way, as the flow does it."""
        self.write(changes)
        receipt = self.gold.apply(
            {name: [change] for name, change in self.lake.last_changes.items()}, self.shop.lsn
        )
        self.publish(self.lake, self.root, self.shop.lsn)
        return receipt

    def check(self) -> None:
        wrong = [verdict.as_dict() for verdict in self.gold.verify() if not verdict.ok]
        assert not wrong, wrong

    def reopen(self) -> GoldReceipt:
        """As after kill -9: nothing is said goodbye to."""
        self.gold.close()
        self.gold = Gold(self.root, SPECS, self.models, sync=False, at=self._pass)
        return self.gold.start()

    def close(self) -> None:
        self.gold.close()
        self.lake.close()


@contextmanager
def opened(
    seed: int, batch_of: Make, change: Change, models: tuple[Model, ...], publish: Publish
) -> Iterator[House]:
    with tempfile.TemporaryDirectory() as folder:
        house = House(Path(folder), Shop(random.Random(seed), batch_of, change), models, publish)
        try:
            yield house
        finally:
            house.close()


@settings(max_examples=7, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.sampled_from([1, 2, 5, 12, 40]), min_size=2, max_size=7),
    first=st.sampled_from([0, 30]),
    whole_rows=st.sampled_from([0, 4, 4_000]),
)
def test_gold_equals_its_recompute_after_each_commit(
    batch_of: Make,
    change: Change,
    published: Publish,
    models: tuple[Model, ...],
    seed: int,
    sizes: list[int],
    first: int,
    whole_rows: int,
) -> None:
    with pytest.MonkeyPatch.context() as patch, opened(seed, batch_of, change, models, published) as house:
        patch.setattr(gold_table, "WHOLE_ROWS", whole_rows)
        if first:
            house.write(first)
        house.gold.start()
        house.check()
        for changes in sizes:
            house.step(changes)
            house.check()
        assert not any(house.reopen().rows.values()), "what was in order is not written again"


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), whole_rows=st.sampled_from([0, 4_000]))
def test_a_crash_between_any_two_steps_is_mended(
    batch_of: Make, change: Change, published: Publish, models: tuple[Model, ...], seed: int, whole_rows: int
) -> None:
    luck = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch, opened(seed, batch_of, change, models, published) as house:
        patch.setattr(gold_table, "WHOLE_ROWS", whole_rows)
        house.write(20)
        house.gold.start()
        for _ in range(3):
            left = luck.randrange(1, 30)

            def die(_: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed

            house.at = die
            try:
                house.step(12)
            except Killed:
                house.at = lambda _: None
                if luck.random() < 0.5:
                    house.write(5)  # silver may move on before gold comes back
                house.reopen()
            house.at = lambda _: None
            house.check()


class Killed(BaseException):
    """The process is gone."""


def test_a_start_that_is_killed_starts_again(
    batch_of: Make, change: Change, published: Publish, models: tuple[Model, ...]
) -> None:
    with opened(7, batch_of, change, models, published) as house:
        house.write(60)
        for steps in range(1, 40, 3):
            left = steps

            def die(_: str) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    raise Killed

            house.at = die
            try:
                house.gold.start()
                break
            except Killed:
                house.gold.close()
        house.at = lambda _: None
        house.gold.start()
        house.check()


def test_readers_see_what_gold_wrote(
    batch_of: Make,
    change: Change,
    published: Publish,
    models: tuple[Model, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gold_table, "WHOLE_ROWS", 3)
    with (
        opened(11, batch_of, change, models, published) as house,
        LakeReader(house.root, SPECS, models) as reader,
    ):
        house.write(40)
        house.gold.start()
        for changes in (3, 1, 8, 2, 20):
            house.step(changes)
            tables = {**house.lake.versions(), **house.gold.versions()}
            mark = Watermark(position=house.shop.lsn, resume=house.shop.lsn, tables=tables)
            publish(house.root, mark, sync=False)
            reader.refresh()
            verdicts = [compare_gold(reader, model) for model in models]
            assert all(verdict.ok for verdict in verdicts), [verdict.as_dict() for verdict in verdicts]
