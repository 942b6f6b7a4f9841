"""What it costs to know who changed a million rows.

    python bench/audit_cost.py [--rows 1000000] [--rounds 3]

One UPDATE of all rows of an `orders` table with 12 columns, in one transaction, changing the same four columns:

| way | what it is |
|---|---|
| none | plain PostgreSQL; the statement itself sets updated_at, updated_by and version |
| context | the same with `audit(...)` around it: one message in the WAL, which capture joins to every row |
| strict | context, and the statement trigger of `audit_context="strict"`, which asks for it |
| fallback | plain without `audit(...)`, and the trigger of `audit_context="fallback"`, which tells of the session |
| ours | a table made by `apply`, whose trigger stamps those three columns, and `audit(...)` |
| ours, said | the same, and the statement sets the three columns as the trigger would, which is then not called |
| sync trail | context, and `audit_trail="sync"` with `audit_changed_only=True`: one statement trigger |
| row trigger | plain, and a trigger per row writes old and new values as jsonb into `orders_audit` |

The ways take turns, in another order each round, each on a table of its own that was just rewritten. Reported are the
medians of wall time, CPU time of the server process and WAL, and their ratios to none. Goal: knowing who did it, in
the lake, costs at most 1.1 (context / none), and that nobody stays unknown at most 1.05 more (strict / context). A trigger that stamps each row
costs what a trigger costs (ours), unless the statement says the stamps (ours, said / none: at most 1.1).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import psycopg
from psycopg import Connection, sql

from bitvelocity.contracts import Bits, Default, Entity, Key, Length, Numeric
from bitvelocity.oltp import EmbeddedPostgres, apply, audit, plan

COLUMNS = """
  order_id uuid primary key default gen_random_uuid(), customer_id uuid not null, status text not null,
  total_amount numeric(10,2) not null, currency char(3) not null default 'USD',
  created_at timestamptz not null default now(), created_by varchar(255) not null,
  updated_at timestamptz not null default now(), updated_by varchar(255) not null,
  version integer not null default 1, deleted_at timestamptz, deleted_by varchar(255)"""
JSONB_TRIGGER = """
create table orders_audit (
  audit_id bigserial primary key, order_id uuid not null, operation_type varchar(10) not null,
  operation_timestamp timestamptz not null default now(), operation_user varchar(255) not null,
  old_values jsonb, new_values jsonb, correlation_id uuid);
create function record_row() returns trigger language plpgsql as $$ begin
  insert into orders_audit (order_id, operation_type, operation_user, old_values, new_values, correlation_id)
  values (new.order_id, tg_op, current_setting('bench.user'), to_jsonb(old), to_jsonb(new),
          current_setting('bench.correlation_id')::uuid);
  return null; end $$;
create trigger record_row after update on orders_jsonb for each row execute function record_row()"""
GUARD = "create trigger bv_context before insert or update or delete or truncate on {} for each statement execute function bv.{}()"
FILL = """
insert into {} (customer_id, status, total_amount, currency, created_by, updated_by)
select gen_random_uuid(), 'PENDING', (random() * 1000)::numeric(10,2), 'USD', 'load', 'load'
  from generate_series(1, %s)"""
PLAIN = "update {} set status = 'SHIPPED', updated_at = now(), updated_by = 'bench', version = version + 1"
STAMPED = "update {} set status = 'SHIPPED'"
SETTINGS = {"shared_buffers": "1GB", "max_wal_size": "8GB", "checkpoint_timeout": "30min", "autovacuum": "off"}
TICKS = os.sysconf("SC_CLK_TCK")


class BenchOrder(Entity, table="orders_ours", replica_identity="default"):
    """The table as `apply` makes it; the audit columns come by themselves."""

    order_id: Annotated[UUID, Key(), Default("gen_random_uuid()")]
    customer_id: UUID
    status: str
    total_amount: Annotated[Decimal, Numeric(10, 2)]
    currency: Annotated[str, Length(3, fixed=True), Default("'USD'")]


class TrailedOrder(Entity, table="orders_trail", replica_identity="default", audit=False, audit_trail="sync", audit_changed_only=True):
    """The same columns without our stamps, and a trail kept by the statement trigger."""

    order_id: Annotated[UUID, Key(), Default("gen_random_uuid()")]
    customer_id: UUID
    status: str
    total_amount: Annotated[Decimal, Numeric(10, 2)]
    currency: Annotated[str, Length(3, fixed=True), Default("'USD'")]
    created_at: Annotated[datetime, Default("now()")]
    created_by: Annotated[str, Length(255)]
    updated_at: Annotated[datetime, Default("now()")]
    updated_by: Annotated[str, Length(255)]
    version: Annotated[int, Bits(32), Default("1")]
    deleted_at: datetime | None
    deleted_by: Annotated[str | None, Length(255)]


@dataclass(frozen=True, slots=True)
class Cost:
    wall: float
    cpu: float
    wal_mb: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_server() as dsn:
        make_tables(dsn)
        costs = measure(dsn, options.rows, options.rounds)
    result = {way: summary(costs[way], costs["none"]) for way in WAYS}
    if options.json:
        print(json.dumps(result))
        return
    print(f"UPDATE of {options.rows:,} rows, medians of {options.rounds} rounds (ratio to none)")
    for way, row in result.items():
        figures = "   ".join(f"{name} {row[name]:8.1f} ({row[name + '_ratio']:.2f})" for name in UNITS)
        print(f"  {way:<12} {figures}")


@contextmanager
def open_server() -> Iterator[str]:
    """A server of its own, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bv-bench-"))
    folder.chmod(0o755)
    engine = EmbeddedPostgres(folder / "pg", settings=SETTINGS)
    try:
        yield engine.start().dsn
    finally:
        engine.stop()
        for link in (folder / "pg").glob("*"):
            if link.is_symlink():
                shutil.rmtree(link.resolve(), ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def make_tables(dsn: str) -> None:
    apply(dsn, plan(dsn, [BenchOrder.spec, TrailedOrder.spec]))
    with psycopg.connect(dsn) as connection:
        for table in ("orders_none", "orders_context", "orders_strict", "orders_fallback", "orders_jsonb"):
            connection.execute(sql.SQL("create table {} ({})").format(sql.Identifier(table), sql.SQL(COLUMNS)))
        for mode in ("strict", "fallback"):
            connection.execute(sql.SQL(GUARD).format(sql.Identifier(f"orders_{mode}"), sql.Identifier(f"context_{mode}")))
        connection.execute(JSONB_TRIGGER)
        triggers = connection.execute("select count(*) from pg_trigger where tgrelid = 'orders_ours'::regclass")
        assert triggers.fetchone() != (0,), "apply made no trigger: this would measure nothing"


def measure(dsn: str, rows: int, rounds: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {way: [] for way in WAYS}
    ways = list(WAYS)
    for _ in range(rounds):
        for way in ways:
            refill(dsn, way, rows)
            with psycopg.connect(dsn) as connection:
                costs[way].append(cost(connection, way))
                check(connection, way, rows)
        ways = ways[1:] + ways[:1]
    return costs


def refill(dsn: str, way: str, rows: int) -> None:
    """The same rows in a new file, their hint bits set, and nothing left for a checkpoint to write."""
    table = sql.Identifier(TABLES[way])
    with psycopg.connect(dsn, autocommit=True) as connection:
        with connection.transaction(), audit(connection, user="bench"):
            connection.execute(sql.SQL("truncate {}").format(table))
        connection.execute("truncate orders_audit, orders_trail_audit")
        with connection.transaction(), audit(connection, user="bench"):
            connection.execute(sql.SQL(FILL).format(table), [rows])
        connection.execute(sql.SQL("vacuum analyze {}").format(table))
        connection.execute("checkpoint")


def cost(connection: Connection[Any], way: str) -> Cost:
    """One UPDATE with what belongs to it, from its first statement to its COMMIT."""
    connection.execute("select 1").fetchone()
    connection.commit()
    process = connection.info.backend_pid
    wal, cpu, began = position(connection), cpu_seconds(process), time.perf_counter()
    WAYS[way](connection)
    connection.commit()
    wall = time.perf_counter() - began
    return Cost(wall, cpu_seconds(process) - cpu, (position(connection) - wal) / 1e6)


def update_plainly(connection: Connection[Any]) -> None:
    connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["none"])))


