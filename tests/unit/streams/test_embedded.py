"""The embedded transport: what is kept and what goes, damage, a full disk, and several processes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitvelocity.errors import BusError, FencedError, OffsetGoneError
from bitvelocity.streams import FETCHED_SCHEMA, PLACED_SCHEMA, RECORD_SCHEMA, Partition, Place, Span, Topic
from bitvelocity.streams.embedded import EmbeddedBus, blobs
from bitvelocity.streams.embedded.upkeep import keep

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
T0 = Partition("t", 0)

Open = Callable[..., EmbeddedBus]


@pytest.fixture
def open_bus(tmp_path: Path) -> Iterator[Open]:
    opened: list[EmbeddedBus] = []

    def open_one(folder: Path = tmp_path / "bus", **options: Any) -> EmbeddedBus:
        opened.append(EmbeddedBus(folder, **options))
        return opened[-1]

    yield open_one
    for bus in opened:
        bus.close()


@pytest.fixture
def bus(open_bus: Open) -> EmbeddedBus:
    return open_bus()


def records(*rows: tuple[bytes | None, bytes | None, int]) -> pa.Table:
    """Key, value, and second of the timestamp."""
    made: list[Any] = [{"key": key, "value": value, "headers": [], "timestamp": at * 1_000_000} for key, value, at in rows]
    return pa.Table.from_pylist(made, schema=RECORD_SCHEMA)


def fill(bus: EmbeddedBus, size: int = 10, pieces: int = 4, **wanted: Any) -> None:
    """Topic `t`: pieces of ten records of a second each, their values numbered."""
    bus.ensure(Topic(name="t", **wanted))
    for begin in range(0, pieces * 10, 10):
        bus.append("t", records(*((b"k", b"%d" % n + os.urandom(size), n) for n in range(begin, begin + 10))))


def values(table: pa.Table) -> list[Any]:
    return table["value"].to_pylist()


def offsets(table: pa.Table) -> list[Any]:
    return table["offset"].to_pylist()


# ---- what is kept -------------------------------------------------------------------------------------------


def test_what_is_too_old_goes(bus: EmbeddedBus) -> None:
    fill(bus, retention=timedelta(seconds=12))
    keep(bus.topic("t"), EPOCH + timedelta(seconds=36))
    assert bus.spans("t") == {0: Span(20, 40)}
    with pytest.raises(OffsetGoneError, match="below offset 20") as gone:
        bus.read(T0, 19)
    assert "partition 0, offset 19" in str(gone.value)
    keep(bus.topic("t"), EPOCH + timedelta(days=1))
    assert bus.spans("t") == {0: Span(40, 40)}
    assert bus.append("t", records((b"k", b"v", 99))).ends == {T0: 41}
    assert offsets(bus.read(T0, 40)) == [40]


def test_what_is_too_much_goes_and_the_file_shrinks(bus: EmbeddedBus, tmp_path: Path) -> None:
    fill(bus, size=100_000, retention_bytes=1_500_000)
    (file,) = (tmp_path / "bus" / "topics").glob("*.db")

    def size() -> int:
        with sqlite3.connect(file) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        connection.close()
        return file.stat().st_size

    before = size()
    keep(bus.topic("t"))
    assert bus.spans("t") == {0: Span(30, 40)}
    assert size() < before * 0.4
    assert bus.read(T0, 30).num_rows == 10


def test_writers_look_after_their_topics(bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitvelocity.streams.embedded.upkeep.EVERY_BYTES", 1)
    fill(bus, retention=timedelta(seconds=1))  # of 1970: all of it is old
    assert bus.spans("t") == {0: Span(40, 40)}


def test_what_is_gone_is_had_again_from_what_is_older(open_bus: Open, tmp_path: Path) -> None:
    """Of two partitions, offset upon offset, whoever asks; what was appended by others, or is missing there, is gone."""
    kept, asked = [placed_rows(lsn) for lsn in range(40)], list[tuple[str, Place, Place]]()

    def older(topic: str, first: Place, last: Place) -> pa.Table | None:
        asked.append((topic, first, last))
        return pa.concat_tables(kept[first.lsn : last.lsn + 1])

    bus = open_bus(older=older)
    bus.ensure(Topic(name="t", partitions=2))
    publisher = bus.publisher("p")
    for rows in kept:
        publisher.publish({"t": rows})
    everything = [everything_in(bus, number) for number in (0, 1)]
    bus.ensure(Topic(name="t", partitions=2, retention=timedelta(seconds=1)))
    for second in (15, 16, 40):
        keep(bus.topic("t"), EPOCH + timedelta(seconds=second))
    firsts = [span.first for span in bus.spans("t").values()]
    assert all(firsts)
    assert [everything_in(open_bus(older=older), number) for number in (0, 1)] == everything
    member = bus.member("g", ["t"], start=lambda _: 3)
    got: dict[int, list[Any]] = {0: [], 1: []}
    while sum(map(len, got.values())) < sum(map(len, everything)) - 6:
        for one in member.poll(0, limit=7):
            got[one.partition.number] += one.records.to_pylist()
    assert [got[0], got[1]] == [rows[3:] for rows in everything]
    member.close()
    assert {topic for topic, _, _ in asked} == {"t"}
    assert len(asked) < 12  # answers are kept while they are read in parts
    kept[1] = kept[1].slice(0, 1)
    with pytest.raises(OffsetGoneError, match=f"below offset {firsts[0]}"):
        open_bus(older=older).read(T0, 2)
    with pytest.raises(OffsetGoneError):
        open_bus().read(T0, 2)


def placed_rows(lsn: int) -> pa.Table:
    rows = [
        {"key": b"%d" % n, "value": None if n % 3 else b"v" * n, "headers": [("h", b"%d" % lsn)], "timestamp": lsn * 1_000_000,
         "lsn": lsn, "ordinal": n, "step": 0}
        for n in range(5)
    ]  # fmt: skip
    return pa.Table.from_pylist(rows, schema=PLACED_SCHEMA)


def everything_in(bus: EmbeddedBus, number: int) -> list[Any]:
    found, end = list[Any](), bus.spans("t")[number].end
    while len(found) < end:
        found += bus.read(Partition("t", number), len(found), limit=9, timeout=0).to_pylist()
    return found


def test_files_of_before_forget_and_records_without_places_are_gone(open_bus: Open, tmp_path: Path) -> None:
    bus = open_bus()
    fill(bus)
    bus.close()
    (file,) = (tmp_path / "bus" / "topics").glob("*.db")
    with sqlite3.connect(file) as connection:
        connection.execute("drop table gone")
    connection.close()
    bus = open_bus(older=lambda *_: pytest.fail("nothing tells what to ask for"))
    bus.ensure(Topic(name="t", retention=timedelta(seconds=1)))
    keep(bus.topic("t"), EPOCH + timedelta(seconds=25))
    with pytest.raises(OffsetGoneError):
        bus.read(T0, 4)
    assert offsets(bus.read(T0, 20))[0] == 20


KEYED = st.lists(
    st.lists(st.tuples(st.none() | st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(max_size=3)), min_size=1, max_size=6),
    min_size=1, max_size=6,
)  # fmt: skip


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(KEYED, KEYED)
def test_a_compacted_topic_keeps_the_last_of_each_key(bus: EmbeddedBus, before: list[Any], after: list[Any]) -> None:
    """Twice, with appends between; tombstones of the first day have ended, others stay."""
    topic = f"t{len(bus.topics())}"
    bus.ensure(Topic(name=topic, compacted=True))
    expected: list[tuple[int, bytes | None, bytes | None]] = []
    for second, batches in ((0, before), (200_000, after)):
        for batch in batches:
            base = bus.spans(topic)[0].end
            bus.append(topic, records(*((key, value, second) for key, value in batch)))
            expected += [(base + n, key, value) for n, (key, value) in enumerate(batch)]
        keep(bus.topic(topic), EPOCH + timedelta(seconds=second + 3600))
    last = {key: offset for offset, key, _ in expected}
    young = sum(map(len, before))
    end = len(expected)
    kept = [
        (offset, key, value)
        for offset, key, value in expected
        if key is None or (offset == last[key] and (value is not None or offset >= young)) or offset == end - 1
    ]
    table = bus.read(Partition(topic, 0), 0)
    got = list(zip(offsets(table), table["key"].to_pylist(), values(table), strict=True))
    spared = [row for row in got if row not in kept]
    assert [row for row in got if row not in spared] == kept
    assert all(offset == young - 1 for offset, _, _ in spared), "it was the last one when it was first compacted"
    for offset in range(end):
        assert offsets(bus.read(Partition(topic, 0), offset, limit=1)) == [min(o for o, _, _ in got if o >= offset)]


def test_a_large_compacted_topic_shrinks_by_itself(bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitvelocity.streams.embedded.upkeep.EVERY_BYTES", 50_000)
    bus.ensure(Topic(name="t", compacted=True))
    for _ in range(40):
        bus.append("t", records(*((b"%d" % n, os.urandom(40), 1) for n in range(500))))
    table = bus.read(T0, 0, limit=100_000)
    assert 500 <= table.num_rows < 5000
    assert set(table["key"].to_pylist()) == {b"%d" % n for n in range(500)}
    assert bus.spans("t") == {0: Span(0, 20_000)}


# ---- damage -------------------------------------------------------------------------------------------------


def strike(folder: Path, needle: bytes, change: Callable[[bytearray, int], None]) -> None:
    """Change the file of topic `t` at the place of some bytes."""
    (file,) = (folder / "bus" / "topics").glob("*.db")
    content = bytearray(file.read_bytes())
    at = content.find(needle)
    assert at > 0, "is it in the file as it is?"
    change(content, at)
    file.write_bytes(content)


def flip(content: bytearray, at: int) -> None:
    content[at + 40] ^= 1


def zero_page(content: bytearray, at: int) -> None:
    begin = at // 16384 * 16384
    content[begin : begin + 16384] = bytes(16384)


@pytest.mark.parametrize("change", [flip, zero_page])
@pytest.mark.parametrize("size", [10, 5000], ids=["small", "large"])
def test_damage_is_told_and_the_rest_is_there(
    open_bus: Open, tmp_path: Path, change: Callable[[bytearray, int], None], size: int
) -> None:
    """A bit flips in a blob, or a whole page is lost: records before and after are read, the gap has its offsets."""
    bus = open_bus()
    fill(bus, size=size, pieces=40)
    needle = values(bus.read(T0, 200))[5][3:]
    bus.close()
    strike(tmp_path, needle[-24:], change)
    bus = open_bus()
    lost, offset, got = [], 0, list[int]()
    while offset < 400:
        table, damaged = read_or_refuse(bus, offset)
        if damaged:
            assert (damaged.entity, damaged.retry) == ("t", "person")
            after = int((damaged.remedy or "").split("offset ")[1].split(";")[0])
            lost.append((int((damaged.position or "").split()[-1]), after))
            offset = after
        else:
            got += offsets(table)
            offset = got[-1] + 1
    assert any(begin <= 205 < end for begin, end in lost), lost
    missing = {gap for begin, end in lost for gap in range(begin, end)}
    assert sorted(missing | set(got)) == [*range(400)]
    assert len(missing) <= (10 if change is flip or size > 10 else 300)
    assert bus.append("t", records((b"k", b"more", 1))).ends == {T0: 401}


def read_or_refuse(bus: EmbeddedBus, offset: int) -> tuple[pa.Table, BusError | None]:
    try:
        return bus.read(T0, offset, limit=1000, timeout=0), None
    except BusError as refused:
        return FETCHED_SCHEMA.empty_table(), refused


def test_a_blob_in_the_wrong_row_is_found_out(open_bus: Open, tmp_path: Path) -> None:
    bus = open_bus()
    fill(bus)
    (file,) = (tmp_path / "bus" / "topics").glob("*.db")
    with sqlite3.connect(file) as connection:
        connection.execute("update batch set (crc, data) = (select crc, data from batch where base = 10) where base = 20")
    connection.close()
    assert offsets(bus.read(T0, 10)) == [*range(10, 20)]
    with pytest.raises(BusError, match="Records 20 to 29 are damaged"):
        bus.read(T0, 20)


def test_a_file_that_is_torn_or_no_database(open_bus: Open, tmp_path: Path) -> None:
    bus = open_bus()
    fill(bus, size=3000)
    bus.ensure(Topic(name="other"))
    bus.append("other", records((b"k", b"v", 1)))
    bus.close()
    (file,) = (tmp_path / "bus" / "topics").glob("t.db")
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], b"no database at all" * 2000):
        file.write_bytes(content)
        bus = open_bus()
        refusals = [refused for offset in range(0, 40, 10) if (refused := read_or_refuse(bus, offset)[1])]
        assert refusals
        assert all(refused.entity == "t" for refused in refusals)
        assert values(bus.read(Partition("other", 0), 0)) == [b"v"]
        bus.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(folder)], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("only root can mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full(open_bus: Open, small_disk: Path) -> None:
    """What was acknowledged stays; once there is room, a new publisher goes on without a gap or a repeat."""
    bus = open_bus(small_disk)
    bus.ensure(Topic(name="t"))
    publisher = bus.publisher("p")
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free - 1_500_000))
    done = 0
    full = None
    while not full:
        try:
            publisher.publish({"t": places(done, done + 10)})
            done += 10
        except BusError as refused:
            full = refused
    assert (full.entity, full.retry, full.what) == ("t", "person", "The disk is full.")
    assert "Make room" in str(full)
    assert numbers(bus) == [*range(done)]
    ballast.unlink()
    heir = bus.publisher("p")
    heir.publish({"t": places(0, done + 20)})
    assert numbers(bus) == [*range(done + 20)]


def places(begin: int, end: int) -> pa.Table:
    rows = [
        {"key": b"k", "value": os.urandom(3000), "headers": [("n", b"%d" % n)], "timestamp": 0, "lsn": n, "ordinal": 0, "step": 0}
        for n in range(begin, end)
    ]
    return pa.Table.from_pylist(rows, schema=PLACED_SCHEMA)


def numbers(bus: EmbeddedBus) -> list[int]:
    headers: list[Any] = bus.read(T0, 0, limit=100_000)["headers"].to_pylist()
    return [int(dict(own)["n"]) for own in headers]


# ---- several at once ----------------------------------------------------------------------------------------


def test_threads_wait_for_the_disk_together(bus: EmbeddedBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty appends of one record each need far fewer commits; each is told its own offset."""
    commits: list[int] = []
    bus.ensure(Topic(name="t"))
    writing, appends = bus.topic("t").database.writing, bus._found("t")[1]

    def counted() -> Any:
        commits.append(1)
        return writing()

    monkeypatch.setattr(bus.topic("t").database, "writing", counted)
    with ThreadPoolExecutor(20) as pool:
        with appends._work:  # the disk is busy until all of them have come
            written = pool.map(lambda n: bus.append("t", records((b"k", b"%d" % n, 1))).ends[T0], range(60))
            while len(appends._waiting) < 20:
                os.sched_yield()
        ends = list(written)
    assert sorted(ends) == [*range(1, 61)]
    got = values(bus.read(T0, 0))
    assert [got[end - 1] for end in ends] == [b"%d" % n for n in range(60)]
    assert len(commits) < 45


