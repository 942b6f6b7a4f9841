"""What readings beside the stream decide without a connection: ranges, visibility, changed keys, runs as data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitvelocity.capture.snapshots.book import Book, Order, give_order, orders, read_book, write_book
from bitvelocity.capture.snapshots.changed import ChangedKeys
from bitvelocity.capture.snapshots.ranges import Part, all_ranges, as_json, from_json, halved, part, share
from bitvelocity.capture.snapshots.runs import Run, run_from
from bitvelocity.capture.snapshots.visible import Visible
from bitvelocity.changes import SYSTEM_FIELDS, Batch
from bitvelocity.errors import CaptureError

PARTS = st.lists(
    st.builds(part, st.just("s"), st.text(max_size=5), st.integers(1, 9), blocks=st.integers(0, 40), size=st.integers(0, 1 << 30)),
    max_size=4,
).map(tuple)


@given(parts=PARTS)
def test_ranges_cover_every_block_once_and_the_last_has_no_end(parts: tuple[Part, ...]) -> None:
    ranges = list(all_ranges(parts))
    for number, one in enumerate(parts):
        own = [piece for piece in ranges if piece.part == number]
        assert own[0].first == 0
        assert [piece.end for piece in own[:-1]] == [piece.first for piece in own[1:]]
        assert own[-1].end is None
        left = one
        for piece in own:
            assert left.next == piece.first
            left = left.past(piece)
        assert left.done


@given(parts=PARTS, done=st.integers(0, 5))
def test_what_is_read_is_not_read_again(parts: tuple[Part, ...], done: int) -> None:
    before = list(all_ranges(parts))
    for piece in before[:done]:
        at = piece.part
        parts = (*parts[:at], parts[at].past(piece), *parts[at + 1 :])
    assert list(all_ranges(from_json(as_json(parts)))) == before[done:]
    assert 0 <= share(parts) <= 1
    assert (share(parts) == 1) == (not before[done:])


def test_a_range_that_is_too_wide_is_halved_down_to_a_block() -> None:
    parts: tuple[Part, ...] = (Part("s", "t", 1, 100, 8, 16),)
    for _ in range(5):
        parts = halved(parts, 0)
    assert (parts[0].width, next(all_ranges(parts)).end) == (1, 17)


@given(
    end=st.integers(3, (1 << 34)),
    running=st.sets(st.integers(1, 1000), max_size=5),
    back=st.lists(st.integers(-1000, 1000), min_size=1),
)
def test_a_snapshot_hides_what_ran_and_what_came_later(end: int, running: set[int], back: list[int]) -> None:
    """The stream knows the lower half of an id only."""
    xids = [end + number for number in back if end + number >= 3]
    ran = tuple(sorted(end - number for number in running if end - number >= 3))
    seen = Visible.parse(f"{ran[0] if ran else end}:{end}:{','.join(map(str, ran))}")
    hidden = seen.hides(np.array([xid & 0xFFFFFFFF for xid in xids], np.int64))
    assert hidden.tolist() == [xid >= end or xid in ran for xid in xids]


def test_what_has_begun_before_and_not_ended() -> None:
    assert Visible.parse("5:30:5,7,25").before(10) == (5, 7)
    assert Visible.parse("25:30:25").before(10) == ()


def changes(*rows: tuple[str, int, str | None, str | None]) -> Batch:
    """Rows of (operation, transaction, key before, key after) of a table with the key (a, b); b is always 1."""
    given: dict[str, list[str | int]] = {"_op": [row[0] for row in rows], "_xid": [row[1] for row in rows]}
    data = {name: pa.array(given.get(name, [None] * len(rows)), kind) for name, kind in SYSTEM_FIELDS}
    for image, at in (("before_", 2), ("after_", 3)):
        keys = [str(row[at]) if row[at] is not None else None for row in rows]
        data[image + "a"] = pa.array(keys, pa.string_view())
        data[image + "b"] = pa.array([None if key is None else "1" for key in keys], pa.string_view())
    return Batch("s.t", ("a", "b"), pa.table(data))


def fresh(known: ChangedKeys, keys: str, visible: Visible) -> str:
    columns = {"a": pa.array(list(keys), pa.string_view()), "b": pa.array(["1"] * len(keys), pa.string_view())}
    mask = known.fresh(columns, visible)
    return keys if mask is None else "".join(key for key, kept in zip(keys, mask, strict=True) if kept)


def test_rows_are_outdated_by_transactions_that_their_snapshot_does_not_see() -> None:
    known = ChangedKeys(("a", "b"))
    known.note(changes(("u", 7, None, "x"), ("u", 12, "y", "z"), ("d", 15, "w", None), ("c", 5, None, "v")))
    assert fresh(known, "vwxyz", Visible(7, 10, (7,))) == "v"
    assert fresh(known, "vwxyz", Visible(10, 10)) == "vx"
    assert fresh(known, "vwxyz", Visible(20, 20)) == "vwxyz"


def test_truncate_outdates_all_that_was_read_before() -> None:
    known = ChangedKeys(("a", "b"))
    known.note(changes(("t", 12, None, None)))
    assert fresh(known, "xy", Visible(10, 10)) == ""
    assert fresh(known, "xy", Visible(13, 13)) == "xy"


def test_what_every_later_snapshot_sees_is_not_kept() -> None:
    known = ChangedKeys(("a", "b"))
    known.note(changes(*(("u", xid, None, "x") for xid in range(5, 25))))
    known.see(Visible(10, 20, (10,)))
    assert len(known) == 6
    known.note(changes(*(("u", xid, None, "y") for xid in range(5, 25))))
    assert len(known) == 12


def test_a_run_survives_its_file(tmp_path: Path) -> None:
    run = Run(id="a", entity="orders", relation="public.orders", where="id > 1", parts=(Part("s", "t", 1, 9, 2, 4),), waits_for=(5, 6))
    write_book(tmp_path, Book((run,), {"point": 5}))
    assert read_book(tmp_path) == Book((run,), {"point": 5})
    assert run_from(run.as_dict()) == run
    (tmp_path / "snapshots.json").write_text("{")
    with pytest.raises(CaptureError, match="no book"):
        read_book(tmp_path)


def test_old_runs_are_forgotten_and_open_ones_never(tmp_path: Path) -> None:
    runs = [Run(id=str(n), entity="e", relation="r", state="asked" if n == 0 else "done") for n in range(40)]
    write_book(tmp_path, Book(tuple(runs)))
    assert [run.id for run in read_book(tmp_path).runs] == ["0", *map(str, range(20, 40))]


def test_orders_are_taken_in_their_order_and_half_a_file_is_none(tmp_path: Path) -> None:
    for entity in "abc":
        give_order(tmp_path, Order(verb="start", entity=entity))
    (tmp_path / ".snapshots" / "0-half.json").write_text('{"verb": ')
    found = list(orders(tmp_path))
    assert [order.entity for _, order in found] == ["a", "b", "c"]
    assert list(orders(tmp_path)) == found


def test_an_order_that_is_carried_out_while_others_are_read_is_passed_over(tmp_path: Path) -> None:
    for entity in "abc":
        give_order(tmp_path, Order(verb="start", entity=entity))
    carried_out = list(orders(tmp_path))[1][0]
    found = orders(tmp_path)
    assert next(found)[1].entity == "a"
    carried_out.unlink()
    assert [order.entity for _, order in found] == ["c"]
