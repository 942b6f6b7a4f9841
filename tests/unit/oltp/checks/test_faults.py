"""Each fault, really made; what the check says of it; and its remedy, pasted, after which the check is content."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bitvelocity.oltp import connect
from bitvelocity.oltp.checks import Check, Limits

if TYPE_CHECKING:
    from tests.unit.oltp.checks.conftest import Patient

STRICT = Limits(retained_bytes=0, open_seconds=0.0)
pytestmark = pytest.mark.every_postgres


@dataclass(frozen=True, slots=True)
class Fault:
    """SQL that makes it, the check that finds it, how bad that is, and a word of what is said."""

    name: str
    sql: str
    state: str
    says: str
    since: int = 15
    as_role: bool = False

    def __str__(self) -> str:
        return self.name + ": " + self.sql[:40].replace("\n", " ")


ANEW = "drop publication bitvelocity; create publication bitvelocity"
FAULTS = (
    Fault("publication", "alter publication bitvelocity drop table orders", "bad", "lacks public.orders"),
    Fault("publication", f"{ANEW} for all tables", "bad", "FOR ALL TABLES"),
    Fault("publication schemas", f"{ANEW} for tables in schema public with (publish_via_partition_root = true)", "warn", "all tables of public"),
    Fault("publication", "create table more (id int primary key); alter publication bitvelocity add table more", "warn", "also holds public.more"),
    Fault("partition root", "alter publication bitvelocity set (publish_via_partition_root = false)", "bad", "nothing of public.moves"),
    Fault("partition root", "alter publication bitvelocity set table orders, moves, moves_1", "bad", "moves_1 by itself"),
    Fault("publication operations", "alter publication bitvelocity set (publish = 'insert')", "bad", "does not send update, delete, truncate"),
    Fault("column list", "alter publication bitvelocity set table orders (note), moves", "bad", "leaves out id, by which"),
    Fault("column list", "alter publication bitvelocity set table orders (id, code), moves", "bad", "leaves out note"),
    Fault("row filter", "alter publication bitvelocity set table orders where (id > 5), moves", "bad", "(id > 5)"),
    Fault("generated columns", "alter table orders add twice int generated always as (id * 2) stored; alter table orders replica identity full", "bad", "twice", 18),
    Fault("generated columns", "alter table orders add twice int generated always as (id * 2) virtual; alter table orders replica identity full", "bad", "virtual", 18),
    Fault("replica identity", "alter table moves_1 replica identity nothing", "bad", "public.moves_1"),
    Fault("replica identity", "alter table orders drop constraint orders_pkey", "bad", "public.orders"),
    Fault("replica identity", "alter table orders drop constraint orders_pkey; create unique index by_code on orders (code)", "bad", "public.orders"),
    Fault("replica identity", "alter table orders drop constraint orders_pkey, add primary key (id) deferrable", "bad", "public.orders"),
    Fault("replica identity", "create unique index by_code on orders (code); alter table orders replica identity using index by_code; drop index by_code", "bad", "public.orders"),
    Fault("unlogged table", "alter publication bitvelocity drop table orders; alter table orders set unlogged", "bad", "not in the WAL"),
    Fault("foreign partition", "alter publication bitvelocity drop table moves; alter table moves drop constraint moves_pkey; "
          "create foreign data wrapper w; create server s foreign data wrapper w; "
          "create foreign table moves_9 partition of moves for values in (9) server s", "bad", "moves_9"),
    Fault("inheritance", "create table young () inherits (orders)", "warn", "public.young"),
    Fault("read privilege", "revoke select on orders from {role}", "bad", "may not read public.orders", as_role=True),
    Fault("read privilege", "revoke usage on schema public from public", "bad", "may not read", as_role=True),
    Fault("row security", "alter table orders enable row level security", "bad", "public.orders", as_role=True),
    Fault("replication privilege", "alter role {role} noreplication", "bad", "change stream", as_role=True),
    Fault("connection limit", "alter role {role} connection limit 2", "warn", "2 connections", as_role=True),
    Fault("password", "alter role {role} valid until '{soon}'", "warn", "is good until", as_role=True),
    Fault("wal_sender_timeout", "alter role {role} set wal_sender_timeout = 0", "warn", "never gives up", as_role=True),
    Fault("wal_sender_timeout", "alter role {role} set wal_sender_timeout = '900ms'", "warn", "900 ms", as_role=True),
    Fault("max_slot_wal_keep_size", "alter system set max_slot_wal_keep_size = -1; select pg_reload_conf()", "warn", "no limit"),
    Fault("max_slot_wal_keep_size", "alter system set max_slot_wal_keep_size = '64MB'; select pg_reload_conf()", "warn", "64 MB"),
    Fault("idle_replication_slot_timeout", "alter system set idle_replication_slot_timeout = '10min'; select pg_reload_conf()", "warn", "10 minutes", 18),
    Fault("fsync", "alter system set fsync = off; select pg_reload_conf()", "warn", "power cut"),
    Fault("other publications", "create publication dbz_publication for all tables", "warn", "a leftover of Debezium"),
    Fault("other slots", "select pg_create_logical_replication_slot('debezium_{role}', 'pgoutput')", "warn", "a leftover of Debezium?"),
    Fault("other slots", "select pg_create_physical_replication_slot('p_{role}', true)", "warn", "(physical)"),
)  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fault_is_found_and_its_remedy_mends_it(patient: Patient, fault: Fault) -> None:
    if patient.one("select current_setting('server_version_num')::int / 10000") < fault.since:
        pytest.skip(f"since PostgreSQL {fault.since}")
    if fault.name not in ("fsync", "other slots"):
        assert patient.find(fault.name, as_role=fault.as_role) == []
    soon = patient.one("select (now() + interval '3 days')::date::text")
    patient.run(fault.sql.format(role=patient.role, soon=soon))
    found = wait_for(patient, fault)
    assert [(check.state, fault.says in check.what) for check in found] == [(fault.state, True)], found
    assert found[0].remedy
    patient.run(found[0].remedy)
    assert wait_for(patient, fault, gone=True) == []


def wait_for(patient: Patient, fault: Fault, *, gone: bool = False) -> list[Check]:
    """What the check says once the server has read its configuration again."""
    deadline = time.monotonic() + 30
    while bool(found := patient.find(fault.name, as_role=fault.as_role, limits=STRICT)) == gone:
        assert time.monotonic() < deadline, found
        patient.one("select pg_sleep(0.02)")
    return found


def test_a_healthy_source_has_nothing_to_mend(patient: Patient) -> None:
    assert [check for check in patient.look() if check.state != "ok" and check.name != "fsync"] == []


def test_open_transactions_are_named_and_can_be_ended(patient: Patient) -> None:
    with connect(patient.dsn) as sleeper:
        sleeper.execute("insert into orders values (1, 'a')")
        (found,) = patient.find("open transactions", limits=STRICT)
        assert f"process {sleeper.info.backend_pid} " in found.what
        assert found.remedy
        patient.run(found.remedy)
        while patient.find("open transactions", limits=STRICT):
            patient.one("select pg_sleep(0.02)")
        sleeper.close()


def test_the_remedy_for_all_tables_is_safe_while_capture_runs(patient: Patient) -> None:
    """Between drop and create nothing may be decoded: both are in one transaction."""
    patient.run("drop publication bitvelocity; create publication bitvelocity for all tables")
    patient.run(f"select pg_create_logical_replication_slot('{patient.slot}', 'pgoutput')")
    patient.run("insert into orders values (1, 'a')")
    (found,) = patient.find("publication")
    assert found.remedy
    patient.run(found.remedy)
    patient.run("insert into orders values (2, 'b')")
    count = "select count(*) from pg_logical_slot_get_binary_changes('{}', null, null, 'proto_version', '1', 'publication_names', 'bitvelocity') where get_byte(data, 0) = 73"
    assert patient.one(count.format(patient.slot)) == 2


def test_before_the_first_start_nothing_is_missing(patient: Patient) -> None:
    patient.run("drop publication bitvelocity")
    assert [check.state for check in patient.look(begun=False) if check.name == "publication"] == ["ok"]
    (found,) = patient.find("publication")
    assert (found.state, found.remedy) == ("bad", "bitvelocity apply")


def test_spilled_transactions(patient: Patient) -> None:
    name = "logical_decoding_work_mem"
    patient.run(f"alter system set {name} = '64kB'; select pg_reload_conf()")
    patient.run(f"select pg_create_logical_replication_slot('{patient.slot}', 'pgoutput')")
    patient.run("insert into orders select n, repeat('x', 100) from generate_series(1, 20000) as n")
    patient.one(
        f"select count(*) from pg_logical_slot_get_binary_changes('{patient.slot}', null, null, 'proto_version', '1', 'publication_names', 'bitvelocity')"
    )
    while not (found := patient.find(name)):
        patient.one("select pg_sleep(0.02)")
    assert "to its disk for the slot" in found[0].what
    assert found[0].remedy
    patient.run(found[0].remedy)
    while patient.find(name):
        patient.one("select pg_sleep(0.02)")


def test_a_slot_that_was_given_up_still_takes_a_place(patient: Patient) -> None:
    patient.run(f"select pg_create_physical_replication_slot('gone_{patient.role}', true)")
    patient.run("alter system set max_slot_wal_keep_size = '1MB'; select pg_reload_conf(); alter system set max_wal_size = '32MB'")
    patient.run("select pg_reload_conf()")
    for _ in range(8):
        patient.run("insert into orders select n, 'x' from generate_series(1, 100) as n; delete from orders; select pg_switch_wal(); checkpoint")
    (found,) = patient.find("other slots")
    assert "was given up by the server" in found.what
    assert found.remedy
    patient.run(found.remedy)
    assert patient.find("other slots") == []


def test_a_slot_is_left_for_the_copy_that_reads_a_backlog(patient: Patient) -> None:
    """While that copy is there it is what is missing elsewhere."""
    most = patient.one("select current_setting('max_replication_slots')::int - count(*)::int from pg_replication_slots")
    patient.run(f"select pg_create_logical_replication_slot('{patient.slot}', 'pgoutput')")
    patient.run(f"select pg_create_physical_replication_slot('{patient.slot}_' || n) from generate_series(1, {most - 3}) n")
    (found,) = patient.find("max_replication_slots")
    assert "a backlog's copy of our slot needs one more" in found.what
    patient.run(f"select pg_drop_replication_slot('{patient.slot}_1')")
    assert patient.find("max_replication_slots") == []
    with connect(patient.dsn, autocommit=True) as reader:
        reader.execute("select pg_copy_logical_replication_slot(%s, %s, true)", [patient.slot, f"{patient.slot}_copy"])
        assert patient.find("max_replication_slots") == []
        assert not [check for check in patient.find("other slots", limits=STRICT) if "_copy" in check.what]
    mine = f"slot_name like '{patient.slot}_%' and not temporary"  # the copy goes with its connection, in its own time
    patient.run(f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where {mine}")


def test_timeouts_of_the_role_are_set_aside(patient: Patient) -> None:
    patient.run(f"alter role {patient.role} set statement_timeout = '9s'; alter role {patient.role} set idle_session_timeout = '8s'")
    (found,) = [check for check in patient.look(as_role=True) if check.name == "timeouts"]
    assert found.state == "ok"
    assert "idle_session_timeout = 8 s" in found.what
    assert "statement_timeout = 9 s" in found.what
    patient.run(f"alter role {patient.role} reset all")
    assert not [check for check in patient.look(as_role=True) if check.name == "timeouts"]


def test_every_check_is_in_the_page() -> None:
    """`docs/how-to/run-doctor.md` names each check that the code can print."""
    root = Path(__file__).resolve().parents[4]
    page = (root / "docs" / "how-to" / "run-doctor.md").read_text()
    sources = [*(root / "src/bitvelocity/oltp/checks").glob("*.py"), root / "src/bitvelocity/flow/doctor.py"]
    text = "\n".join(file.read_text() for file in sources)
    names = set(re.findall(r'(?:\b(?:fine|warn|bad|_failed|Check)\(|\bname(?:, \w+)? = )"([a-z_ ]+)"', text))
    assert len(names) > 30
    assert not {name for name in names if f"`{name}`" not in page}