def test_a_member_that_does_nothing_loses_its_lease(open_bus: Open) -> None:
    """It lives, and is fenced: it cannot commit, and gets what is left when it polls again."""
    bus = open_bus(lease=timedelta(milliseconds=100))
    fill(bus)
    idle, busy = bus.member("g", ["t"]), open_bus().member("g", ["t"])
    (held,) = idle.poll()
    got = busy.poll(5)
    assert [one.partition for one in got] == [T0]
    assert got[0].generation == held.generation + 1
    with pytest.raises(FencedError, match="another member"):
        idle.commit({T0: 40})
    assert bus.committed("g", "t") == {}
    busy.commit({T0: 40})
    busy.close()
    assert list(idle.poll(0)) == []
    assert idle.assigned == {T0: held.generation + 2}
    idle.close()
    with pytest.raises(BusError, match="left its group"):
        idle.poll(0)
    assert not list((bus.topic("t").file.parents[1] / "members").iterdir())


def test_workers_are_killed_at_every_step(open_bus: Open, tmp_path: Path) -> None:
    """Source, bus, competing pumps, bus: killed after the blob, before the commit, after it, with zombies that wake up late."""
    program = Path(__file__).with_name("embedded_workers.py")
    command = [sys.executable, str(program), str(tmp_path / "bus"), "1500"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["killed"] >= 12, told
    assert told["sent to sleep"] >= 5, told
    assert told["fenced"] >= 1, told
    bus = open_bus()
    for topic in ("in", "out"):
        held = [bus.read(Partition(topic, number), 0, limit=10_000) for number in range(3)]
        assert sorted(int(value) for table in held for value in values(table)) == [*range(1500)]
        for table in held:
            for key in set(keys := table["key"].to_pylist()):
                own = [int(value) for its, value in zip(keys, values(table), strict=True) if its == key]
                assert own == sorted(own)


def test_places_that_fall_are_refused(bus: EmbeddedBus) -> None:
    fill(bus)
    table = pa.concat_tables([places(5, 6), places(4, 5)])
    with pytest.raises(BusError, match="Row 1 has a lower place"):
        bus.publisher("p").publish({"t": table})
    assert bus.spans("t") == {0: Span(0, 40)}


def test_names_of_every_kind(bus: EmbeddedBus, open_bus: Open) -> None:
    names = ["shop.public.orders", "a/b", "..", "é%2F", "with space"]
    for name in names:
        bus.ensure(Topic(name=name, partitions=2))
        bus.append(name, records((b"k", name.encode(), 1)))
    assert sorted(open_bus().topics()) == sorted(names)
    for name in ("", "x" * 300):
        with pytest.raises(BusError, match="topic's name"):
            bus.ensure(Topic(name=name))


def test_a_closed_bus_says_so(open_bus: Open) -> None:
    bus = open_bus()
    fill(bus)
    bus.close()
    with pytest.raises(BusError, match="closed"):
        bus.read(T0, 0)


def test_pieces_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "PIECE_BYTES", 1000)
    table = records(*((b"k", bytes(size), 1) for size in (10, 10, 3000, 400, 400, 400)))
    assert [piece.records for piece in blobs.pieces_of(0, table)][-1] >= 1
    assert sum(piece.records for piece in blobs.pieces_of(0, table)) == 6
    assert len(list(blobs.pieces_of(0, table))) >= 3