def update_with_context(connection: Connection[Any]) -> None:
    with audit(connection, user="bench", source="bench"):
        connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["context"])))


def update_guarded(connection: Connection[Any]) -> None:
    with audit(connection, user="bench", source="bench"):
        connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["strict"])))


def update_trailed(connection: Connection[Any]) -> None:
    with audit(connection, user="bench", source="bench"):
        connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["sync trail"])))


def update_anonymously(connection: Connection[Any]) -> None:
    connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["fallback"])))


def update_stamped(connection: Connection[Any]) -> None:
    with audit(connection, user="bench", source="bench"):
        connection.execute(sql.SQL(STAMPED).format(sql.Identifier(TABLES["ours"])))


def update_saying_stamps(connection: Connection[Any]) -> None:
    with audit(connection, user="bench", source="bench"):
        connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["ours, said"])))


def update_with_row_trigger(connection: Connection[Any]) -> None:
    connection.execute(
        "select set_config('bench.user', 'bench', true), set_config('bench.correlation_id', gen_random_uuid()::text, true)"
    )
    connection.execute(sql.SQL(PLAIN).format(sql.Identifier(TABLES["row trigger"])))


WAYS = {
    "none": update_plainly,
    "context": update_with_context,
    "strict": update_guarded,
    "fallback": update_anonymously,
    "ours": update_stamped,
    "ours, said": update_saying_stamps,
    "sync trail": update_trailed,
    "row trigger": update_with_row_trigger,
}
TABLES = {
    "none": "orders_none", "context": "orders_context", "strict": "orders_strict", "fallback": "orders_fallback",
    "ours": "orders_ours", "ours, said": "orders_ours", "sync trail": "orders_trail", "row trigger": "orders_jsonb",
}  # fmt: skip
UNITS = {"wall_s": "wall", "cpu_s": "cpu", "wal_mb": "wal_mb"}


def check(connection: Connection[Any], way: str, rows: int) -> None:
    """All rows were updated and say who did it."""
    stamped = sql.SQL("select count(*) from {} where updated_by = 'bench' and version = 2 and status = 'SHIPPED'")
    found = connection.execute(stamped.format(sql.Identifier(TABLES[way]))).fetchone()
    assert found == (rows,), f"{way}: {found} of {rows} rows are stamped"
    connection.commit()


def position(connection: Connection[Any]) -> int:
    row = connection.execute("select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint").fetchone()
    connection.commit()
    assert row is not None
    return int(row[0])


def cpu_seconds(process: int) -> float:
    """User and system time of a process on this machine."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def summary(costs: list[Cost], none: list[Cost]) -> dict[str, float]:
    """Medians, and the median of the rounds' ratios to none."""
    out = {}
    for name, field in UNITS.items():
        values, peers = ([getattr(item, field) for item in side] for side in (costs, none))
        out[name] = statistics.median(values)
        out[name + "_ratio"] = statistics.median(a / b for a, b in zip(values, peers, strict=True))
    return out


if __name__ == "__main__":
    main()
