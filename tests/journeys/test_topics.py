"""A newcomer's topics: `init --with kafka`, `up`, and the page's programs read typed rows through our registry."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.conformance.servers import needed
from tests.shown import shown, with_values

from bitvelocity.errors import BusError
from bitvelocity.streams.servers import MISSING, SERVERS

PAGE = "how-to/read-topics.md"
STOCK, KCAT = "Kafka, with the Confluent client", "Kafka, with kcat"
PATIENCE_S = 60.0
CUSTOMER = """insert into customers (customer_number, name, email) values (1, 'Ada', 'ada@example.com')"""
ORDER = """insert into orders (customer_id, store_number, subtotal, total_amount)
           select customer_id, %s, 19.90, 19.90 from customers"""


@pytest.fixture
def shop(open_folder: Path) -> Path:
    try:
        SERVERS["kafka"]().find(print)
    except BusError as error:
        if error.code != MISSING or needed("kafka"):
            raise
        pytest.skip(f"kafka cannot be run here: {error.what}")
    command = [sys.executable, "-m", "bitvelocity", "init", "shop", "--with", "kafka"]
    subprocess.run(command, cwd=open_folder, check=True, capture_output=True)
    settings = open_folder / "shop" / "bitvelocity.toml"
    settings.write_text(f"{settings.read_text()}\n{shown(PAGE, KCAT, 'toml')}\n[registry]\nport = 0\n")
    return settings.parent


@contextmanager
def up(folder: Path) -> Iterator[tuple[subprocess.Popen[str], Mapping[str, str]]]:
    with (folder / "up.log").open("a") as log:
        command = [sys.executable, "-m", "bitvelocity", "up", "--json"]
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ})
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert ready, (folder / "up.log").read_text()
        yield process, json.loads(ready)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def write(served: Mapping[str, str], *numbers: int) -> None:
    dsn = served["source"].removeprefix("psql '").removesuffix("'")
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in numbers:
            connection.execute(ORDER if number else CUSTOMER, [number] if number else None)


def read_up_to(served: Mapping[str, str], last: int) -> list[dict[str, Any]]:
    """What the page's program makes of the topic, up to the order of that number."""
    program = with_values(shown(PAGE, STOCK, "python"), KAFKA=served["kafka"], REGISTRY=served["registry"])
    reader = subprocess.Popen([sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, text=True)
    watch = threading.Timer(PATIENCE_S, reader.kill)
    watch.start()
    rows: list[dict[str, Any]] = []
    try:
        for line in reader.stdout or ():
            operation, _, row = line.partition(" ")
            if operation == "waiting:":  # `up` was killed before the first record, which makes the topic
                continue
            assert operation == "c", line
            rows.append(eval(row, {"Decimal": Decimal}))
            if rows[-1]["store_number"] == last:
                break
    finally:
        watch.cancel()
        reader.kill()
        reader.communicate()
    return rows


def kcat_up_to(served: Mapping[str, str], last: int) -> list[dict[str, Any]]:
    """What the page's kcat prints of the plain topic."""
    words = shown(PAGE, KCAT, "sh").split()
    words[words.index("-b") + 1] = served["kafka"]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        if rows and rows[-1]["store_number"] == last:
            return rows
        assert time.monotonic() < deadline, done.stderr


def test_a_newcomer_reads_typed_rows_each_once_over_a_kill(shop: Path) -> None:
    with up(shop) as (process, served):
        write(served, 0, *range(1, 21))
        process.kill()  # somewhere between a commit of the lake, the topic, and the record of how far the route is
        write(served, *range(21, 31))  # PostgreSQL and Kafka live on
    with up(shop) as (_, served):
        write(served, 31)
        rows = read_up_to(served, 31)
        plain = kcat_up_to(served, 31) if shutil.which("kcat") or needed("kcat") else []
    assert served["topics"].startswith("kafka: shop.public.customers, ")
    assert [row["store_number"] for row in rows] == list(range(1, 32))
    assert {row["total_amount"] for row in rows} == {Decimal("19.90")}
    assert all(datetime.fromisoformat(row["created_at"]).tzinfo is not None for row in rows)
    assert not plain or [(row["store_number"], row["total_amount"]) for row in plain] == [(n, "19.90") for n in range(1, 32)]
