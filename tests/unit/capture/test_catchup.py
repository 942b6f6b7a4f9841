"""The feed for a backlog: chosen when there is one, left when level, and killed at each of its steps."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.forked import python

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.errors import ConnectionLostError

if TYPE_CHECKING:
    from tests.unit.capture.conftest import Bench

ORDERS = "create table orders (id bigint primary key, name text, note text)"
PUBLISH = "create publication bitvelocity for table orders"
BACKLOG = Tuning(behind=1 << 20)
COPY = Tuning(feed="copy")
SMALL: dict[str, Any] = {"settings": {"logical_decoding_work_mem": "64kB"}}
"""A server that streams transactions of more than a thousand rows before they commit."""


def begin(source_db: Bench) -> None:
    """A slot, and an oracle beside it."""
    source_db.run(ORDERS, PUBLISH)
    source_db.one("select pg_create_logical_replication_slot(%s, 'test_decoding')", "oracle_" + source_db.slot)
    source = source_db.open()
    source_db.snapshot(source)
    source.close()


def backlog(source_db: Bench, rows: int = 30_000, first: int = 1, *, size: int = 1000) -> list[str]:
    """Rows in transactions of a thousand; their keys."""
    for start in range(first, first + rows, size):
        source_db.fill(start, start + size - 1)
    return [str(number) for number in range(first, first + rows)]


def confirmed_by_now(source_db: Bench) -> None:
    """A busy server may not have read what a source says last: what it confirmed comes again then."""
    source_db.until(lambda: source_db.one("select not active from pg_replication_slots where slot_name = %s", source_db.slot))
    source_db.one("select pg_replication_slot_advance(%s, pg_current_wal_flush_lsn())::text", source_db.slot)


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["after_id"] for row in rows]


def slots(source_db: Bench) -> list[str]:
    names = source_db.connection.execute("select slot_name from pg_replication_slots where database = current_database()")
    return sorted(name for (name,) in names)


def confirmed(source_db: Bench) -> int:
    query = "select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where slot_name = %s"
    return int(source_db.one(query, source_db.slot))


@pytest.mark.every_postgres
def test_a_backlog_is_copied_and_the_walsender_goes_on(source_db: Bench) -> None:
    begin(source_db)
    expected = backlog(source_db)
    source = source_db.open(has_position=True, tuning=BACKLOG)
    rows = source_db.tail(source)
    copied = source.stats.copied
    assert ids(rows) == expected
    assert copied > 30_000
    source_db.fill(50_001, 50_010)
    assert len(source_db.tail(source)) == 10
    assert source.stats.copied == copied
    assert slots(source_db) == ["oracle_" + source_db.slot, source_db.slot]
    assert source_db.one("select count(*) from pg_stat_replication where application_name = 'bitvelocity capture'") == 1


def settle(source_db: Bench, source: WalSource) -> None:
    """Let the server move to here what it would decode again: it writes down now which transactions run."""
    here = source_db.one("select pg_current_wal_insert_lsn()::text")
    source_db.run("checkpoint")

    def moved() -> object:
        source_db.run("select pg_logical_emit_message(true, 'settle', '')")
        assert source_db.tail(source) == []
        return source_db.one("select restart_lsn >= %s::pg_lsn from pg_replication_slots where slot_name = %s", here, source_db.slot)

    source_db.until(moved)


def place(rows: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(row["_lsn"], row["_ordinal"]) for row in rows]


@pytest.mark.every_postgres
def test_a_backlog_that_grows_in_mid_run_is_copied_and_the_walsender_goes_on_again(source_db: Bench) -> None:
    """A consumer that paused comes level through COPY: twice, with a large transaction in progress each time."""
    begin(source_db)
    source_db.one("select pg_create_logical_replication_slot(%s, 'pgoutput')", "judge_" + source_db.slot)
    source = source_db.open(has_position=True, tuning=Tuning(behind=1 << 20, limit=1 << 18, look_every=0.0, **SMALL))
    source_db.fill(1, 10)
    rows, expected = source_db.tail(source), [str(number) for number in range(1, 11)]
    copied = source.stats.copied
    assert copied == 0
    for turn in (1, 2):
        with psycopg.connect(source_db.dsn) as large, large.cursor() as cursor:
            first = turn * 1_000_000
            cursor.execute(f"insert into orders select i from generate_series({first + 1}, {first + 4000}) i".encode())
            expected += backlog(source_db, 20_000, first + 100_001, size=200)
            rows += source_db.tail(source)  # it begins with what the walsender had sent ahead
            assert source.stats.copied > copied
            copied = source.stats.copied
            large.commit()
        expected += [str(first + number) for number in range(1, 4001)]
        source_db.fill(first + 200_001, first + 200_010)
        expected += [str(first + 200_000 + number) for number in range(1, 11)]
        rows += source_db.tail(source)
        assert source.stats.copied == copied, "the walsender has gone on"
        settle(source_db, source)
    assert ids(rows) == expected
    assert place(rows) == source_db.places()
    assert source_db.slot + "_copy" not in slots(source_db)


def test_a_backlog_that_costs_less_than_going_back_stays_with_the_walsender(source_db: Bench) -> None:
    """An old transaction is open: a change of feed would decode all that was written since it began."""
    begin(source_db)
    with psycopg.connect(source_db.dsn) as old:
        old.execute("insert into orders values (-1)")
        backlog(source_db, 10_000)
        source = source_db.open(has_position=True, tuning=Tuning(feed="walsender"))
        source_db.tail(source)
        source.close()
        confirmed_by_now(source_db)
        source_db.run("checkpoint")
        source = source_db.open(has_position=True, tuning=Tuning(behind=1 << 19, limit=1 << 18, look_every=0.0))
        source_db.tail(source)
        backlog(source_db, 6000, 500_001)
        assert len(source_db.tail(source)) == 6000
        assert source.stats.copied == 0
        old.commit()
    assert ids(source_db.tail(source)) == ["-1"]


def test_a_backlog_beside_an_old_transaction_is_left_to_the_walsender(
    source_db: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call would go back to where it began: one call shows it, and nobody tries again while it is open."""
    monkeypatch.setattr("bitvelocity.capture.catchup._BACK", 1 << 18)
    monkeypatch.setattr("bitvelocity.capture.catchup._TIMES", 0)
    begin(source_db)
    with psycopg.connect(source_db.dsn) as old:
        old.execute("insert into orders values (-1)")
        expected = backlog(source_db, 30_000)
        source = source_db.open(has_position=True, tuning=Tuning(behind=1 << 20, limit=1 << 18, look_every=0.0))
        rows = source_db.tail(source)
        expected += backlog(source_db, 20_000, 500_001)
        rows += source_db.tail(source)
        copied = source.stats.copied
        assert 0 < copied < 60_000
        old.commit()
    rows += source_db.tail(source)
    assert ids(rows) == [*expected, "-1"]
    assert source.stats.copied == copied


