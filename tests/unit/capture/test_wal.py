"""The source against trouble: slow consumers, cut connections, lost slots, wrong settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bitvelocity.capture import Tuning, WalSource, slot_health
from bitvelocity.changes import Source
from bitvelocity.errors import CaptureError, ConnectionLostError
from bitvelocity.oltp import Server

if TYPE_CHECKING:
    from tests.unit.capture.conftest import Bench

ORDERS = "create table orders (id bigint primary key, name text, note text)"
PUBLISH = "create publication bitvelocity for table orders"


def test_a_slow_consumer_holds_the_reader_back_and_keeps_the_connection(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    # the server gives up after 1.5 s without a sign of life; the consumer sleeps until it has waited for twice that
    tuning = Tuning(limit=1 << 20, settings={"wal_sender_timeout": "1500ms"}, report_every=0.1)
    source = source_db.open(tuning=tuning)
    source_db.snapshot(source)
    for part in range(40):
        source_db.fill(part * 1000 + 1, part * 1000 + 1000)
    changes = source.tail(5)
    rows = source_db.take(source, next(changes))
    began = time.monotonic()
    source_db.until(lambda: time.monotonic() - began > 3.0)
    rows += source_db.tail(source)
    assert len(rows) == 40_000
    assert source.stats.held_back > 1


def test_a_connection_that_is_cut_is_told_and_the_next_one_goes_on(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    source = source_db.open()
    source_db.snapshot(source)
    source_db.fill(1, 5)
    rows = source_db.tail(source)
    source_db.fill(6, 10)
    source_db.one(
        "select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = %s",
        source_db.slot,
    )
    with pytest.raises(ConnectionLostError) as lost:
        read_until_error(source_db, source, rows)
    assert lost.value.retry == "itself"
    source.close()
    again = source_db.open(has_position=True, start_lsn=rows[-1]["_lsn"])
    rows += source_db.tail(again)
    assert [row["after_id"] for row in rows] == [str(n) for n in range(1, 11)]


def read_until_error(source_db: Bench, source: WalSource, rows: list[dict[str, Any]]) -> None:
    """Whole transactions that came before the error are still given."""
    while True:
        for change_set in source.tail(0.02):
            rows += source_db.take(source, change_set)


def confirmed(source_db: Bench) -> int:
    query = "select confirmed_flush_lsn - '0/0'::pg_lsn from pg_replication_slots where slot_name = %s"
    return int(source_db.one(query, source_db.slot))


def test_a_quiet_source_confirms_what_has_no_rows_for_us(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH, "create table unpublished (id int)")
    source = source_db.open()
    source_db.snapshot(source)
    source_db.run("insert into unpublished select generate_series(1, 5000)",
                  "select pg_logical_emit_message(true, 'heartbeat', 'x')")  # fmt: skip
    assert source_db.tail(source) == []
    end = source.seen
    source_db.until(lambda: list(source.tail(0.01)) == [] and confirmed(source_db) >= end)


def test_what_is_not_confirmed_is_not_forgotten(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH, "create table unpublished (id int)")
    source = source_db.open()
    source_db.snapshot(source)
    source_db.fill(1, 1)
    (row,) = read_unconfirmed(source, 1)
    source_db.run("insert into unpublished values (1)")
    end = source_db.one("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn")
    source_db.until(lambda: list(source.tail(0.01)) == [] and source.seen >= end)
    source.close()
    assert confirmed(source_db) <= row["_lsn"]


def test_change_sets_not_iterated_are_no_hindrance(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    source = source_db.open(tuning=Tuning(settings={"logical_decoding_work_mem": "64kB"}))
    source_db.snapshot(source)
    source_db.fill(1, 3000)
    changes = source.tail(5)
    next(changes)
    source_db.run("alter table orders add column extra int", "insert into orders values (9000, '', '', 7)")
    (row,) = source_db.tail(source)
    assert (row["after_id"], row["after_extra"]) == ("9000", "7")
    assert source.stats.rows == 3001


@pytest.mark.every_postgres
def test_an_encrypted_connection_is_read_through_libpq(source_db: Bench, postgres: Server) -> None:
    if not source_db.one("select setting from pg_settings where name = 'ssl_library'"):
        pytest.skip("this PostgreSQL is built without TLS")
    with encryption(source_db):
        host, port = conninfo_to_dict(postgres.tcp_dsn)["host"], postgres.port
        dsn = make_conninfo(source_db.dsn, host=host, port=port, sslmode="require")
        source_db.run(ORDERS, PUBLISH)
        source_db.fill(1, 500)
        source = source_db.open(dsn=dsn, tuning=Tuning(feed="copy", settings={"logical_decoding_work_mem": "64kB"}))
        rows = source_db.snapshot(source)
        for first in (1001, 2001):
            source_db.fill(first, first + 5)
        source_db.fill(5001, 8000)
        rows += source_db.tail(source)
        ids = [*range(1, 501), *range(1001, 1007), *range(2001, 2007), *range(5001, 8001)]
        assert sorted(int(row["after_id"]) for row in rows) == ids  # the snapshot's rows are in no order
        assert source.stats.streamed == 1
        assert source.stats.copied == 0, "libpq gives a COPY row by row, so the walsender does as well"
        assert source_db.one("select bool_and(ssl) from pg_stat_ssl join pg_stat_replication using (pid)")
        refusal = refused(source_db, dsn=dsn, tail=True, slot="absent")
        assert refusal.code == "SlotGone"
        source_db.one("select pg_terminate_backend(active_pid, 5000) from pg_replication_slots where slot_name = %s",
                      source_db.slot)  # fmt: skip
        with pytest.raises(ConnectionLostError):
            read_until_error(source_db, source, rows)


@contextmanager
def encryption(source_db: Bench) -> Iterator[None]:
    """The server with a certificate that it signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    data = Path(source_db.one("select setting from pg_settings where name = 'data_directory'"))
    words = "req -new -x509 -days 2 -nodes -subj /CN=localhost -out server.crt -keyout server.key"
    subprocess.run(["openssl", *words.split()], cwd=data, check=True, capture_output=True)
    for name in ("server.crt", "server.key"):
        os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
        (data / name).chmod(0o600)
    source_db.run("alter system set ssl = on", "select pg_reload_conf()")
    try:
        yield
    finally:
        source_db.run("alter system reset ssl", "select pg_reload_conf()")


