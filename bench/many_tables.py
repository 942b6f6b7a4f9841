"""A thousand tables in one publication: WAL to decoded batches, beside one table with as many rows.

    python bench/many_tables.py [--tables 1000] [--rows 1000000] [--rounds 3]

"one" writes all rows into one of the published tables, "many" spreads them evenly, a hundred rows of one table in a
transaction. Both are read by `pg_recvlogical -f /dev/null` and by `WalSource`. Goal: at most 1.2 times
the time with many; the CPU of the source for a row is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
from typing import Any

import psycopg
from capture_drain import Drain, drain, recvlogical
from shop import Shop, open_shop

from bitvelocity.changes import parse_lsn

TABLE = """create table {name} (id bigint primary key, customer text, status text, amount numeric(10,2), currency text,
    created_at timestamptz, created_by text, updated_at timestamptz, updated_by text, version int, note text, extra text)"""
FILL = """insert into {name} select i, md5(i::text), 'PENDING', i % 1000, 'USD', now(), 'app', now(), 'app', 1, null, 'x'
    from generate_series({first}, {last}) i"""
SIZE = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with open_shop() as shop:
        names = [f"wide_{number}" for number in range(options.tables)]
        make(shop, names)
        result: dict[str, Any] = {
            "one": measure(shop, [names[0]], options.rows, options.rounds, first=1),
            "many": measure(shop, names, options.rows, options.rounds, first=1 << 40),
        }
    result["cpu_ratio"] = round(result["many"]["cpu_us"] / result["one"]["cpu_us"], 3)
    result["seconds_ratio"] = round(result["many"]["seconds"] / result["one"]["seconds"], 3)
    result["peer_ratio"] = round(result["many"]["peer"] / result["one"]["peer"], 3)
    if options.json:
        print(json.dumps(result))
        return
    for name in ("one", "many"):
        line = result[name]
        print(f"{name:<5} {line['rows'] / line['seconds']:>10,.0f} rows/s, {line['cpu_us']:.2f} us of CPU per row; "
              f"pg_recvlogical {line['rows'] / line['peer']:,.0f} rows/s")  # fmt: skip
    print(f"many / one: {result['cpu_ratio']:.2f} of the CPU, {result['seconds_ratio']:.2f} of the time "
          f"(pg_recvlogical: {result['peer_ratio']:.2f})")  # fmt: skip


def make(shop: Shop, names: list[str]) -> None:
    with psycopg.connect(shop.dsn, autocommit=True) as connection:
        for name in names:
            connection.execute(TABLE.format(name=name).encode())
        connection.execute(f"alter publication bitvelocity add table {', '.join(names)}".encode())


def measure(shop: Shop, names: list[str], rows: int, rounds: int, *, first: int) -> dict[str, float]:
    shop.slot("master")
    with psycopg.connect(shop.dsn, autocommit=True, options="-c synchronous_commit=off") as connection:
        for number in range(rows // SIZE):
            start = first + number * SIZE
            fill = FILL.format(name=names[number % len(names)], first=start, last=start + SIZE - 1)
            connection.execute(fill.encode())
    shop.sql("select pg_logical_emit_message(true, 'bench', 'written')")
    end = shop.end()
    shop.sql("select pg_logical_emit_message(true, 'bench', 'end')")
    peers, drains = [], list[Drain]()
    for _ in range(rounds):
        peers.append(recvlogical(shop, end))
        drains.append(drain(shop, parse_lsn(end)))
    shop.drop_slot("master")
    return {
        "rows": drains[0].rows,
        "peer": statistics.median(peers),
        "seconds": statistics.median(d.seconds for d in drains),
        "cpu_us": statistics.median(d.cpu for d in drains) / drains[0].rows * 1e6,
    }


if __name__ == "__main__":
    main()
