"""Silver against the source's own rows: equal when equal, and every kind of difference found and named."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bitvelocity.changes import Batch, Mark
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.contracts.spec import Partition
from bitvelocity.errors import ReconcileError
from bitvelocity.lakehouse import EntityVerdict, Lake, LakeReader, compare_silver

Make = Callable[..., Batch]
Change = Callable[..., dict[str, Any]]
Publish = Callable[[Lake, Path, int], None]
Row = dict[str, str | None]

KINDS = {
    "id": Type("int64"),
    "at": Type("timestamptz"),
    "amount": Type("decimal", precision=10, scale=2),
    "real": Type("float64"),
    "small": Type("float32"),
    "flag": Type("boolean"),
    "day": Type("date"),
    "data": Type("bytes"),
    "doc": Type("jsonb"),
    "note": Type("text"),
    "Odd, name": Type("text"),
    "free": Type("decimal"),
}
PLAIN: Row = {
    "id": "1",
    "at": "2026-02-28 23:59:59.123456+00",
    "amount": "-12.30",
    "real": "0.1",
    "small": "1e-07",
    "flag": "t",
    "day": "2026-02-28",
    "data": "\\x00ff",
    "doc": '{"a": "b, \\"c\\""}',
    "note": 'a "quoted", text\nof two lines\r\nand \\N',
    "Odd, name": "",
    "free": "123456789012345678901234567890.5",
}
NULLS: Row = {name: "2" if name == "id" else None for name in KINDS} | {"at": "2026-03-01 00:00:00+00"}


def spec(*, partitioned: bool) -> EntitySpec:
    columns = tuple(Column(name=name, type=kind, nullable=name != "id") for name, kind in KINDS.items())
    return EntitySpec(
        name="things",
        table="things",
        key=("id",),
        columns=columns,
        partition=Partition(column="at") if partitioned else None,
    )


class House:
    """A lake, and the CSV that the source would give at the same time."""

    def __init__(
        self, root: Path, spec: EntitySpec, batch_of: Make, change: Change, publish: Publish
    ) -> None:
        self.root, self.spec = root, spec
        self.batch_of, self.change, self.publish = batch_of, change, publish
        self.lake = Lake(root / "lake", [spec], sync=False)
        self.reader = LakeReader(root / "lake", [spec])

    def write(self, lsn: int, *changes: tuple[str, Row]) -> None:
        """One commit; `("d", row)` deletes it."""
        images = (("before" if op == "d" else "after", op, row) for op, row in changes)
        told = [
            self.change(op, (lsn, ordinal), **{image: row}) for ordinal, (image, op, row) in enumerate(images)
        ]
        self.lake.stage(self.batch_of(*told, columns=tuple(KINDS), relation=self.spec.qualified))
        self.lake.commit(Mark(lsn, lsn))
        self.publish(self.lake, self.root / "lake", lsn)

    def compare(self, lsn: int, *rows: Row) -> EntityVerdict:
        """Silver below `lsn` against these rows of the source."""
        self.reader.refresh()
        file = self.root / "things.csv"
        file.write_text("".join(",".join(map(printed, row.values())) + "\n" for row in rows), newline="")
        return compare_silver(self.reader, self.spec, file, lsn)


def printed(value: str | None) -> str:
    """As COPY ... (FORMAT csv) prints it: NULL is nothing, an empty text is two quotes."""
    if value is None:
        return ""
    return '"' + value.replace('"', '""') + '"' if value == "" or set(value) & set(',"\n\r\\') else value


@pytest.fixture(params=[True, False], ids=["by month", "by bucket"])
def house(
    request: pytest.FixtureRequest, tmp_path: Path, batch_of: Make, change: Change, published: Publish
) -> Iterator[House]:
    made = House(tmp_path, spec(partitioned=request.param), batch_of, change, published)
    yield made
    made.reader.close()
    made.lake.close()


def test_every_type_survives_both_ways_equal(house: House) -> None:
    house.write(10, ("c", PLAIN), ("c", NULLS))
    verdict = house.compare(11, PLAIN, NULLS)
    assert verdict.ok, verdict.as_dict()
    assert (verdict.source, verdict.silver, verdict.parts, verdict.parts_differing) == (2, 2, 2, 0)
    assert verdict.as_dict()["ok"] is True


def test_an_empty_source_equals_an_empty_table(house: House) -> None:
    house.write(10, ("c", PLAIN))
    house.write(20, ("d", PLAIN))
    assert house.compare(21).ok
    assert not house.compare(20).ok


def test_silver_is_taken_at_the_position_asked_for(house: House) -> None:
    later: Row = {**PLAIN, "note": "later", "at": "2026-05-01 00:00:00+00"}
    house.write(10, ("c", PLAIN))
    house.write(20, ("u", later), ("c", NULLS))
    house.write(30, ("d", NULLS))
    assert house.compare(11, PLAIN).ok
    assert house.compare(20, PLAIN).ok, "a transaction at the position itself is not in"
    assert house.compare(21, later, NULLS).ok
    assert house.compare(31, later).ok
    assert not house.compare(31, PLAIN).ok


def test_a_position_below_the_fold_is_still_there(house: House) -> None:
    later: Row = {**PLAIN, "note": "later"}
    house.write(10, ("c", PLAIN), ("c", NULLS))
    house.write(20, ("u", later), ("d", NULLS))
    for silver in house.lake._silver.values():
        silver.layers.fold()
    house.write(30, ("u", PLAIN))
    assert house.compare(11, PLAIN, NULLS).ok
    assert house.compare(21, later).ok
    assert house.compare(31, PLAIN).ok


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("amount", "-12.31"),
        ("amount", None),
        ("note", ""),
        ("note", None),
        ("Odd, name", None),
        ("real", "0.10000000000000002"),
        ("flag", "f"),
        ("day", "2026-02-27"),
        ("data", "\\x00fe"),
        ("at", "2026-02-28 23:59:59.123457+00"),
        ("free", "123456789012345678901234567890.6"),
    ],
)
def test_one_value_that_differs_is_named(house: House, column: str, value: str | None) -> None:
    house.write(10, ("c", PLAIN), ("c", NULLS))
    verdict = house.compare(11, {**PLAIN, column: value}, NULLS)
    assert not verdict.ok
    assert (verdict.missing, verdict.extra, verdict.different) == (0, 0, 1)
    (sample,) = verdict.samples
    assert (sample.key, sample.kind, list(sample.columns)) == (
        {"id": "1"},
        "different",
        [house.spec.lake_names[column]],
    )


def test_missing_and_extra_rows_are_named(house: House) -> None:
    house.write(10, ("c", PLAIN))
    verdict = house.compare(11, NULLS)
    assert (verdict.missing, verdict.extra, verdict.different) == (1, 1, 0)
    assert {(sample.kind, sample.key["id"]) for sample in verdict.samples} == {
        ("missing", "2"),
        ("extra", "1"),
    }


def test_a_row_that_moves_between_parts_is_compared_as_one(house: House) -> None:
    house.write(10, ("c", PLAIN))
    verdict = house.compare(11, {**PLAIN, "at": "2026-04-01 00:00:00+00"})
    assert not verdict.ok
    assert (verdict.missing, verdict.extra, verdict.different) == (0, 0, 1)


def test_ten_of_each_kind_are_named(house: House) -> None:
    rows: list[Row] = [{**NULLS, "id": str(number)} for number in range(50)]
    house.write(10, *(("c", row) for row in rows[:25]))
    verdict = house.compare(11, *rows[25:])
    assert (verdict.missing, verdict.extra) == (25, 25)
    assert [sample.kind for sample in verdict.samples].count("missing") == 10
    assert len(verdict.samples) == 20


def test_a_value_that_silver_cannot_hold_is_told_apart(house: House) -> None:
    endless: Row = {**PLAIN, "at": "infinity", "amount": "NaN", "note": "endless"}
    house.write(10, ("c", endless), ("c", NULLS))
    verdict = house.compare(11, endless, NULLS)
    assert verdict.ok
    assert verdict.unfit == 1
    assert verdict.samples[0].kind == "unfit"
    assert not house.compare(11, {**endless, "note": "another"}, NULLS).ok, "the rest of the row is compared"
    assert not house.compare(11, NULLS).ok, "the row itself must be there"


def test_several_files_are_one_table(house: House) -> None:
    house.write(10, ("c", PLAIN), ("c", NULLS))
    house.compare(11, PLAIN, NULLS)
    whole = (house.root / "things.csv").read_bytes().decode()
    parts = [house.root / "a.csv", house.root / "b.csv"]
    cut = whole.rindex("\n", 0, -1) + 1
    for part, text in zip(parts, (whole[:cut], whole[cut:]), strict=True):
        part.write_text(text, newline="")
    assert compare_silver(house.reader, house.spec, parts, 11).ok


def test_a_copy_of_another_table_is_refused(house: House) -> None:
    house.write(10, ("c", PLAIN))
    house.reader.refresh()
    file = house.root / "other.csv"
    with file.open("w", newline="") as out:
        csv.writer(out).writerow(["1", "2"])
    with pytest.raises(ReconcileError, match="cannot be compared"):
        compare_silver(house.reader, house.spec, file, 11)
