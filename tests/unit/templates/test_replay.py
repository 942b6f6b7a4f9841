"""A replay in a real database, held against its own books."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import conninfo

from bitvelocity.contracts import load_specs
from bitvelocity.errors import DatabaseError
from bitvelocity.oltp import apply, plan
from bitvelocity.templates import project_folder
from bitvelocity.templates.commerce import Expected, Rates, Replay
from bitvelocity.templates.commerce.fates import write_story
from bitvelocity.templates.commerce.ledger import Ledger
from bitvelocity.templates.commerce.retail import WINDOW
from bitvelocity.templates.commerce.telemetry import install_devices
from bitvelocity.templates.commerce.witness import Witnesses

LINES = 5_000
EVENTFUL = Rates(cancelled=0.06, refunded=0.06, hidden=0.06, erased=0.06, corrected=0.03, dropped=0.03, renamed=0.05)
TABLES = ("customers", "products", "orders", "order_items", "payments", "device_telemetry")
SUMS = ("subtotal", "discount_amount", "tax_amount", "shipping_amount", "total_amount")
STAMPS = "array['updated_at', 'deleted_at', 'created_at']"


@pytest.fixture
def shop_dsn(database: str) -> str:
    """DSN of a database with the tables of the commerce project."""
    apply(database, plan(database, load_specs(project_folder("commerce") / "entities.py")))
    return database


def ask(dsn: str, text: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text).fetchall()


def assert_equal_to_books(dsn: str, books: Expected) -> None:
    assert {table: ask(dsn, f"select count(*) from {table}")[0][0] for table in TABLES} == books.rows
    assert dict(ask(dsn, "select status, count(*) from orders group by 1")) == books.statuses
    assert ask(dsn, "select count(*) from orders where deleted_at is not null") == [(books.soft_deleted,)]
    sums = ", ".join(f"coalesce(sum({name}), 0)" for name in SUMS)
    assert ask(dsn, f"select {sums} from orders")[0] == tuple(getattr(books, name) for name in SUMS)
    assert ask(dsn, SALES) == [(day.day, day.order_count, day.unique_customers, day.total_revenue) for day in books.days]
    assert ask(dsn, WRONG) == [(0,)]


SALES = """
select (created_at at time zone 'UTC')::date, count(*), count(distinct customer_id), sum(total_amount)
  from orders where deleted_at is null and status not in ('CANCELLED', 'REFUNDED') group by 1 order by 1"""
WRONG = """
select count(*)
  from orders o
  left join (select order_id, sum(total_amount) as total from order_items group by 1) i using (order_id)
  left join payments p using (order_id)
 where o.total_amount is distinct from i.total + o.shipping_amount
    or o.total_amount is distinct from o.subtotal - o.discount_amount + o.tax_amount + o.shipping_amount
    or p.amount is distinct from o.total_amount"""


def contents(dsn: str) -> dict[str, Any]:
    """A digest of each table, without the times at which rows were written."""
    text = "select count(*), md5(string_agg(r, ' ' order by r)) from (select (to_jsonb(t) - {stamps})::text r from {table} t) x"
    return {table: ask(dsn, text.format(stamps=STAMPS, table=table)) for table in TABLES}


def run(replay: Replay) -> Replay:
    for _ in replay.run():
        pass
    return replay


def empty(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f"truncate {', '.join(TABLES)}")


@pytest.mark.parametrize("synthetic", [True, False], ids=["synthetic", "real if installed"])
def test_the_database_holds_what_the_books_say(shop_dsn: str, synthetic: bool) -> None:
    replay = run(Replay(shop_dsn, lines=LINES, synthetic=synthetic, rates=EVENTFUL))
    books = replay.expected()
    assert replay.finished
    assert replay.of_lines >= LINES
    assert set(books.statuses) >= {"DELIVERED", "CANCELLED", "REFUNDED"}
    assert books.soft_deleted
    assert books.rows["order_items"] < replay.of_lines
    assert books.rows["orders"] < replay.shop.orders.height
    assert_equal_to_books(shop_dsn, books)


def test_two_replays_write_the_same_rows(shop_dsn: str) -> None:
    run(Replay(shop_dsn, lines=2_000, synthetic=True, rates=EVENTFUL))
    first = contents(shop_dsn)
    empty(shop_dsn)
    run(Replay(shop_dsn, lines=2_000, synthetic=True, rates=EVENTFUL))
    assert contents(shop_dsn) == first


def test_it_can_be_stopped_at_any_moment(shop_dsn: str) -> None:
    stopped = Replay(shop_dsn, lines=LINES, synthetic=True, rates=EVENTFUL)
    for progress in stopped.run():
        if progress.transactions in {1, 2, 7, 30}:
            assert_equal_to_books(shop_dsn, stopped.expected())
        if progress.transactions == 60:
            break
    assert_equal_to_books(shop_dsn, stopped.expected())
    assert not stopped.finished
    assert_equal_to_books(shop_dsn, run(stopped).expected())


def test_a_new_process_goes_on_where_the_last_one_stopped(shop_dsn: str) -> None:
    whole = run(Replay(shop_dsn, lines=LINES, synthetic=True, rates=EVENTFUL))
    wanted, total = contents(shop_dsn), _transactions(whole)
    empty(shop_dsn)
    for stop in (1, 3, 41, 90):
        for progress in Replay(shop_dsn, lines=LINES, synthetic=True, rates=EVENTFUL).run():
            if progress.transactions >= stop:
                break
        assert progress.transactions == stop
    last = run(Replay(shop_dsn, lines=LINES, synthetic=True, rates=EVENTFUL))
    assert _transactions(last) == total
    assert contents(shop_dsn) == wanted
    assert last.expected() == whole.expected()


def test_more_lines_go_on_from_fewer(shop_dsn: str) -> None:
    run(Replay(shop_dsn, lines=3_000, synthetic=True, rates=EVENTFUL))
    run(Replay(shop_dsn, lines=6_000, synthetic=True, rates=EVENTFUL))
    grown = contents(shop_dsn)
    empty(shop_dsn)
    at_once = run(Replay(shop_dsn, lines=6_000, synthetic=True, rates=EVENTFUL))
    assert contents(shop_dsn) == grown
    assert_equal_to_books(shop_dsn, at_once.expected())


def test_a_finished_replay_has_nothing_to_do(shop_dsn: str) -> None:
    done = run(Replay(shop_dsn, lines=500, synthetic=True))
    again = Replay(shop_dsn, lines=500, synthetic=True)
    assert list(again.run()) == []
    assert again.finished
    assert again.expected() == done.expected()


def test_lost_connections_lose_and_repeat_nothing(shop_dsn: str) -> None:
    replay = Replay(shop_dsn, lines=2_000, synthetic=True, rates=EVENTFUL)
    killed = 0
    with psycopg.connect(shop_dsn, autocommit=True) as admin:
        admin.execute(CUT_OFF)  # every 17th order that is placed, in the middle of its transaction
        for progress in replay.run():
            if progress.transactions % 5 == 0:
                killed += admin.execute(KILL).rowcount
    assert killed > 10
    assert replay.finished
    assert_equal_to_books(shop_dsn, replay.expected())


@pytest.mark.parametrize("committed", [True, False])
def test_a_pipeline_that_ends_oddly_is_begun_again(shop_dsn: str, monkeypatch: pytest.MonkeyPatch, committed: bool) -> None:
    """As psycopg may do when the server is killed: the error has no SQLSTATE, and the connection claims to be open."""
    replay, write, calls = Replay(shop_dsn, lines=500, synthetic=True, rates=EVENTFUL), Replay._write, iter(range(1000))

    def cut(self: Replay, *what: Any) -> None:
        odd = next(calls) % 5 == 3
        if committed or not odd:
            write(self, *what)
        if odd:
            raise psycopg.OperationalError("cannot exit pipeline mode while busy")

    monkeypatch.setattr(Replay, "_write", cut)
    assert_equal_to_books(shop_dsn, run(replay).expected())


KILL = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
 where application_name = 'shop' and datname = current_database()"""
