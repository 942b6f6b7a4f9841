"""The lake as a sink, against a dict that remembers everything."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitvelocity.changes import MESSAGES, TRANSACTIONS, Batch, Mark
from bitvelocity.contracts import EntitySpec
from bitvelocity.errors import LakeError
from bitvelocity.lakehouse import Care, Lake, LakeReader

Make = Callable[..., Batch]
Change = Callable[..., dict[str, Any]]
Publish = Callable[[Lake, Path, int], None]


@dataclass
class Source:
    """A table as PostgreSQL would have it, and every change that it told."""

    change: Change
    rows: dict[int, str | None] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    states: dict[int, dict[int, str | None]] = field(default_factory=dict)

    def transaction(self, lsn: int, steps: list[tuple[str, int, int]]) -> None:
        for step in steps:
            self._step(lsn, *step)
        self.states[lsn] = dict(self.rows)

    def _step(self, lsn: int, what: str, number: int, other: int) -> None:
        at = (lsn, sum(event["_lsn"] == lsn for event in self.events))
        if what == "t":
            self.rows.clear()
            self.events.append(self.change("t", at))
        elif number not in self.rows:
            self._tell("c", at, number, note=f"{lsn}.{at[1]}")
        elif what == "d":
            del self.rows[number]
            self.events.append(self.change("d", at, before=image(number)))
        elif what == "move" and other not in self.rows:
            note = self.rows.pop(number)
            self._tell("u", at, other, note=note, before=image(number), absent=["note"])
        elif what == "absent":
            self._tell("u", at, number, note=self.rows[number], absent=["note"])
        else:
            self._tell("u", at, number, note=None if what == "null" else f"{lsn}.{at[1]}")

    def _tell(self, op: str, at: tuple[int, int], number: int, *, note: str | None, **rest: Any) -> None:
        self.rows[number] = note
        sent = {} if rest.get("absent") else {"note": note}
        self.events.append(self.change(op, at, after={**image(number), **sent}, **rest))


def image(number: int) -> dict[str, str]:
    return {"region": "eu", "id": str(number)}


STEP = st.tuples(
    st.sampled_from(["u", "u", "d", "move", "absent", "absent", "null", "t"]), st.integers(0, 4), st.integers(0, 4)
)
HISTORY = st.lists(st.lists(STEP, min_size=1, max_size=5), min_size=1, max_size=12)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=HISTORY, data=st.data())
def test_any_history_in_any_pieces_with_any_repeats(
    history: list[list[tuple[str, int, int]]],
    data: st.DataObject,
    spec: EntitySpec,
    batch_of: Make,
    change: Change,
    published: Publish,
) -> None:
    """Silver is the source's table at each published position; bronze has each event once. Whatever happens between."""
    source = Source(change)
    for number, steps in enumerate(history, start=1):
        source.transaction(number * 10, steps)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        lake, done = Lake(root, [spec], sync=False), 0
        reader = LakeReader(root, [spec])
        while done < len(history):
            start = data.draw(st.integers(0, done), label="the source repeats from")
            end = data.draw(st.integers(done + 1, len(history)), label="up to")
            _take(lake, batch_of, source, (start * 10, end * 10), data)
            what = data.draw(st.sampled_from(["commit", "crash", "unpublished", "fold", "commit"]), label="then")
            if what == "crash":
                lake.close()
                lake = Lake(root, [spec], sync=False)
                continue
            lake.commit(Mark(end * 10, end * 10))
            if what == "unpublished" and done:
                lake.close()
                lake = Lake(root, [spec], sync=False)
                continue
            if what == "fold":
                lake.fold()
            if end * 10 < lake.horizon:
                continue  # tables stand at different commits until the repeat has reached the furthest
            published(lake, root, end * 10)
            reader.refresh()
            done = end
            assert _silver(reader) == source.states[end * 10]
        told = [(event["_lsn"], event["_ordinal"]) for event in source.events]
        assert _bronze(reader) == told
        reader.close()
        lake.close()


def _take(lake: Lake, batch_of: Make, source: Source, between: tuple[int, int], data: st.DataObject) -> None:
    events = [event for event in source.events if between[0] < event["_lsn"] <= between[1]]
    while events:
        size = data.draw(st.integers(1, len(events)), label="rows of the next batch")
        lake.stage(batch_of(*events[:size]))
        events = events[size:]


