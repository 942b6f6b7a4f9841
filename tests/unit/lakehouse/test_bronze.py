"""Bronze: everything, as printed, exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from bitvelocity.changes import Batch
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError
from bitvelocity.lakehouse import read_watermark
from bitvelocity.lakehouse.bronze import Bronze, repeating, unseen

Make = Callable[..., Batch]
Change = Callable[..., dict[str, object]]


def row(number: int, **rest: object) -> dict[str, object]:
    return {"region": "eu", "id": str(number), **rest}


def stored(root: Path) -> pa.Table:
    return DeltaTable(root / "bronze" / "items").to_pyarrow_table().sort_by([("_lsn", "ascending"), ("_ordinal", "ascending")])


def test_a_repeat_with_other_borders_adds_only_what_is_new(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    events = [change("c", (lsn, 0), after=row(lsn)) for lsn in range(10, 16)]
    bronze = Bronze(tmp_path, spec, sync=False)
    assert bronze.stage(batch_of(*events[:3])) == 3
    bronze.commit(12)
    again = Bronze(tmp_path, spec, sync=False)
    assert again.stage(batch_of(*events[:2])) == 0
    assert again.stage(batch_of(*events[1:5])) == 2
    again.commit(14)
    assert again.stage(batch_of(*events[4:])) == 1
    again.commit(15)
    assert stored(tmp_path)["_lsn"].to_pylist() == list(range(10, 16))


def test_values_stay_as_the_source_printed_them(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    bronze = Bronze(tmp_path, spec, sync=False)
    bronze.stage(batch_of(change("u", (1, 0), after=row(1, price="NaN", At="infinity"), before=row(1, price="1.50"))))
    bronze.commit(1)
    (event,) = stored(tmp_path).to_pylist()
    assert (event["after_price"], event["after_At"], event["before_price"]) == ("NaN", "infinity", "1.50")


def test_columns_that_nobody_declared_are_kept_from_when_they_appear(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    bronze = Bronze(tmp_path, spec, sync=False)
    bronze.stage(batch_of(change("c", (1, 0), after=row(1))))
    wide = (*spec.by_name, "a b")
    bronze.stage(batch_of(change("c", (1, 1), after={**row(2), "a b": "new"}), columns=wide))
    bronze.stage(batch_of(change("c", (1, 2), after=row(3))))
    bronze.commit(1)
    assert stored(tmp_path)["after_a_b"].to_pylist() == [None, "new", None]
    again = Bronze(tmp_path, spec, sync=False)
    again.stage(batch_of(change("c", (2, 0), after={**row(4), "a b": "later"}), columns=wide))
    again.commit(2)
    assert stored(tmp_path)["after_a_b"].to_pylist() == [None, "new", None, "later"]


def test_a_name_that_differs_by_case_only_is_refused(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    """As after `alter table ... rename "At" to "AT"`: as another column it would clash, as the same it was not before."""
    bronze = Bronze(tmp_path, spec, sync=False)
    bronze.stage(batch_of(change("c", (1, 0), after=row(1))))
    bronze.commit(1)
    renamed = replace(spec, columns=tuple(replace(c, name="AT") if c.name == "At" else c for c in spec.columns))
    with pytest.raises(LakeError, match=r"after_AT of .* differs from after_At by the case") as refused:
        Bronze(tmp_path, renamed, sync=False)
    assert refused.value.remedy
    other = replace(spec, columns=tuple(replace(c, name="At2") if c.name == "At" else c for c in spec.columns))
    again = Bronze(tmp_path, other, sync=False)
    assert again.table.position() == 1


def test_a_lake_in_the_place_of_a_file_has_published_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    assert read_watermark(tmp_path / "file" / "lake") is None


def test_rollback_leaves_no_file(tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change) -> None:
    bronze = Bronze(tmp_path, spec, sync=False)
    bronze.stage(batch_of(change("c", (1, 0), after=row(1))))
    bronze.rollback()
    assert not list((tmp_path / "bronze" / "items").glob("*.parquet"))
    assert bronze.commit(1) == 0


def test_unseen_cuts_within_a_transaction_never(batch_of: Make, change: Change) -> None:
    batch = batch_of(*(change("c", (lsn, n), after=row(n)) for lsn in (5, 6, 7) for n in range(3)))
    assert unseen(batch, 4).data.num_rows == 9
    assert unseen(batch, 5).data["_lsn"].to_pylist() == [6, 6, 6, 7, 7, 7]
    assert unseen(batch, 7).data.num_rows == 0


def test_only_a_large_batch_tells_which_columns_repeat(batch_of: Make, change: Change) -> None:
    rows = [change("c", (1, n), after=row(n, note="same", price=f"{n}.00")) for n in range(2000)]
    assert repeating(batch_of(*rows[:1000])) is None
    assert repeating(batch_of(*rows)) == ("region", "note", "At")