def test_no_backlog_no_copy(source_db: Bench) -> None:
    begin(source_db)
    source_db.fill(1, 10)
    source = source_db.open(has_position=True)
    assert len(source_db.tail(source)) == 10
    assert source.stats.copied == 0


def test_the_slot_moves_when_all_is_confirmed_and_not_before(source_db: Bench) -> None:
    begin(source_db)
    backlog(source_db, 5000)
    before = confirmed(source_db)
    source = source_db.open(has_position=True, tuning=COPY)
    taken, marks = 0, []
    while taken < 5000:
        for change_set in source.tail(0.05):
            taken += sum(batch.data.num_rows for batch in change_set)
            marks.append(change_set.mark.resume)
    assert confirmed(source_db) == before
    source.confirm(marks[-1])
    source_db.until(lambda: confirmed(source_db) >= marks[-1])
    source.close()
    again = source_db.open(has_position=True, tuning=COPY)
    assert source_db.tail(again) == []


def test_what_the_sinks_have_is_not_copied_again(source_db: Bench) -> None:
    begin(source_db)
    backlog(source_db, 3000)
    source = source_db.open(has_position=True, tuning=COPY)
    seen: list[int] = []
    while len(seen) < 3000:
        seen += [row["_lsn"] for s in source.tail(0.05) for b in s for row in b.data.to_pylist()]
    source.close()
    again = source_db.open(has_position=True, start_lsn=seen[1500], tuning=COPY)
    assert ids(source_db.tail(again)) == [str(number) for number in range(2001, 3001)]