def test_what_the_sinks_have_is_not_sent_again(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    source: Source = source_db.open()
    source_db.snapshot(source)
    for number in range(1, 6):
        source_db.fill(number, number)
    positions = [row["_lsn"] for row in read_unconfirmed(source, 5)]
    source.close()
    again = source_db.open(has_position=True, start_lsn=positions[2])
    assert [row["after_id"] for row in source_db.tail(again)] == ["4", "5"]


def read_unconfirmed(source: Source, count: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while len(rows) < count:
        rows += [
            row for change_set in source.tail(0.02) for batch in change_set for row in batch.data.to_pylist()
        ]
    return rows


def refused(source_db: Bench, *, tail: bool = False, **options: Any) -> CaptureError:
    """The error with which a source refuses to begin."""
    with pytest.raises(CaptureError) as caught:
        begin(source_db, tail=tail, **options)
    assert caught.value.remedy
    assert caught.value.safe or "DSN" in caught.value.what
    return caught.value


def begin(source_db: Bench, *, tail: bool, **options: Any) -> None:
    source = source_db.open(has_position=tail, **options)
    if tail:
        list(source.tail(0))
    else:
        source_db.snapshot(source)


def test_refusals_name_the_remedy(source_db: Bench) -> None:
    source_db.run(ORDERS)
    assert refused(source_db).code == "PublicationMissing"
    source_db.run(PUBLISH)
    assert refused(source_db, tail=True).code == "SlotGone"
    unreadable = refused(source_db, dsn="postgres//me:hunter2@here")
    assert "hunter2" not in str(unreadable)
    assert unreadable.__cause__ is None
    unreachable = refused(source_db, dsn=make_conninfo(source_db.dsn, port=1))
    assert isinstance(unreachable, ConnectionLostError)
    elsewhere = refused(source_db, dsn=make_conninfo(source_db.dsn, dbname="nowhere"))
    assert "existing database" in (elsewhere.remedy or "")


def test_a_slot_of_another_kind_is_left_alone(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    source_db.one("select pg_create_logical_replication_slot(%s, 'test_decoding')", source_db.slot)
    assert refused(source_db).code == refused(source_db, tail=True).code == "SlotForeign"
    assert slot_health(source_db.dsn, source_db.slot).exists


def test_missing_privileges_are_named(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    name = "reader_" + source_db.connection.info.dbname
    source_db.run(f"create role {name} login password 'pw'")
    try:
        dsn = make_conninfo(source_db.dsn, user=name, password="pw")
        assert refused(source_db, dsn=dsn).code == "MissingPrivilege"
        source_db.run(f"alter role {name} replication")
        unreadable = refused(source_db, dsn=dsn)
        assert (unreadable.entity, unreadable.code) == ("public.orders", "CaptureError:42501")
        wrong = refused(source_db, dsn=make_conninfo(dsn, password="wrong"))
        assert "password" in wrong.what
        assert not isinstance(wrong, ConnectionLostError)
    finally:
        source_db.run(f"drop role {name}")


def test_a_slot_read_by_somebody_else_is_told_apart(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH)
    source = source_db.open()
    source_db.snapshot(source)
    list(source.tail(0))
    impatient = Tuning(patience=0.1)
    assert refused(source_db, tail=True, tuning=impatient).code == "SlotActive"
    assert refused(source_db, tuning=impatient).code == "SlotActive"
    assert slot_health(source_db.dsn, source_db.slot).active_pid is not None


def test_a_slot_that_the_server_gave_up_is_told_as_loss(source_db: Bench) -> None:
    source_db.run(ORDERS, PUBLISH, "create table elsewhere (id int)")
    source = source_db.open()
    source_db.snapshot(source)
    source.close()
    source_db.fill(1, 24)
    source_db.run("alter system set max_slot_wal_keep_size = '1MB'", "select pg_reload_conf()")
    try:
        source_db.until(lambda: lose_wal(source_db))
        assert slot_health(source_db.dsn, source_db.slot).state == "bad"
        lost = refused(source_db, tail=True)
        assert lost.code == "SlotInvalid"
        assert "no longer" in (lost.safe or "")
        again = source_db.open()  # nothing was ever committed from it: a fresh slot, a fresh snapshot
        assert len(source_db.snapshot(again)) == 24
    finally:
        source_db.run("alter system reset max_slot_wal_keep_size", "select pg_reload_conf()")


def lose_wal(source_db: Bench) -> bool:
    source_db.run("insert into elsewhere values (1)", "select pg_switch_wal()", "checkpoint")
    return slot_health(source_db.dsn, source_db.slot).wal_status == "lost"
