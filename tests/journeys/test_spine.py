"""One order's way, end to end: the commerce project, its own PostgreSQL, a replay, and every layer held to account."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bitvelocity.changes import parse_lsn
from bitvelocity.flow import (
    Database,
    Project,
    flowing,
    open_project,
    open_reader,
    prepare,
    prove,
    source_database,
    wait_until,
)
from bitvelocity.oltp import connect
from bitvelocity.serving import ask, trace
from bitvelocity.templates import copy_project
from bitvelocity.templates.commerce.fates import Rates, Step, write_story
from bitvelocity.templates.commerce.replay import Replay
from bitvelocity.templates.commerce.shop import correlation

SEED = 7
LINES = 2_500
RATES = Rates(corrected=0.02, erased=0.01, dropped=0.02)
"""More of what is rare in life, so that a short replay has it all."""

WITNESSED = """
select c.relname, count(*)
  from pg_logical_slot_peek_binary_changes('witness', null, null, 'proto_version', '1',
                                           'publication_names', 'bitvelocity') as m
  join pg_class c on c.oid = ('x' || encode(substr(data, 2, 4), 'hex'))::bit(32)::bigint
 where chr(get_byte(data, 0)) in ('I', 'U', 'D')
 group by 1
"""


@contextmanager
def running_shop(folder: Path) -> Iterator[tuple[Project, Database]]:
    copy_project("commerce", folder)
    project = open_project(folder)
    with source_database(project) as database:
        prepare(project, database.dsn)
        yield project, database


def answer(project: Project, sql: str) -> list[dict[str, Any]]:
    with open_reader(project) as reader:
        return ask(reader, sql).as_dicts()


def test_a_replay_from_insert_to_gold(open_folder: Path) -> None:
    """One journey, told in order: each part needs the one before it."""
    with running_shop(open_folder / "shop") as (project, database):
        with connect(database.dsn, autocommit=True) as connection:
            connection.execute("select pg_create_logical_replication_slot('witness', 'pgoutput')")
        replay = Replay(database.dsn, lines=LINES, seed=SEED, synthetic=True, rates=RATES)
        with flowing(project, database) as check:
            wait_until(project, 0, check)
            for _ in replay.run():
                check()
            verdict = prove(project, database, check)
        assert verdict.ok, verdict.as_dict()
        assert {entity.entity: entity.source for entity in verdict.entities} == replay.expected().rows
        gold_equals_the_books(project, replay)
        bronze_has_each_event_once(project, database)
        the_corrected_order_tells_its_life(project, replay)


def gold_equals_the_books(project: Project, replay: Replay) -> None:
    found = answer(project, "select * from gold.daily_sales order by order_date_key")
    assert found
    books = [
        (int(f"{day.day:%Y%m%d}"), day.order_count, day.unique_customers, day.total_revenue)
        for day in replay.expected().days
    ]
    columns = ("order_date_key", "order_count", "unique_customers", "total_revenue")
    assert [tuple(row[name] for name in columns) for row in found] == books


def bronze_has_each_event_once(project: Project, database: Database) -> None:
    with connect(database.dsn) as connection:
        witnessed: dict[str, int] = dict(connection.execute(WITNESSED).fetchall())
    assert witnessed.keys() == {spec.table for spec in project.specs}
    everything = []
    for spec in project.specs:
        everything.append(f"select _lsn, _ordinal from bronze.{spec.name}")
        count = f"select count(*) as events, count(distinct (_lsn, _ordinal)) as places from bronze.{spec.name}"
        assert answer(project, count) == [{"events": witnessed[spec.table], "places": witnessed[spec.table]}], spec.name
    count = f"select count(distinct (_lsn, _ordinal)) as places from ({' union all '.join(everything)})"
    assert answer(project, count) == [{"places": sum(witnessed.values())}], "no place belongs to two tables"


def the_corrected_order_tells_its_life(project: Project, replay: Replay) -> None:
    order = replay.corrected
    assert order
    with open_reader(project) as reader:
        found = trace(reader, project.specs, project.models, "orders", order)
    told = [(change.user, change.correlation_id) for change in found.changes]
    number = replay.shop.orders["order_id"].to_list().index(order)
    assert [who for who, _ in groupby(told)] == list(steps_of(number, replay))
    assert [change.position for change in found.changes] == sorted(
        (change.position for change in found.changes), key=place
    )
    assert found.current is not None
    assert found.current["version"] == len(found.changes)
    assert [stand.model for stand in found.gold][:2] == ["gold.order_facts", "gold.daily_sales"]
    fact = found.gold[0].rows[0]
    assert fact["total_amount"] == found.current["total_amount"]


def steps_of(order: int, replay: Replay) -> Iterator[tuple[str, str]]:
    """User and correlation id of each step that touched an order, by the story that the replay tells."""
    items = replay.shop.items["order"].to_numpy()

    def touched(step: Step) -> bool:
        match step.kind:
            case "customers" | "products" | "rename" | "readings":
                return False
            case "correct" | "drop":
                return bool((items[step.rows] == order).any())
            case _:
                return bool((step.rows == order).any())

    for number, step in enumerate(write_story(replay.shop, RATES, SEED)):
        if touched(step):
            yield step.user, str(correlation(SEED, number))


def place(position: str) -> tuple[int, int]:
    lsn, _, ordinal = position.partition(":")
    return parse_lsn(lsn), int(ordinal)


ORDER = """
with buyer as (
  insert into customers (customer_number, name, email) values (1, 'Ada', 'ada@example.org') returning customer_id
)
insert into orders (customer_id, subtotal, total_amount, created_at) select customer_id, %s, %s, '2024-02-29 12:00+00' from buyer
"""


def test_an_insert_is_in_gold_while_up_runs(
    open_folder: Path,
    up: Callable[..., tuple[subprocess.Popen[str], dict[str, Any]]],
    bitvelocity: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    folder = open_folder / "shop"
    copy_project("commerce", folder)
    process, served = up(folder)
    dsn = served["source"].removeprefix("psql '").removesuffix("'")
    project = open_project(folder)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for amount in ("10.10", "0.05"):
            connection.execute(ORDER.replace("values (1", f"values ({amount[-1]}"), [amount, amount])
        wait_until(project, end_of(connection), lambda: still_runs(process))
    asked = bitvelocity("query", "select order_count, total_revenue from gold.daily_sales", "--json", cwd=folder)
    assert json.loads(asked.stdout) == {"rows": [{"order_count": 2, "total_revenue": "10.15"}], "more": False}
    level = json.loads(bitvelocity("status", "--json", cwd=folder).stdout)
    assert level["running"]["pid"] == process.pid
    process.terminate()
    assert process.wait() == 0
    assert json.loads(bitvelocity("status", "--json", cwd=folder).stdout)["running"] is None
    assert bitvelocity("query", "from gold.daily_sales", "--json", cwd=folder).stdout, "the lake is read without up"


def end_of(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("select pg_logical_emit_message(true, 'a watermark', '')").fetchone()
    assert row
    return parse_lsn(row[0])


def still_runs(process: subprocess.Popen[str]) -> None:
    if process.poll() is not None:
        pytest.fail("up ended")
