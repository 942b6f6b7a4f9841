"""Which ALTER may have written values into rows, judged by the columns or by the marker of the event trigger."""

from __future__ import annotations

import pytest

from bitvelocity.lakehouse.filled import Filling, Look, filled_by_marker, filled_by_shape, look_of

INT, BIGINT, TEXT, VARCHAR, NUMERIC = (23, -1), (20, -1), (25, -1), 1043, 1700
BEFORE: Look = {"id": BIGINT, "n": INT, "name": (VARCHAR, 24)}


def numeric(precision: int, scale: int) -> tuple[int, int]:
    return (NUMERIC, (precision << 16 | scale) + 4)


def test_columns_that_are_new() -> None:
    assert filled_by_shape(BEFORE, BEFORE) is None
    assert filled_by_shape(BEFORE, {"id": BIGINT, "n": INT}) is None, "one is gone"
    assert filled_by_shape(BEFORE, {**BEFORE, "more": TEXT}) == Filling({"more": TEXT}, whole=False, sure=False)
    renamed = {"id": BIGINT, "number": INT, "name": (VARCHAR, 24)}
    assert filled_by_shape(BEFORE, renamed) == Filling({"number": INT}, whole=False, sure=True)


@pytest.mark.parametrize(("name", "old", "new", "may"), [
    ("n", INT, BIGINT, True), ("name", (VARCHAR, 24), (VARCHAR, 84), False), ("name", (VARCHAR, 24), TEXT, False),
    ("name", (VARCHAR, 24), (VARCHAR, 14), True), ("name", TEXT, (VARCHAR, 84), True),
    ("n", numeric(10, 2), numeric(12, 2), False), ("n", numeric(10, 2), numeric(12, 4), True),
    ("n", numeric(10, 2), (NUMERIC, -1), False), ("n", (NUMERIC, -1), numeric(10, 2), True),
])  # fmt: skip
def test_types_that_change(name: str, old: tuple[int, int], new: tuple[int, int], may: bool) -> None:
    found = filled_by_shape({**BEFORE, name: old}, {**BEFORE, name: new})
    assert found == (Filling({name: new}, whole=True, sure=True) if may else None)


@pytest.mark.parametrize(("reasons", "columns", "found"), [
    (0, {}, None),
    (1, {}, None),
    (8, {"name": TEXT}, None),
    (0, {"more": TEXT}, Filling({"more": TEXT}, whole=False, sure=False)),
    (2, {"more": TEXT}, Filling({"more": TEXT}, whole=False, sure=True)),
    (2, {}, Filling({}, whole=True, sure=True)),
    (4, {}, Filling({}, whole=True, sure=True)),
    (4, {"n": BIGINT}, Filling({"n": BIGINT}, whole=True, sure=True)),
    (6, {"more": TEXT}, Filling({"more": TEXT}, whole=True, sure=True)),
])  # fmt: skip
def test_markers_say_why_a_table_was_rewritten(reasons: int, columns: Look, found: Filling | None) -> None:
    assert filled_by_marker(BEFORE, {**BEFORE, **columns}, {"rewrite": reasons}) == found


def test_computed_columns() -> None:
    """New ones are filled by a rewrite; where one was there before, its expression may be what changed."""
    computed = [{"name": "total", "generated": True}]
    now = {**BEFORE, "total": BIGINT}
    assert filled_by_marker(BEFORE, now, {"rewrite": 0, "columns": computed}) is None, "the stream never had it"
    assert filled_by_marker(BEFORE, now, {"rewrite": 2, "columns": computed}) == Filling({"total": BIGINT}, whole=False, sure=True)
    both = {**now, "more": TEXT}
    assert filled_by_marker(now, both, {"rewrite": 2, "columns": computed}) == Filling({"more": TEXT}, whole=True, sure=True)


def test_markers_of_an_older_trigger_tell_of_columns_only() -> None:
    assert look_of([{"name": "id", "number": 1, "type": "bigint"}], "oid") is None
    assert look_of([{"name": "id", "oid": 20, "modifier": -1}], "oid") == {"id": BIGINT}
    assert filled_by_marker(BEFORE, {**BEFORE, "n": BIGINT}, {}) == Filling({"n": BIGINT}, whole=True, sure=True)
