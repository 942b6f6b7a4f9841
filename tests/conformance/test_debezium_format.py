"""The records of format `debezium`, held against what Debezium 3.6.3 itself gave for the same statements.

`data/debezium` holds its records as parsed JSON with the order of keys. What no other process can repeat is taken out
on both sides (see the README there), after its form was compared.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from tests.conformance.type_values import EXTENSIONS
from tests.conftest import require_extensions

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.capture.catalog import describe_source
from bitvelocity.changes import Batch
from bitvelocity.changes.formats import Encoder, Options, in_order

pytestmark = pytest.mark.every_postgres
DATA = Path(__file__).parent / "data" / "debezium"
READ_TWICE = ("bv.public.part",)
"""Debezium reads a partitioned table at the start through its root too; we read each row once."""


XML = "'<a/>'"


def statements(name: str, *, has_xml: bool) -> Iterator[bytes]:
    """The file's statements, one or more on a line each."""
    text = (DATA / name).read_text()
    text = text if has_xml else text.replace(XML, "null")
    for block in re.split(r";[ ]*\n", text):
        if block.strip():
            yield block.strip().encode()


def run(connection: psycopg.Connection[Any], name: str, *, has_xml: bool) -> None:
    for text in statements(name, has_xml=has_xml):
        connection.execute(text)


def knows_xml(connection: psycopg.Connection[Any]) -> bool:
    try:
        connection.execute("select xml '<a/>'")
    except psycopg.errors.FeatureNotSupported:  # a server built without libxml
        return False
    return True


def golden(*, has_xml: bool) -> list[dict[str, Any]]:
    text = (DATA / "envelope_with_schemas.jsonl").read_text()
    text = text if has_xml else text.replace('"<a/>"', "null")
    return [json.loads(line) for line in text.splitlines()]


class Captured:
    """The change sets of the golden statements, and what the catalog said after them."""

    def __init__(self, dsn: str, spill: Path) -> None:
        self.sets: list[list[Batch]] = []
        require_extensions(dsn, *EXTENSIONS)
        with psycopg.connect(dsn, autocommit=True) as connection:
            self.has_xml = knows_xml(connection)
            run(connection, "pre.sql", has_xml=self.has_xml)
            connection.execute("create publication bitvelocity for all tables")
            slot = f"golden_{connection.info.dbname}"
            with WalSource(dsn, slot=slot, spill=spill, has_position=False, messages=["*"],
                           tuning=Tuning(detail=True, readers=1)) as source:  # fmt: skip
                self._take(source, source.snapshot())
                self.described = [describe_source(dsn)]
                run(connection, "changes.sql", has_xml=self.has_xml)
                connection.execute("checkpoint")
                row = connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
                assert row is not None
                deadline = time.monotonic() + 60
                while source.seen < row[0]:
                    assert time.monotonic() < deadline
                    self._take(source, source.tail(0.05))
        self.described.append(describe_source(dsn))

    def _take(self, source: WalSource, sets: Any) -> None:
        for change_set in sets:
            self.sets.append(list[Batch](change_set))
            source.confirm(change_set.mark.resume)

    def encode(self, options: Options) -> list[dict[str, Any]]:
        """The catalog is asked when Debezium asked it: at the start, and after all was done."""
        start, rest = (Encoder("debezium", described, options) for described in self.described)
        found = parsed(in_order(start.encode(self.sets[0])))
        for batches in self.sets[1:]:
            found += parsed(in_order(rest.encode(batches)))
        return found


def parsed(table: pa.Table) -> list[dict[str, Any]]:
    return [
        {
            "topic": row["topic"],
            "key": json.loads(row["key"]) if row["key"] is not None else None,
            "value": json.loads(row["value"]) if row["value"] is not None else None,
            "headers": row["headers"],
        }
        for row in table.to_pylist()
    ]


@pytest.fixture
def captured(database: str, tmp_path: Path) -> Captured:
    return Captured(database, tmp_path)


def stripped(record: dict[str, Any]) -> dict[str, Any]:
    """Without what one run alone can have; in its place stands the form it had."""
    value = record["value"]
    payload = value.get("payload") if value and "payload" in value else value
    if payload:
        for name in ("ts_ms", "ts_us", "ts_ns"):
            if name in payload:
                payload[name] = type(payload[name]).__name__
        source = payload["source"]
        is_read = payload["op"] == "r"
        for name in ("ts_ms", "ts_us", "ts_ns", "lsn"):
            source[name] = type(source[name]).__name__
        source["txId"] = "of the snapshot" if is_read else type(source["txId"]).__name__
        source["sequence"] = re.sub(r'"\d+"', '"n"', source["sequence"])
        source["version"] = re.sub(r"\d", "n", source["version"])
        source["db"] = "db"
    return {"topic": record["topic"], "key": record["key"], "value": value}


def dumped(record: dict[str, Any]) -> str:
    return json.dumps(stripped(record), ensure_ascii=False, indent=1)


@pytest.mark.parametrize("schemas", [True, False], ids=["schemas", "plain"])
def test_every_record_is_that_of_debezium(captured: Captured, schemas: bool) -> None:
    options = Options.of({
        "topic.prefix": "bv", "skipped.operations": "none", "strict_debezium": "true",
        "schemas.enable": str(schemas).lower(),
    })  # fmt: skip
    wanted = [record for record in golden(has_xml=captured.has_xml) if record["topic"] not in READ_TWICE]
    found = captured.encode(options)
    assert [record["topic"] for record in found] == [record["topic"] for record in wanted]
    for number, (ours, theirs) in enumerate(zip(found, wanted, strict=True)):
        if not schemas:
            theirs["key"] = theirs["key"] and theirs["key"]["payload"]
            theirs["value"] = theirs["value"] and theirs["value"]["payload"]
        assert dumped(ours) == dumped(theirs), number