CUT_OFF = """
create sequence cuts;
create function cut_off() returns trigger language plpgsql as $$ begin
  if nextval('cuts') % 17 = 0 then perform pg_terminate_backend(pg_backend_pid()); end if;
  return null; end $$;
create trigger cut_off after insert on orders for each statement execute function cut_off()"""


def test_every_step_can_be_seen_in_the_database(shop_dsn: str) -> None:
    replay = Replay(shop_dsn, lines=2_000, synthetic=True, rates=EVENTFUL)
    story = list(write_story(replay.shop, EVENTFUL, 7))
    witnesses = Witnesses(replay.shop, install_devices(replay.shop, WINDOW), story)
    with psycopg.connect(shop_dsn, autocommit=True) as reader:
        assert not witnesses.is_written(reader, 0)
        for progress in replay.run():
            done = progress.transactions
            assert witnesses.is_written(reader, done - 1), story[done - 1].kind
            assert done == len(story) or not witnesses.is_written(reader, done), story[done].kind


def test_another_story_in_the_database_is_refused(shop_dsn: str) -> None:
    run(Replay(shop_dsn, lines=500, seed=1, synthetic=True, rates=EVENTFUL))
    before = contents(shop_dsn)
    other = Replay(shop_dsn, lines=500, seed=1, synthetic=True, rates=Rates(corrected=0.2))
    with pytest.raises(DatabaseError, match="another replay") as caught:
        run(other)
    assert caught.value.remedy
    assert contents(shop_dsn) == before


