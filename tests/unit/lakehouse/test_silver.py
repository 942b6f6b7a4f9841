"""Silver: typed, keyed, ordered; what a type cannot hold is told, what was not sent is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import Batch, Mark
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.contracts.arrow import silver_type
from bitvelocity.lakehouse import Lake
from bitvelocity.lakehouse.casts import cast

Make = Callable[..., Batch]
Change = Callable[..., dict[str, object]]
COLUMNS = ("region", "id", "price", "note", "At")
MOMENT = datetime(2024, 2, 29, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def lake(tmp_path: Path, spec: EntitySpec) -> Iterator[Lake]:
    made = Lake(tmp_path, [spec], sync=False)
    yield made
    made.close()


def row(number: int, **rest: object) -> dict[str, object]:
    return {"region": "eu", "id": str(number), **rest}


def apply(lake: Lake, lsn: int, *batches: Batch) -> list[dict[str, Any]]:
    """Stage and commit; the rows of the log that this made."""
    for batch in batches:
        lake.stage(batch)
    lake.commit(Mark(lsn, lsn))
    return [row for table in lake.last_changes["items"].tables for row in table.to_pylist()]


def latest(lake: Lake, *columns: str) -> list[dict[str, Any]]:
    rows = lake.latest("items", columns or COLUMNS).read_all().to_pylist()
    return sorted(rows, key=lambda row: (row["region"], row["id"]))


@pytest.mark.parametrize(
    ("kind", "printed", "value"),
    [
        (Type("boolean"), "t", True),
        (Type("boolean"), "f", False),
        (Type("int16"), "-32768", -32768),
        (Type("int64"), "9223372036854775807", 2**63 - 1),
        (Type("float32"), "1.5", 1.5),
        (Type("float64"), "-Infinity", float("-inf")),
        (Type("float64"), "1e-300", 1e-300),
        (Type("decimal", 10, 2), "-12345678.90", Decimal("-12345678.90")),
        (Type("decimal", 10, 2), "-1.2500", Decimal("-1.25")),
        (Type("decimal", 10, 0), "100.00", Decimal(100)),
        (Type("decimal", 38, 0), "9" * 38, Decimal("9" * 38)),
        (Type("bytes"), "\\x00ff", b"\x00\xff"),
        (Type("bytes"), "\\x", b""),
        (Type("date"), "2024-02-29", date(2024, 2, 29)),
        (Type("timestamptz"), "2024-02-29 12:00:00+00", MOMENT),
        (Type("timestamptz"), "2024-02-29 12:00:00.5+00", MOMENT.replace(microsecond=500_000)),
        (Type("timestamptz"), "2024-02-29 17:30:00+05:30", MOMENT),
        (Type("timestamptz"), "2024-02-29 04:00:00-08", MOMENT),
        (Type("timestamp"), "2024-02-29 12:00:00", MOMENT),
        (Type("text"), "ä", "ä"),
        (Type("decimal"), "1.000000000000000000000000000000000000000001", "1.000000000000000000000000000000000000000001"),
    ],
)
def test_a_printed_value_becomes_the_same_value(kind: Type, printed: str, value: object) -> None:
    for others in ((), ("garbage",)):
        values = pa.chunked_array([pa.array([printed, None, *others], pa.string_view())])
        typed, unfit = cast(values, kind, silver_type(kind))
        assert typed.to_pylist()[:2] == [value, None]
        assert unfit is None or not unfit[:2].any()


@pytest.mark.parametrize(
    ("kind", "printed"),
    [
        (Type("int16"), "32768"),
        (Type("decimal", 10, 2), "NaN"),
        (Type("decimal", 10, 2), "1.005"),
        (Type("decimal", 10, 2), "100000000.00"),
        (Type("date"), "infinity"),
        (Type("date"), "0044-03-15 BC"),
        (Type("timestamptz"), "-infinity"),
        (Type("timestamptz"), "0044-03-15 12:00:00+00 BC"),
        (Type("timestamp"), "infinity"),
        (Type("bytes"), "\\xzz"),
    ],
)
def test_a_value_that_the_type_cannot_hold_is_null_and_told(kind: Type, printed: str) -> None:
    values = pa.chunked_array([pa.array([None, printed], pa.string_view())])
    typed, unfit = cast(values, kind, silver_type(kind))
    assert typed.to_pylist() == [None, None]
    assert unfit is not None
    assert unfit.tolist() == [False, True]


def test_unfit_names_the_columns_of_each_row(lake: Lake, batch_of: Make, change: Change) -> None:
    rows = apply(
        lake,
        1,
        batch_of(
            change("c", (1, 0), after=row(1, price="NaN", At="infinity")),
            change("c", (1, 1), after=row(2, price="1.00")),
            change("c", (1, 2), after=row(3, price="1.00", At="infinity")),
        ),
    )
    assert [row["_unfit"] for row in rows] == ['{"price":"NaN","At":"infinity"}', None, '{"At":"infinity"}']


def test_a_delete_keeps_its_key_and_nothing_else(lake: Lake, batch_of: Make, change: Change) -> None:
    apply(lake, 1, batch_of(change("c", (1, 0), after=row(1, note="x"))))
    (buried,) = apply(lake, 2, batch_of(change("d", (2, 0), before=row(1, note="x"))))
    assert (buried["region"], buried["id"], buried["note"], buried["_op"]) == ("eu", 1, None, "d")
    assert latest(lake) == []


def test_a_moved_key_is_buried_just_before_the_row(lake: Lake, batch_of: Make, change: Change) -> None:
    apply(lake, 1, batch_of(change("c", (1, 0), after=row(1, note="x"))))
    rows = apply(
        lake,
        2,
        batch_of(
            change("c", (2, 0), after=row(5)),
            change("u", (2, 1), after=row(2, note="x"), before=row(1)),
            change("u", (2, 2), after=row(5, note="y"), before=row(5)),
        ),
    )
    assert [(row["_op"], row["id"], row["_ordinal"]) for row in rows] == [
        ("c", 5, 0), ("d", 1, 1), ("u", 2, 1), ("u", 5, 2),
    ]  # fmt: skip
    assert [row["id"] for row in latest(lake)] == [2, 5]


def test_keys_may_change_places(lake: Lake, batch_of: Make, change: Change) -> None:
    apply(lake, 1, batch_of(change("c", (1, 0), after=row(1, note="a")), change("c", (1, 1), after=row(2, note="b"))))
    apply(
        lake,
        2,
        batch_of(
            change("u", (2, 0), after=row(9, note="a"), before=row(1)),
            change("u", (2, 1), after=row(1, note="b"), before=row(2)),
            change("u", (2, 2), after=row(2, note="a"), before=row(9)),
        ),
    )
    assert [(row["id"], row["note"]) for row in latest(lake)] == [(1, "b"), (2, "a")]


def test_a_truncate_ends_all_rows_below_it(lake: Lake, batch_of: Make, change: Change) -> None:
    apply(lake, 1, batch_of(*(change("c", (1, n), after=row(n)) for n in range(3))))
    lake.fold()
    apply(lake, 2, batch_of(change("c", (2, 0), after=row(7)), change("t", (2, 1)), change("c", (2, 2), after=row(8))))
    assert [row["id"] for row in latest(lake)] == [8]
    lake.fold()
    assert [row["id"] for row in latest(lake)] == [8]


@pytest.mark.parametrize("fold", [False, True])
def test_absent_values_come_from_the_latest_earlier_row(
    lake: Lake, batch_of: Make, change: Change, *, fold: bool
) -> None:
    apply(lake, 1, batch_of(*(change("c", (1, n), after=row(n, note=f"long {n}", price="1.00")) for n in range(4))))
    if fold:
        lake.fold()
    absent = {"absent": ["note"]}
    staged = batch_of(change("u", (2, 0), after=row(1, note="longer"), before={}))
    rows = apply(
        lake,
        2,
        staged,
        batch_of(
            change("u", (2, 1), after=row(0, price="2.00"), **absent),
            change("u", (2, 2), after=row(10, price="3.00"), before=row(0), **absent),
            change("u", (2, 3), after=row(10, price="4.00"), **absent),
            change("u", (2, 4), after=row(1), **absent),
            change("u", (2, 5), after=row(2, note=None)),
            change("u", (2, 6), after=row(2, price="5.00"), **absent),
        ),
    )
    assert {(row["_ordinal"], row["note"]) for row in rows if row["_op"] == "u"} == {
        (0, "longer"), (1, "long 0"), (2, "long 0"), (3, "long 0"), (4, "longer"), (5, None), (6, None),
    }  # fmt: skip
    assert all(row["_absent"] is None for row in rows)


def test_a_value_that_nobody_knows_stays_absent(lake: Lake, batch_of: Make, change: Change) -> None:
    rows = apply(lake, 1, batch_of(change("u", (1, 0), after=row(1), absent=["note", "At"])))
    assert rows[0]["_absent"] == '["note","At"]'
    assert rows[0]["note"] is None


def test_a_column_added_to_the_entity_is_null_before(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change, published: Callable[..., None]
) -> None:
    first = Lake(tmp_path, [spec], sync=False)
    apply(first, 1, batch_of(change("c", (1, 0), after=row(1))))
    published(first, tmp_path, 1)
    first.close()
    wide = replace(spec, columns=(*spec.columns, Column(name="stock", type=Type("int32"), nullable=True)))
    second = Lake(tmp_path, [wide], sync=False)
    apply(second, 2, batch_of(change("c", (2, 0), after=row(2, stock="7")), columns=(*COLUMNS, "stock")))
    apply(second, 3, batch_of(change("c", (3, 0), after=row(3))))
    assert [row["stock"] for row in latest(second, *COLUMNS, "stock")] == [None, 7, None]
    second.close()


def test_a_very_large_commit_is_given_as_files(
    lake: Lake, batch_of: Make, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitvelocity.lakehouse.silver.KEPT_ROWS", 5)
    for start in (0, 4, 8):
        lake.stage(batch_of(*(change("c", (1, n), after=row(n)) for n in range(start, start + 4))))
    lake.commit(Mark(1, 1))
    changed = lake.last_changes["items"]
    assert not changed.tables
    assert len(changed.files) == 3
    assert all(file.exists() for file in changed.files)
    apply(lake, 2, batch_of(change("c", (2, 0), after=row(99))))
    assert len(lake.last_changes["items"].tables) == 1
