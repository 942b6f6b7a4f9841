"""What does not fit an entity is told of each row; what only the lake's types cannot hold is no fault of a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
import pytest

from bitvelocity.changes import Batch, Mark
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.errors import LakeError, PoisonError
from bitvelocity.lakehouse import Lake
from bitvelocity.lakehouse.fitting import misfits

Make = Callable[..., Batch]
COLUMNS = ("region", "id", "extra")


def item(lsn: int, op: str = "c", *, absent: tuple[str, ...] = (), **values: str | None) -> dict[str, object]:
    """A change of an item; of a delete all that was there before it."""
    image = {"region": "eu", "id": "1", **values}
    return {"_op": op, "_lsn": lsn, "_ordinal": 0, "_xid": lsn, "absent": absent, "before" if op == "d" else "after": image}


def with_column(spec: EntitySpec, column: Column) -> EntitySpec:
    return replace(spec, columns=(*spec.columns, column))


@pytest.mark.parametrize(
    ("kind", "printed", "code"),
    [
        (Type("int16"), "40000", "UnfitValue"),
        (Type("int16"), "7", None),
        (Type("boolean"), "yes", "UnfitValue"),
        (Type("decimal", precision=6, scale=2), "1.005", "UnfitValue"),
        (Type("decimal", precision=6, scale=2), "NaN", None),
        (Type("date"), "2024-13-01", "UnfitValue"),
        (Type("date"), "-infinity", None),
        (Type("timestamptz"), "10000-01-01 00:00:00+00", None),
        (Type("timestamp"), "0044-03-15 00:00:00 BC", None),
        (Type("bytes"), "\\xq", "UnfitValue"),
        (Type("array", item=Type("int32")), "{1,x}", "UnfitValue"),
        (Type("array", item=Type("int32")), "{1,", "UnfitValue"),
        (Type("array", item=Type("int32")), "{{1},{2}}", None),
        (Type("uuid"), "anything that PostgreSQL printed", None),
    ],
)  # fmt: skip
def test_a_value_that_its_type_has_not(
    spec: EntitySpec, batch_of: Make, kind: Type, printed: str, code: str | None
) -> None:
    batch = batch_of(item(1, extra=None), item(2, extra=printed), item(3, "d", extra=printed), columns=COLUMNS)
    found = misfits(batch, with_column(spec, Column(name="extra", type=kind, nullable=True)), rules=False)
    assert [(one.lsn, one.code) for one in found] == ([(2, code)] if code else [])
    assert all("extra" in one.reason and printed not in one.reason for one in found)


@pytest.mark.parametrize(
    ("column", "good", "bad", "code"),
    [
        (Column(name="extra", type=Type("text")), "x", None, "NullValue"),
        (Column(name="extra", type=Type("text", length=2)), "éé", "abc", "TooLong"),
        (Column(name="extra", type=Type("text"), choices=("a", "b")), "b", "c", "NoChoice"),
        (Column(name="extra", type=Type("enum", native="e", choices=("a", "b"))), "b", "c", "NoChoice"),
        (Column(name="extra", type=Type("text"), pattern="[a-z]+"), "abc", "abc1", "NoMatch"),
        (Column(name="extra", type=Type("decimal", precision=6, scale=2), minimum="0.5"), "0.50", "0.49", "OutOfRange"),
        (Column(name="extra", type=Type("int32"), maximum="10"), "10", "11", "OutOfRange"),
        (Column(name="extra", type=Type("date"), minimum="2024-02-29"), "2024-02-29", "2024-02-28", "OutOfRange"),
        (Column(name="extra", type=Type("timestamp"), maximum="2024-02-29T12:00:00"), "2024-02-29 12:00:00", "2024-02-29 12:00:01", "OutOfRange"),
    ],
)  # fmt: skip
def test_rules_are_held_when_they_are_asked_for(
    spec: EntitySpec, batch_of: Make, column: Column, good: str, bad: str | None, code: str
) -> None:
    rows = item(1, extra=good), item(2, extra=bad), item(3, "d", extra=bad), item(4, "u", absent=("extra",))
    batch = batch_of(*rows, columns=COLUMNS)
    wanted = with_column(spec, column)
    assert misfits(batch, wanted, rules=False) == []
    assert [(one.lsn, one.ordinal, one.code) for one in misfits(batch, wanted, rules=True)] == [(2, 0, code)]


def test_a_column_that_the_source_does_not_have_breaks_no_rule(spec: EntitySpec, batch_of: Make) -> None:
    wanted = with_column(spec, Column(name="later", type=Type("text")))
    assert misfits(batch_of(item(1), columns=COLUMNS[:2]), wanted, rules=True) == []


def test_keys_are_held_to_more_and_operations_are_known(spec: EntitySpec, batch_of: Make) -> None:
    batch = batch_of(item(1, id=None), item(2, id="x"), item(3, "z"), item(4, "t", id=None, region=None), columns=COLUMNS[:2])
    assert [(one.lsn, one.code) for one in misfits(batch, spec, rules=False)] == [
        (1, "NullValue"), (2, "UnfitValue"), (3, "UnknownOperation")
    ]  # fmt: skip


def test_what_cannot_be_written_is_found_among_the_rest(tmp_path: Path, spec: EntitySpec, batch_of: Make) -> None:
    """A list of absent columns that is no JSON trips who takes it apart."""
    poison, keys = (5, 17), COLUMNS[:2]
    batch = batch_of(*(item(lsn, absent=("no JSON",) if lsn in poison else ()) for lsn in range(1, 40)), columns=keys)
    absent = pc.replace_substring(batch.data["_absent"], '"', "")
    batch = replace(batch, data=batch.data.set_column(batch.data.schema.get_field_index("_absent"), "_absent", absent))
    lake = Lake(tmp_path, [spec], sync=False)
    for kind in (PoisonError, LakeError):
        with pytest.raises(LakeError) as caught:
            lake.stage(batch)
        assert (type(caught.value), caught.value.code) == (kind, "Poison")
        lake.rollback()
    assert [(one.lsn, one.code) for one in lake.misfits(batch)] == [(5, "LakeRefused"), (17, "LakeRefused")]
    lake.stage(batch_of(*(item(lsn) for lsn in range(1, 40) if lsn not in poison), columns=keys))
    lake.commit(Mark(40, 40))
    assert lake.latest("items", ["id"]).read_all().num_rows == 1
    lake.close()
