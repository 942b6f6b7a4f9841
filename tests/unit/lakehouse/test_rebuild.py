"""Lakes of an earlier version go on as they are; silver made anew from bronze is what it would always have been."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bitvelocity.changes import Batch, Mark
from bitvelocity.contracts import Column, EntitySpec, Type
from bitvelocity.errors import LakeError
from bitvelocity.lakehouse import (
    Lake,
    LakeReader,
    Watermark,
    as_stored,
    kept_as_text,
    outdated,
    publish,
    rebuild,
)
from bitvelocity.lakehouse.delta import LocalTable

Make = Callable[..., Batch]
Change = Callable[..., dict[str, Any]]
INTS = Type("array", item=Type("int32"))
TEXTS = Type("other", native="integer[]")
"""What an array was to earlier versions, as far as silver is concerned."""


def entity(key: Sequence[str] = ("id",), **columns: Type) -> EntitySpec:
    made = (Column(name=name, type=kind, nullable=name != "id") for name, kind in {"id": Type("int64"), **columns}.items())
    return EntitySpec(name="things", table="things", key=tuple(key), columns=tuple(made))


class House:
    """One lake, written to by one spec after the other."""

    def __init__(self, root: Path, batch_of: Make, change: Change) -> None:
        self.root, self._batch_of, self._change = root, batch_of, change
        self.lsn = 0

    def write(self, spec: EntitySpec, *rows: tuple[str, dict[str, Any]], columns: Sequence[str] = (), **rest: Any) -> None:
        """One commit by a process of its own."""
        self.lsn += 1
        told = [
            self._change(op, (self.lsn, n), **{"before" if op == "d" else "after": row}, **rest) for n, (op, row) in enumerate(rows)
        ]
        lake = Lake(self.root, [spec], sync=False)
        lake.stage(self._batch_of(*told, columns=columns or tuple(spec.by_name), relation=spec.qualified))
        lake.commit(Mark(self.lsn, self.lsn))
        publish(self.root, Watermark(position=self.lsn, resume=self.lsn, tables=lake.versions()), sync=False)
        lake.close()

    def read(self, spec: EntitySpec, query: str = "select * exclude (_event_id) from silver.things order by id") -> list[dict[str, Any]]:
        with LakeReader(self.root, [spec]) as reader:
            reader.refresh()
            found: list[dict[str, Any]] = reader.connection.sql(query).to_arrow_table().to_pylist()
            return found


@pytest.fixture
def house(tmp_path: Path, batch_of: Make, change: Change) -> House:
    return House(tmp_path / "lake", batch_of, change)


def without_system(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]


def test_a_lake_of_an_earlier_version_keeps_its_text_until_it_is_rebuilt(house: House) -> None:
    house.write(entity(tags=TEXTS), ("c", {"id": "1", "tags": "{1,2}"}), ("c", {"id": "2", "tags": "{{1},{2}}"}))
    now = entity(tags=INTS)
    assert as_stored(house.root, [now])[0].by_name["tags"].type.kind == "other"
    assert outdated(house.root, [now]) == []
    house.write(now, ("c", {"id": "3", "tags": "{3}"}))
    assert [row["tags"] for row in house.read(now)] == ["{1,2}", "{{1},{2}}", "{3}"]
    assert list(kept_as_text(house.root, [now])) == [("things", "tags", pa.list_(pa.int32()))]

    rebuilt = rebuild(house.root, now, sync=False)
    assert (rebuilt.rows, rebuilt.position) == (3, 2)
    assert [row["tags"] for row in house.read(now)] == [[1, 2], None, [3]]
    assert json.loads(house.read(now)[1]["_unfit"]) == {"tags": "{{1},{2}}"}
    assert list(kept_as_text(house.root, [now])) == []
    house.write(now, ("u", {"id": "3", "tags": "{}"}))
    assert [row["tags"] for row in house.read(now)] == [[1, 2], None, []]


def test_rows_that_told_of_unfit_values_by_name_are_still_read(house: House) -> None:
    spec = entity(price=Type("decimal", 10, 2))
    house.write(spec, ("c", {"id": "1", "price": "1.00"}))
    log = LocalTable.open(house.root / "silver" / "things_changes", pa.schema([]), sync=False)
    rows = pa.table({"_op": ["c"], "_lsn": [9], "_ordinal": pa.array([0], pa.int32()), "id": [2], "_unfit": ['["price"]']})
    log.commit([log.stage(rows)], 9)
    publish(house.root, Watermark(position=9, resume=9, tables={"silver/things_changes": log.version()}), sync=False)
    assert [row["_unfit"] for row in house.read(spec)] == [None, '["price"]']


@pytest.mark.parametrize("folded", [False, True])
def test_another_type_makes_silver_anew(house: House, folded: bool) -> None:
    old, new = entity(n=Type("int32")), entity(n=Type("int64"))
    house.write(old, ("c", {"id": "1", "n": "1"}), ("c", {"id": "2", "n": "2"}), ("d", {"id": "2", "n": None}))
    if folded:
        fold(house, old)
    reasons = outdated(house.root, [new])[0].reasons
    assert set(reasons) == {"the column n was int32 and is int64"}
    with pytest.raises(LakeError, match="is int32, not int64"):
        Lake(house.root, [new], sync=False)
    rebuild(house.root, new, sync=False)
    assert outdated(house.root, [new]) == []
    house.write(new, ("c", {"id": "3", "n": str(2**40)}))
    assert without_system(house.read(new)) == [{"id": 1, "n": 1}, {"id": 3, "n": 2**40}]


def test_a_column_that_bronze_had_before_the_entity_is_filled(house: House) -> None:
    old, new = entity(a=Type("text")), entity(a=Type("text"), b=Type("int32"))
    house.write(old, ("c", {"id": "1", "a": "x"}))
    house.write(old, ("c", {"id": "2", "a": "y", "b": "7"}), columns=("id", "a", "b"))
    assert outdated(house.root, [new])[0].reasons[0] == "bronze has the column b since before the entity had it"
    rebuild(house.root, new, sync=False)
    assert without_system(house.read(new)) == [{"id": 1, "a": "x", "b": None}, {"id": 2, "a": "y", "b": 7}]
    assert outdated(house.root, [new]) == []


def test_another_key_makes_silver_anew(house: House) -> None:
    old, new = entity(a=Type("int64"), b=Type("text")), entity(key=("a",), a=Type("int64"), b=Type("text"))
    house.write(old, ("c", {"id": "1", "a": "5", "b": "x"}), ("c", {"id": "2", "a": "5", "b": "y"}))
    assert outdated(house.root, [new])[0].reasons == ("its key was id and is a",)
    rebuild(house.root, new, sync=False)
    assert without_system(house.read(new, "select * from silver.things")) == [{"id": 2, "a": 5, "b": "y"}]
    assert outdated(house.root, [new]) == []


def test_an_entity_that_gets_a_key_gets_its_silver(house: House) -> None:
    house.write(entity(key=(), a=Type("text")), ("c", {"id": "1", "a": "x"}), ("c", {"id": "2", "a": "y"}))
    keyed = entity(a=Type("text"))
    assert outdated(house.root, [keyed])[0].reasons == ("it has a key now, and had none",)
    rebuild(house.root, keyed, sync=False)
    house.write(keyed, ("d", {"id": "1", "a": None}))
    assert without_system(house.read(keyed)) == [{"id": 2, "a": "y"}]


def test_held_back_values_and_changed_keys_come_out_the_same(house: House) -> None:
    spec = entity(big=INTS, n=Type("int32"))
    house.write(spec, ("c", {"id": "1", "big": "{{1},{2}}", "n": "1"}), ("c", {"id": "2", "big": "{4}", "n": "1"}))
    house.write(spec, ("u", {"id": "1", "n": "2"}), ("u", {"id": "2", "n": "2"}), absent=["big"])
    house.write(spec, ("u", {"id": "1", "n": "3"}), absent=["big"])
    before = house.read(spec)
    assert [(row["big"], row["n"]) for row in before] == [(None, 3), ([4], 2)]
    assert json.loads(before[0]["_unfit"]) == {"big": "{{1},{2}}"}, "what was held back did not fit before either"
    history = "select * exclude (_event_id) from silver.things_changes order by _lsn, _ordinal"
    log = house.read(spec, history)
    rebuild(house.root, spec, sync=False)
    assert house.read(spec) == before
    assert house.read(spec, history) == log


def test_killed_anywhere_it_can_be_done_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Log made, base not: both are told as outdated or right, and a second rebuild ends it."""
    old, new = entity(n=Type("int32")), entity(n=Type("int64"))
    house.write(old, ("c", {"id": "1", "n": "1"}))
    fold(house, old)
    become, calls = LocalTable.become, []

    def once(table: LocalTable, *rest: Any) -> None:
        calls.append(table)
        if len(calls) == 2:
            raise KeyboardInterrupt
        become(table, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(LocalTable, "become", once)
        with pytest.raises(KeyboardInterrupt):
            rebuild(house.root, new, sync=False)
    assert without_system(house.read(old)) == [{"id": 1, "n": 1}], "readers stay at the watermark"
    assert outdated(house.root, [new])
    rebuild(house.root, new, sync=False)
    assert without_system(house.read(new)) == [{"id": 1, "n": 1}]
    assert outdated(house.root, [new]) == []


def test_a_writer_is_in_the_way(house: House) -> None:
    spec = entity(n=Type("int32"))
    house.write(spec, ("c", {"id": "1", "n": "1"}))
    lake = Lake(house.root, [spec], sync=False)
    with pytest.raises(LakeError, match="has a writer already"):
        rebuild(house.root, spec, sync=False)
    lake.close()
    with pytest.raises(LakeError, match="no key"):
        rebuild(house.root, replace(spec, key=()), sync=False)


def test_arrays_in_a_key_stay_text(house: House) -> None:
    spec = entity(key=("id", "way"), way=Type("array", item=Type("text")))
    house.write(spec, ("c", {"id": "1", "way": "{a}"}), ("c", {"id": "1", "way": "{a,b}"}), ("u", {"id": "1", "way": "{a}"}))
    assert sorted(row["way"] for row in house.read(spec)) == ["{a,b}", "{a}"]


def fold(house: House, spec: EntitySpec) -> None:
    lake = Lake(house.root, [spec], sync=False)
    lake.fold()
    publish(house.root, Watermark(position=house.lsn, resume=house.lsn, tables=lake.versions()), sync=False)
    lake.close()