@pytest.mark.every_postgres
@pytest.mark.parametrize("feed", ["copy", "walsender"])
def test_a_transaction_too_large_for_memory_goes_through_a_file(source_db: Bench, feed: Any) -> None:
    begin(source_db)
    tuning = Tuning(feed=feed, limit=1 << 20, settings={"logical_decoding_work_mem": "1GB"})
    source_db.fill(1, 10)
    with source_db.connection.transaction():
        source_db.fill(100_001, 160_000)
        source_db.run("select pg_logical_emit_message(true, 'bv.audit', '{\"user\":\"ann\"}')",
                      "alter table orders add column extra int", "update orders set extra = 1 where id < 5")  # fmt: skip
    source_db.run("insert into orders select i, 'n', 'n', i from generate_series(900001, 900020) i")
    source = source_db.open(has_position=True, tuning=tuning)
    rows = source_db.tail(source)
    assert len(rows) == 10 + 60_000 + 4 + 20
    assert [row["_ordinal"] for row in rows[10:60_014]] == list(range(60_004))
    assert [row["_operation_user"] for row in rows[60_009:60_015]] == [None, *["ann"] * 4, None]
    assert source.stats.spilled_bytes > 5 << 20
    assert source.stats.streamed == 0
    assert not list((source_db.spill / source_db.slot).iterdir())


def test_when_copy_fails_in_the_middle_the_walsender_goes_on(source_db: Bench) -> None:
    begin(source_db)
    expected = backlog(source_db)
    # the rows of a call do not fit: the server keeps them in a temporary file, which may not grow
    narrow = {"work_mem": "64kB", "temp_file_limit": "1MB"}
    source = source_db.open(has_position=True, tuning=Tuning(behind=1 << 20, settings=narrow))
    assert ids(source_db.tail(source)) == expected
    assert source.stats.copied == 0


def test_without_a_free_slot_the_walsender_is_read(source_db: Bench) -> None:
    begin(source_db)
    expected = backlog(source_db, 5000)
    with ExitStack() as taken:
        others = 0
        while True:
            other = taken.enter_context(psycopg.connect(source_db.dsn, autocommit=True))
            try:
                name = f"other_{others}_{source_db.connection.info.dbname}"
                other.execute("select pg_create_logical_replication_slot(%s, 'pgoutput', true)", [name])
            except psycopg.Error:
                break
            others += 1
        source = source_db.open(has_position=True, tuning=COPY)
        assert ids(source_db.tail(source)) == expected
        assert source.stats.copied == 0


def test_somebody_who_catches_up_holds_the_slot(source_db: Bench) -> None:
    begin(source_db)
    backlog(source_db, 2000)
    list(source_db.open(has_position=True, tuning=COPY).tail(0.01))
    second = source_db.open(has_position=True, tuning=Tuning(patience=0.1))
    with pytest.raises(Exception, match="somebody else") as caught:
        list(second.tail(0.01))
    assert caught.value.code == "SlotActive"  # type: ignore[attr-defined]


def test_a_cut_while_catching_up_is_told_and_the_next_one_goes_on(source_db: Bench) -> None:
    begin(source_db)
    expected = backlog(source_db)
    source = source_db.open(has_position=True, tuning=Tuning(feed="copy", limit=1 << 20))
    rows = source_db.take(source, next(source.tail(5)))
    source_db.one("select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = %s",
                  source_db.slot + "_copy")  # fmt: skip
    with pytest.raises(ConnectionLostError):
        read_until_error(source_db, source, rows)
    source.close()
    again = source_db.open(has_position=True, start_lsn=rows[-1]["_lsn"], tuning=COPY)
    rows += source_db.tail(again)
    assert ids(rows) == expected


def read_until_error(source_db: Bench, source: WalSource, rows: list[dict[str, Any]]) -> None:
    while True:
        for change_set in source.tail(0.02):
            rows += source_db.take(source, change_set)