def _silver(reader: LakeReader) -> dict[int, str | None]:
    rows = reader.connection.sql("SELECT id, note FROM silver.items").fetchall()
    assert len(rows) == len(dict(rows)), "one row per key"
    return dict(rows)


def _bronze(reader: LakeReader) -> list[tuple[int, int]]:
    query = "SELECT _lsn, _ordinal FROM bronze.items ORDER BY ALL"
    return reader.connection.sql(query).fetchall()


def test_a_receipt_counts_rows_and_what_was_refused(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    lake = Lake(tmp_path, [spec], sync=False)
    lake.stage(batch_of(change("c", (1, 0), after=image(1)), change("c", (1, 1), after=image(2))))
    lake.stage(batch_of(change("c", (1, 2), after=image(1)), relation="public.other"))
    for no_table in (MESSAGES, TRANSACTIONS):
        lake.stage(batch_of(change("m", (1, 3), after=image(1)), relation=no_table))
    receipt = lake.commit(Mark(1, 1))
    assert receipt.rows_in == {"items": 2}
    assert receipt.rows_refused == {"public.other": 1}
    assert receipt.versions == {"bronze/items": 1, "silver/items_changes": 1, "silver/items": 0, "bronze/_shapes": 0}
    assert lake.commit(Mark(2, 2)).rows_in == {}
    lake.close()


def test_an_entity_without_a_key_is_in_bronze_only(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    lake = Lake(tmp_path, [replace(spec, key=())], sync=False)
    lake.stage(batch_of(change("c", (1, 0), after=image(1))))
    assert lake.commit(Mark(1, 1)).versions == {"bronze/items": 1, "bronze/_shapes": 0}
    assert lake.last_changes == {}
    lake.close()


def test_rollback_and_close_leave_no_staged_file(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    lake = Lake(tmp_path, [spec], sync=False)
    lake.stage(batch_of(change("c", (1, 0), after=image(1))))
    lake.rollback()
    lake.stage(batch_of(change("c", (1, 0), after=image(1))))
    lake.close()
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_part_of_a_snapshot_is_kept_with_all_that_was_staged(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    """Large batches are written in threads of their own, and the book that tells of the part is written next."""
    asked = threading.Event()

    def slow(step: str) -> None:
        if step in ("bronze staged", "silver staged"):
            asked.wait(0.3)

    lake = Lake(tmp_path, [spec], sync=False, at=slow, begun=True)
    batch = batch_of(*(change("r", (5, number), after=image(number)) for number in range(2000)))
    lake.stage(batch)
    lake.parts.keep()
    kept = [DeltaTable(tmp_path / name).to_pyarrow_table().num_rows for name in ("bronze/items", "silver/items_changes")]
    asked.set()
    lake.close()
    assert kept == [2000, 2000]


def test_a_snapshot_that_was_never_published_begins_anew(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change, published: Publish
) -> None:
    first = Lake(tmp_path, [spec], sync=False)
    first.stage(batch_of(change("r", (5, 0), after=image(1)), change("r", (5, 1), after=image(2))))
    first.commit(Mark(5, 5))
    first.close()
    second = Lake(tmp_path, [spec], sync=False)
    second.stage(batch_of(change("r", (9, 0), after=image(2))))
    second.commit(Mark(9, 9))
    published(second, tmp_path, 9)
    second.close()
    with LakeReader(tmp_path, [spec]) as reader:
        reader.refresh()
        assert _silver(reader) == {2: None}
        assert _bronze(reader) == [(9, 0)]


def test_a_first_change_set_that_was_never_published_is_taken_when_it_comes_again(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change, published: Publish
) -> None:
    """A lake without a snapshot, killed behind its first commit: the slot sends the same at the same position."""
    for is_killed in (True, True, False):
        lake = Lake(tmp_path, [spec], sync=False)
        lake.stage(batch_of(change("c", (5, 0), after=image(1)), change("c", (5, 1), after=image(2))))
        lake.commit(Mark(5, 5))
        if not is_killed:
            published(lake, tmp_path, 5)
        lake.close()
    with LakeReader(tmp_path, [spec]) as reader:
        reader.refresh()
        assert _silver(reader).keys() == {1, 2}
        assert _bronze(reader) == [(5, 0), (5, 1)]
    assert DeltaTable(tmp_path / "bronze" / spec.name).to_pyarrow_table().num_rows == 2


def test_a_published_lake_keeps_what_it_has(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change, published: Publish
) -> None:
    first = Lake(tmp_path, [spec], sync=False)
    first.stage(batch_of(change("c", (5, 0), after=image(1))))
    first.commit(Mark(5, 5))
    published(first, tmp_path, 5)
    first.close()
    second = Lake(tmp_path, [spec], sync=False)
    assert second.position() == 5
    assert second.latest("items", ["id"]).read_all().to_pylist() == [{"id": 1}]
    second.close()


def test_two_writers_are_refused(tmp_path: Path, spec: EntitySpec) -> None:
    lake = Lake(tmp_path, [spec], sync=False)
    with pytest.raises(LakeError, match="has a writer already"):
        Lake(tmp_path, [spec], sync=False)
    lake.close()
    Lake(tmp_path, [spec], sync=False).close()


def test_a_broken_watermark_is_an_error_with_a_remedy(tmp_path: Path, spec: EntitySpec) -> None:
    (tmp_path / "watermark.json").write_text("{")
    with pytest.raises(LakeError, match="is no watermark"):
        Lake(tmp_path, [spec], sync=False)
    (tmp_path / "watermark.json").write_text(json.dumps({"position": 1, "resume": 1}))
    Lake(tmp_path, [spec], sync=False).close()


def test_folds_and_roll_ups_run_beside_the_commits(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change
) -> None:
    lake = Lake(tmp_path, [spec], sync=False, care=Care(fold_rows=50, fold_rest=0, keep=0))
    for lsn in range(1, 151):
        op = "c" if lsn <= 20 else "u"
        lake.stage(batch_of(change(op, (lsn, 0), after=image(lsn % 20)), change("u", (lsn, 1), after=image(lsn % 20))))
        lake.commit(Mark(lsn, lsn))
        assert lake.latest("items", ["id"]).read_all().num_rows == min(lsn, 20)
    lake.tend(wait=True)
    files = {table: len(DeltaTable(tmp_path / table).file_uris()) for table in lake.versions()}
    assert files["silver/items"] == 1
    assert files["silver/items_changes"] < 90
    assert files["bronze/items"] < 90
    lake.close()


def test_folds_rest_between_until_the_log_is_large(tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change) -> None:
    """A fold for each piece of a backlog would write the same rows again and again."""
    lake = Lake(tmp_path, [spec], sync=False, care=Care(fold_rows=50, fold_rest=1e9, keep=0))

    def version_at(last: int) -> int:
        for lsn in range(lake.position() + 1, last + 1):
            lake.stage(batch_of(change("c" if lsn <= 20 else "u", (lsn, 0), after=image(lsn % 20))))
            lake.commit(Mark(lsn, lsn))
            lake.tend(wait=True)  # a roll-up that still runs puts a fold off
        return lake.versions()["silver/items"]

    empty = lake.versions()["silver/items"]
    first = version_at(60)
    assert first > empty, "it folds at once when it never did"
    assert version_at(240) == first, "240 rows are not five times fifty"
    assert version_at(330) > first
    lake.close()


def test_what_is_due_is_folded_in_silence(
    tmp_path: Path, spec: EntitySpec, batch_of: Make, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a burst no commit may come for hours that would land the fold."""
    monkeypatch.setattr("bitvelocity.lakehouse.lake.TEND_SECONDS", 0.0)
    lake = Lake(tmp_path, [spec], sync=False, care=Care(fold_rows=50, fold_rest=0, keep=0))
    for lsn in (1, 2):  # after a commit that is not small gold comes first
        lake.stage(batch_of(*(change("c", (lsn, row), after=image(60 * lsn + row)) for row in range(60))))
        lake.commit(Mark(lsn, lsn))
    before, deadline = lake.versions()["silver/items"], time.monotonic() + 30
    while not lake.tend():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert lake.versions()["silver/items"] > before
    assert lake.latest("items", ["id"]).read_all().num_rows == 120
    lake.close()
