"""The first snapshot of a table of 12 columns: rows to Arrow, by one reader and by several, against psql's COPY.

    python bench/first_snapshot.py [--rows 1000000] [--readers 1,2,4] [--rounds 2]

CPU seconds are our process's own (all its threads) and the server's (its backends), wall seconds are told beside them.
`psql` copies the same columns into /dev/null. Needs nothing: an embedded PostgreSQL is started.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.oltp import EmbeddedPostgres, Server, connect, find_binaries

TABLE = """
create table orders (order_id uuid primary key, customer_id uuid, status text, total_amount numeric(12,2), currency text,
  created_at timestamptz, created_by text, updated_at timestamptz, updated_by text, version int, deleted_at timestamptz, deleted_by text)
"""
FILL = """
insert into orders select gen_random_uuid(), gen_random_uuid(), 'CREATED', i / 7.0, 'EUR', now(), 'user ' || i %% 1000, now(),
  'user ' || i %% 1000, 1, null, null from generate_series(1, %s) i
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--readers", default="1,2,4")
    parser.add_argument("--rounds", type=int, default=2)
    words = parser.parse_args()
    with serving(words.rows) as server:
        ways: dict[str, Callable[[], int]] = {"psql": lambda: psql(server)}
        for readers in map(int, words.readers.split(",")):
            ways[f"{readers} readers"] = lambda readers=readers: ours(server, readers)  # type: ignore[misc]
        for name, way in ways.items():
            best = min((measured(way, server) for _ in range(words.rounds)), key=lambda found: found["cpu"])
            print(json.dumps({"way": name, **best}))


@contextmanager
def serving(rows: int) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="bv-bench-") as folder:
        Path(folder).chmod(0o755)
        with EmbeddedPostgres(Path(folder) / "pg", settings={"fsync": "off", "shared_buffers": "512MB"}) as server:
            with connect(server.dsn, autocommit=True) as connection:
                connection.execute(TABLE)
                connection.execute(FILL, [rows])
                connection.execute("vacuum (analyze, freeze) orders")
                connection.execute("create publication bitvelocity for table orders")
            yield server


def ours(server: Server, readers: int) -> int:
    with tempfile.TemporaryDirectory() as spill:
        tuning = Tuning(readers=readers)
        with WalSource(server.dsn, spill=Path(spill), has_position=False, tuning=tuning) as source:
            rows = sum(batch.data.num_rows for change_set in source.snapshot() for batch in change_set)
        with connect(server.dsn, autocommit=True) as connection:
            connection.execute("select pg_drop_replication_slot('bitvelocity')")
        return rows


def psql(server: Server) -> int:
    program = next(path for path in (find_binaries().bindir / "psql", Path("/usr/bin/psql")) if path.exists())
    command = [str(program), server.dsn, "-qc", "copy orders to stdout", "-o", "/dev/null"]
    subprocess.run(command, check=True)
    return 0


def measured(way: Callable[[], int], server: Server) -> dict[str, Any]:
    wall, before, theirs = time.monotonic(), cpu(), backends(server)
    rows = way()
    return {
        "rows": rows,
        "wall": round(time.monotonic() - wall, 2),
        "cpu": round(cpu() - before, 2),
        "server cpu": round(backends(server) - theirs, 2),
    }


def cpu() -> float:
    """Ours, and that of children that have ended."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def backends(server: Server) -> float:
    """CPU of the server's backends that have ended: the postmaster counts them as its children."""
    time.sleep(0.3)
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