def test_missing_tables_are_said_to_be_missing(database: str) -> None:
    with pytest.raises(DatabaseError, match="does not have the shop's tables") as caught:
        run(Replay(database, lines=100, synthetic=True))
    assert "apply" in str(caught.value.remedy)


def test_an_unknown_database_is_named(database: str) -> None:
    with pytest.raises(DatabaseError, match="nowhere"):
        run(Replay(conninfo.make_conninfo(database, dbname="nowhere"), lines=100, synthetic=True))


def test_each_transaction_has_its_user(shop_dsn: str) -> None:
    replay = run(Replay(shop_dsn, lines=LINES, synthetic=True, rates=EVENTFUL))
    assert ask(shop_dsn, "select distinct created_by from orders") == [("checkout-service",)]
    writers = {user for (user,) in ask(shop_dsn, "select distinct updated_by from orders")}
    assert writers >= {"warehouse", "carrier", "customer-portal", "returns-service", "fraud-desk"}
    deleted = "select distinct deleted_by from orders where deleted_at is not null"
    assert ask(shop_dsn, deleted) == [("fraud-desk",)]
    assert ask(shop_dsn, f"select version > 1 from orders where order_id = '{replay.corrected}'") == [(True,)]


def test_days_before_the_first_transaction_are_empty(shop_dsn: str) -> None:
    replay = Replay(shop_dsn, lines=500, synthetic=True)
    assert replay.expected().days == ()
    assert replay.expected().revenue == 0
    assert replay.corrected is None


def _transactions(replay: Replay) -> int:
    return len(list(write_story(replay.shop, EVENTFUL, 7)))


def test_books_start_over_with_each_ledger() -> None:
    replay = Replay("", lines=500, synthetic=True)
    before = replay.shop.items["total"].sum()
    ledger = Ledger(replay.shop, install_devices(replay.shop, WINDOW))
    for step in write_story(replay.shop, EVENTFUL, 7):
        ledger.apply(step)
    assert replay.shop.items["total"].sum() == before
