"""A newcomer's topics: `init --with kafka`, `up`, and the stock client reads typed rows through our registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import Consumer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from tests.conformance.servers import needed

from bitvelocity.errors import BusError
from bitvelocity.streams.servers import MISSING, SERVERS

TOPIC = "shop.public.orders"
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
    settings.write_text(settings.read_text() + "\n[registry]\nport = 0\n")
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
    """What stock clients make of the topic, up to the order of that number."""
    client = SchemaRegistryClient({"url": served["registry"]})
    value = AvroDeserializer(client)
    consumer = Consumer({"bootstrap.servers": served["kafka"], "group.id": "newcomer", "auto.offset.reset": "earliest"})
    consumer.subscribe([TOPIC])
    rows: list[dict[str, Any]] = []
    deadline = time.monotonic() + PATIENCE_S
    try:
        while not rows or rows[-1]["store_number"] != last:
            assert time.monotonic() < deadline, [row["store_number"] for row in rows]
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                event = value(message.value(), SerializationContext(TOPIC, MessageField.VALUE))
                rows.append(event["after"])
    finally:
        consumer.close()
        client.close()
    return rows


def test_a_newcomer_reads_typed_rows_each_once_over_a_kill(shop: Path) -> None:
    with up(shop) as (process, served):
        write(served, 0, *range(1, 21))
        process.kill()  # somewhere between a commit of the lake, the topic, and the record of how far the route is
        write(served, *range(21, 31))  # PostgreSQL and Kafka live on
    with up(shop) as (_, served):
        write(served, 31)
        rows = read_up_to(served, 31)
    assert [row["store_number"] for row in rows] == list(range(1, 32))
    assert {row["total_amount"] for row in rows} == {Decimal("19.90")}
    assert all(datetime.fromisoformat(row["created_at"]).tzinfo is not None for row in rows)