KILLED = """
import os, signal, sys
from pathlib import Path
import psycopg
from bitvelocity.capture import Tuning, WalSource

dsn, slot, spill, journal, step, after, feed = sys.argv[1:]
passed = 0

def at(name):
    global passed
    passed += name == step
    if passed > int(after):
        os.kill(os.getpid(), signal.SIGKILL)

# the journal is the sink: a line for each row, all of a set or none (the kill may come from another thread, in the middle
# of a write), and synced before anything is confirmed
told = Path(journal).read_text() if Path(journal).exists() else ""
position = max((int(line.split()[0]) for line in told.splitlines()), default=0)
growing = feed == "growing"
auto = {"feed": "auto", "limit": 1 << 18, "look_every": 0.0} if growing else {"feed": feed, "limit": 1 << 20}
tuning = Tuning(behind=1 << 20, at=at, **auto)
GROW = "insert into orders select i, 'n', repeat('x', 100) from generate_series(%s::bigint, %s::bigint) i"

def grow(connection):
    first = connection.execute("select max(id) + 1 from orders").fetchone()[0]
    for start in range(first, first + 12000, 200):
        connection.execute(GROW, [start, start + 199])

def drain(source, connection):
    global position, told
    end = connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()[0]
    while source.seen < end:
        for change_set in source.tail(0.05):
            rows = [row for batch in change_set for row in batch.data.select(["_lsn", "_ordinal", "after_id"]).to_pylist()]
            told += "".join(f"{r['_lsn']} {r['_ordinal']} {r['after_id']}\\n" for r in rows if r["_lsn"] > position)
            at("committing")
            with open(journal + ".part", "w") as file:
                file.write(told)
                file.flush()
                os.fsync(file.fileno())
            os.replace(file.name, journal)
            at("committed")
            position = max(position, change_set.mark.lsn)
            source.confirm(change_set.mark.resume)
            at("confirmed")

with WalSource(dsn, slot=slot, spill=Path(spill), has_position=True, start_lsn=position, tuning=tuning) as source:
    with psycopg.connect(dsn, autocommit=True) as connection:
        drain(source, connection)
        if growing:
            grow(connection)
            drain(source, connection)
"""
STEPS = ["copy called", "copy received", "copy ended", "committing", "committed", "confirmed", "slot moved"]


@pytest.mark.parametrize(("step", "feed"), [*((step, "copy") for step in STEPS), ("confirmed", "auto")])
def test_killed_anywhere_nothing_is_lost_and_nothing_doubled(
    source_db: Bench, tmp_path: Path, step: str, feed: str
) -> None:
    begin(source_db)
    expected = backlog(source_db, 8000)
    journal = tmp_path / "journal"
    codes = []
    for after in (0, 2):
        words = [source_db.dsn, source_db.slot, str(source_db.spill), str(journal), step, str(after), feed]
        codes.append(python("-c", KILLED, *words).returncode)
        expected += backlog(source_db, 3000, 100_000 + 3000 * after)
    codes.append(python("-c", KILLED, *words[:-2], "100000", feed).returncode)
    assert codes[0] == -signal.SIGKILL
    assert codes[-1] == 0
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert [line[2] for line in lines] == expected
    assert len({(line[0], line[1]) for line in lines}) == len(expected)


@pytest.mark.parametrize(("step", "after"), [("feed left", 0), ("copy called", 0), ("copy ended", 0), ("committed", 2), ("feed left", 1)])
def test_killed_while_the_feed_changes_in_mid_run(source_db: Bench, tmp_path: Path, step: str, after: int) -> None:
    """The process itself writes a backlog while it does not read, so it must go over to COPY, and back."""
    begin(source_db)
    source_db.fill(1, 10)
    journal = tmp_path / "journal"
    words = [source_db.dsn, source_db.slot, str(source_db.spill), str(journal), step]
    assert python("-c", KILLED, *words, str(after), "growing").returncode == -signal.SIGKILL
    assert python("-c", KILLED, *words, "100000", "growing").returncode == 0
    lines = [line.split() for line in journal.read_text().splitlines()]
    assert [int(line[2]) for line in lines] == list(range(1, 24_011))
    assert len({(line[0], line[1]) for line in lines}) == len(lines)


@pytest.mark.parametrize("feed", ["copy", "walsender"])
def test_many_tables_in_one_set_come_as_few_do(source_db: Bench, feed: Any) -> None:
    tables = [f"t{number}" for number in range(70)]
    source_db.run(*(f"create table {table} (id int, note text)" for table in tables),
                  f"create publication bitvelocity for table {', '.join(tables)}")  # fmt: skip
    source = source_db.open(tuning=Tuning(feed=feed, limit=1 << 20))
    source_db.snapshot(source)
    expected = []
    for part in range(3):  # from the second part on the source knows all tables
        for number, table in enumerate(tables):
            source_db.run(f"insert into {table} select i, repeat('x', 300) from generate_series({part * 60 + 1}, {part * 60 + 60}) i")
            expected += [(f"public.t{number}", str(part * 60 + i)) for i in range(1, 61)]
        rows = source_db.tail(source)
        rows.sort(key=lambda row: (row["_lsn"], row["_ordinal"]))
        assert [(row["relation"], row["after_id"]) for row in rows] == expected
        expected = []
