"""Gold on disk and over time: how rows are stored, what moves them, and what stands after a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.errors import LakeError, ModelError
from bitvelocity.lakehouse import Gold, GoldReceipt, LocalTable
from bitvelocity.lakehouse.gold import bind_models, passes
from bitvelocity.lakehouse.gold import table as gold_table
from bitvelocity.lakehouse.gold.model import parse_model
from bitvelocity.lakehouse.gold.silver import silver_schemas

SPEC = EntitySpec(
    name="orders",
    table="orders",
    key=("id",),
    columns=(
        Column(name="id", type=Type("int64")),
        Column(name="day", type=Type("text"), nullable=True),
        Column(name="total", type=Type("decimal", precision=10, scale=2), nullable=True),
        Column(name="note", type=Type("text"), nullable=True),
    ),
)
SCHEMA = silver_schemas([SPEC])["orders"]

DAYS = """\
-- model: days
-- key: day
-- columns:
--   day    text
--   total  decimal(38,2)
select day, sum(total) as total from silver.orders group by day
"""
FACTS = """\
-- model: facts
-- key: id
-- columns:
--   id     bigint
--   total  decimal(10,2)
select id, total from silver.orders
"""


@dataclass(frozen=True)
class Told:
    """The changes of one commit."""

    tables: Sequence[pa.Table] = ()
    files: Sequence[Path] = ()


@dataclass
class Orders:
    """Silver with one entity, in memory."""

    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    lsn: int = 0

    def position(self, entity: str) -> int:
        return self.lsn if self.rows or self.lsn else -1

    def latest(self, entity: str, columns: Sequence[str]) -> pa.Table:
        return pa.Table.from_pylist(list(self.rows.values()), schema=SCHEMA).select(list(columns))

    def commit(self, *changes: tuple[str, dict[str, Any]]) -> pa.Table:
        """`("u", row)` and `("d", {"id": 1})`, all in one commit."""
        self.lsn += 10
        told = []
        for ordinal, (op, row) in enumerate(changes):
            whole = {**row, "_lsn": self.lsn, "_ordinal": ordinal}
            told.append({**whole, "_op": op})
            if op == "d":
                self.rows.pop(row["id"], None)
            else:
                self.rows[row["id"]] = whole
        return pa.Table.from_pylist(told, schema=pa.schema([*SCHEMA, ("_op", pa.string())]))


class House:
    """Models over silver with one entity."""

    def __init__(self, root: Path, **models: str) -> None:
        self.root = root
        self.orders = Orders()
        self.open(**models)

    def open(self, **models: str) -> None:
        parsed = [parse_model(text, Path(f"{name}.sql")) for name, text in models.items()]
        self.gold = Gold(self.root, [SPEC], bind_models(parsed, {"orders": SCHEMA}), sync=False)

    def start(self) -> GoldReceipt:
        return self.gold.start(self.orders)

    def step(self, *changes: tuple[str, dict[str, Any]]) -> GoldReceipt:
        told = Told(tables=[self.orders.commit(*changes)])
        return self.gold.apply({"orders": told}, self.orders.lsn)

    def check(self) -> None:
        wrong = [verdict.as_dict() for verdict in self.gold.verify(self.orders) if not verdict.ok]
        assert not wrong, wrong

    def log(self, model: str) -> list[tuple[str, Any]]:
        """What the log of a table has: operation and first column."""
        rows = (
            DeltaTable(self.root / "gold" / f"{model}_changes")
            .to_pyarrow_table()
            .sort_by([("_lsn", "ascending")])
        )
        return [(row["_op"], row[rows.column_names[3]]) for row in rows.to_pylist()]

    def stored(self, model: str) -> list[dict[str, Any]]:
        """The base of a table, as any reader of Delta sees it."""
        return DeltaTable(self.root / "gold" / model).to_pyarrow_table().to_pylist()


Make = Callable[..., House]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Make]:
    made: list[House] = []

    def make(**models: str) -> House:
        made.append(House(tmp_path, **models))
        return made[-1]

    yield make
    for one in made:
        one.gold.close()


def order(number: int, day: str | None = "mon", total: str = "1.00", note: str = "") -> dict[str, Any]:
    return {
        "id": number,
        "day": day,
        "total": pa.scalar(total).cast(pa.decimal128(10, 2)).as_py(),
        "note": note,
    }


def test_small_tables_are_plain_delta_tables(house: Make) -> None:
    made = house(days=DAYS)
    made.start()
    made.step(("c", order(1)), ("c", order(2, total="2.50")))
    assert [(row["day"], str(row["total"])) for row in made.stored("days")] == [("mon", "3.50")]
    assert made.log("days") == []


def test_large_tables_take_what_differs_into_a_log(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gold_table, "WHOLE_ROWS", 0)
    made = house(facts=FACTS)
    made.start()
    made.step(*(("c", order(number)) for number in range(10)))
    base = made.stored("facts")
    made.step(
        ("u", order(3, total="9.00")), ("d", {"id": 4}), ("u", order(5, note="the model does not read this"))
    )
    assert made.stored("facts") == base
    assert sorted(made.log("facts")) == [("d", 4), ("u", 3)]
    made.check()


def test_a_fold_moves_the_base_and_empties_the_log(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gold_table, "WHOLE_ROWS", 0)
    made = house(facts=FACTS)
    made.start()
    made.step(*(("c", order(number)) for number in range(10)))
    made.step(("u", order(3, total="9.00")))
    table = made.gold._tables["facts"]
    table._layers.fold()
    made.step(("d", {"id": 4}))
    assert {str(row["total"]) for row in made.stored("facts") if row["id"] == 3} == {"9.00"}
    assert made.log("facts") == [("d", 4)]
    made.check()
    assert not any(made.start().rows.values())


def test_a_key_that_is_null_is_written_whole(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gold_table, "WHOLE_ROWS", 0)
    made = house(days=DAYS)
    made.start()
    made.step(*(("c", order(number, day=f"d{number}")) for number in range(6)))
    made.step(("c", order(7, day=None)))
    made.check()
    made.step(("u", order(7, day=None, total="5.00")), ("u", order(1, day="d2")))
    made.check()
    made.step(("d", {"id": 7}), ("u", order(2, day="d1")))
    made.check()


def test_what_a_model_does_not_read_does_not_touch_it(house: Make) -> None:
    made = house(days=DAYS, facts=FACTS)
    made.start()
    made.step(("c", order(1)))
    versions = made.gold.versions()
    receipt = made.step(("u", order(1, note="new")))
    assert (receipt.strategies, receipt.rows, receipt.versions) == ({}, {}, versions)
    receipt = made.step(("u", order(1, day="tue")))
    assert (receipt.strategies, receipt.rows) == ({"days": "affected"}, {"days": 2})
    assert "2 keys were touched" in receipt.reasons["days"]


def test_when_most_rows_change_all_are_computed(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "FULL_ROWS", 4)
    made = house(days=DAYS)
    made.start()
    made.step(*(("c", order(number)) for number in range(4)))
    receipt = made.step(*(("u", order(number, total="2.00")) for number in range(4)))
    assert receipt.strategies == {"days": "full"}
    assert "8 rows of silver.orders changed" in receipt.reasons["days"]
    assert receipt.rows == {"days": 1}
    made.check()


def test_very_large_commits_come_as_files(house: Make, tmp_path: Path) -> None:
    made = house(days=DAYS)
    made.start()
    rows = made.orders.commit(("c", order(1)), ("u", order(1, day="tue")), ("c", order(2)), ("d", {"id": 2}))
    pq.write_table(rows.slice(2), tmp_path / "a.parquet")
    pq.write_table(rows.slice(0, 2), tmp_path / "b.parquet")
    told = Told(files=[tmp_path / "a.parquet", tmp_path / "b.parquet"])
    made.gold.apply({"orders": told}, made.orders.lsn)
    made.check()
    assert [row["day"] for row in made.stored("days")] == ["tue"]


def test_several_commits_are_followed_at_once(house: Make) -> None:
    made = house(days=DAYS)
    made.start()
    first = Told(tables=[made.orders.commit(("c", order(1)), ("c", order(2)))])
    second = Told(
        tables=[made.orders.commit(("d", {"id": 1}), ("t", {"id": None}), ("c", order(3, day="wed")))]
    )
    made.orders.rows = {3: made.orders.rows[3]}
    made.gold.apply({"orders": [first, second]}, made.orders.lsn)
    made.check()
    assert [row["day"] for row in made.stored("days")] == ["wed"]


def test_a_row_whose_key_does_not_fit_is_not_there(house: Make) -> None:
    made = house(facts=FACTS)
    made.start()
    table = made.orders.commit(("c", order(1)), ("c", order(2)))
    keyless = table.set_column(0, "id", pa.array([1, None], pa.int64()))
    del made.orders.rows[2]
    made.gold.apply({"orders": Told(tables=[keyless])}, made.orders.lsn)
    made.check()


def test_another_select_is_computed_anew_and_only_differences_are_written(house: Make) -> None:
    made = house(days=DAYS)
    made.start()
    made.step(("c", order(1)), ("c", order(2, day="tue")), ("c", order(3, day="tue")))
    made.gold.close()
    made.open(days=DAYS.replace("sum(total)", "max(total)"))
    receipt = made.start()
    assert receipt.reasons == {"days": "its SQL or columns changed"}
    assert receipt.rows == {"days": 1}
    made.check()
    assert made.start().rows == {}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--   total  decimal(38,2)\n", "--   total  decimal(38,2)\n--   n bigint\n"),
        ("decimal(38,2)", "decimal(38,3)"),
        ("--   total  decimal(38,2)\n", "--   n bigint\n"),
    ],
    ids=["more", "another type", "others"],
)
def test_other_columns_make_another_table(house: Make, old: str, new: str) -> None:
    made = house(days=DAYS)
    made.start()
    made.step(("c", order(1)))
    made.gold.close()
    columns = "sum(total) as total, count(*) as n" if "38" in new else "count(*) as n"
    made.open(
        days=DAYS.replace(old, new).replace(
            "sum(total) as total", columns if " n " in new else "sum(total) as total"
        )
    )
    made.start()
    made.check()
    made.step(("c", order(2)))
    made.check()


def test_two_rows_of_one_key_are_refused_and_the_lake_goes_on(house: Make) -> None:
    made = house(facts=FACTS.replace("key: id", "key: total"))
    made.start()
    made.step(("c", order(1, total="1.00")))
    with pytest.raises(ModelError, match="more than one row for one total") as caught:
        made.step(("c", order(2, total="1.00")))
    assert caught.value.position == "facts.sql:2"
    with pytest.raises(LakeError, match="not started"):
        made.step(("c", order(3)))
    with pytest.raises(ModelError, match="more than one row for one total"):
        made.start()
    made.orders.commit(("u", order(2, total="2.00")), ("u", order(3, total="3.00")))
    made.start()
    made.check()


def test_a_value_that_the_sql_cannot_take_is_told(house: Make) -> None:
    made = house(facts=FACTS.replace("total from", "cast(note as decimal(10,2)) as total from"))
    made.start()
    made.step(("c", order(1, note="1.5")))
    with pytest.raises(ModelError, match='Could not convert string "x"') as caught:
        made.step(("u", order(1, note="x")))
    assert caught.value.entity == "gold.facts"
    assert "try_cast" in (caught.value.remedy or "")
    made.orders.commit(("u", order(1, note="2")))
    made.start()
    made.check()


def test_a_table_is_where_its_inputs_are_or_computed_anew(house: Make) -> None:
    made = house(days=DAYS)
    made.start()
    made.step(("c", order(1)))
    assert made.start().rows == {}, "level: the stored rows are taken as they are"
    made.orders.commit(("c", order(2)))
    receipt = made.start()
    assert receipt.reasons == {"days": "its inputs moved on while gold stood still"}
    made.check()


def test_the_state_stays_small_under_many_updates(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitvelocity.lakehouse.gold import rows

    monkeypatch.setattr(rows, "SLACK", 20)
    made = house(days=DAYS)
    made.start()
    for turn in range(30):
        made.step(*(("u", order(number, total=f"{turn}.00")) for number in range(10)))
    state = made.gold._state
    assert state is not None
    made.check()
    kept = state.engine.number("SELECT max(rowid) + 1 FROM silver_rows.orders")
    assert kept < 100, "dead rows are thrown out"


def test_a_table_that_grows_moves_into_the_engine_and_back(
    house: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bitvelocity.lakehouse.gold import state

    monkeypatch.setattr(state, "SMALL", 3)
    made = house(facts=FACTS)
    made.start()
    for _ in range(2):
        made.step(*(("c", order(number)) for number in range(10)))
        made.step(("u", order(3, total="4.00")))
        made.check()
        made.step(*(("d", {"id": number}) for number in range(9)))
        made.step(("u", order(9, total="4.00")))
        made.check()


def test_the_log_is_a_table_for_every_reader_of_delta(house: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gold_table, "WHOLE_ROWS", 0)
    made = house(facts=FACTS)
    made.start()
    made.step(*(("c", order(number)) for number in range(10)))
    made.step(("u", order(3, total="9.00")))
    assert LocalTable.open(made.root / "gold" / "facts_changes", pa.schema([])).schema.names == [
        "_op", "_lsn", "_ordinal", "id", "total",
    ]  # fmt: skip


COUNTS = """\
-- model: counts
-- key: kind
-- columns:
--   kind  text
--   n     bigint
select 'all' as kind, count(*) as n from silver.orders union all select 'none' as kind, 0 as n
"""


def test_a_model_that_reads_no_column_follows_rows_that_come_and_go(tmp_path: Path) -> None:
    """A table of no columns has no rows for Arrow: such a model must not seem untouched."""
    house = House(tmp_path, counts=COUNTS)
    house.start()
    for change, n in ((("c", {"id": 1}), 1), (("c", {"id": 2}), 2), (("d", {"id": 1}), 1)):
        assert house.step(change).strategies == {"counts": "full"}, n
        house.check()
    assert house.step(("u", {"id": 2, "note": "other"})).strategies == {}


def test_what_is_hidden_comes_as_a_whole(tmp_path: Path) -> None:
    """Also where the model was written since, so that it seems to stand above what it never saw."""
    house = House(tmp_path, days=DAYS)
    for n in (1, 2):
        house.orders.commit(("c", {"id": n, "day": "mon", "total": n}))
    house.gold.start(house.orders, hidden={"orders"})
    assert house.gold.apply({}, house.orders.lsn + 5).rows == {}
    receipt = house.gold.start(house.orders, shown={"orders"})
    assert receipt.strategies == {"days": "full"}
    house.check()
