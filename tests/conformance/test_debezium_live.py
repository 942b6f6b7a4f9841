"""Our records beside those of the real Debezium, which reads the same stream from a copy of the same slot.

Equal as bytes: topic, key, value with and without schemas, headers, order. What no other process can repeat is taken out
first: the moment at which an event was made, the name by which a message leaked into END, and the headers that tell of
the connector's own run.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import conninfo, sql
from tests.conformance.type_values import EXTENSIONS
from tests.conftest import require_extensions

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.capture.catalog import describe_source
from bitvelocity.changes import parse_lsn
from bitvelocity.changes.formats import Encoder, Format, Options, in_order

pytestmark = pytest.mark.any_postgres  # types are read from every server in test_types.py, without a JVM for each
Connection = psycopg.Connection[tuple[Any, ...]]
Run = Callable[..., list[dict[str, Any]]]
STATEMENTS = Path(__file__).parent / "data" / "debezium"
UNWRAP = {"transforms": "unwrap", "transforms.unwrap.type": "io.debezium.transforms.ExtractNewRecordState"}


@dataclass(frozen=True)
class Case:
    """Options by Debezium's names, for both; `unwrap`: those of the transform."""

    options: Mapping[str, str]
    unwrap: Mapping[str, str] | None = None


CASES = {
    "defaults": Case({}),
    "all that can be told": Case(
        {
            "skipped.operations": "none", "provide.transaction.metadata": "true", "decimal.handling.mode": "string",
            "time.precision.mode": "isostring", "binary.handling.mode": "hex", "hstore.handling.mode": "map",
            "interval.handling.mode": "string",
        }
    ),
    "other modes": Case(
        {
            "decimal.handling.mode": "double", "time.precision.mode": "connect", "binary.handling.mode": "base64",
            "message.key.columns": "public[.]part:id", "tombstones.on.delete": "false", "skipped.operations": "u",
            "column.exclude.list": "public[.]alltypes[.]tsv", "column.mask.with.3.chars": "public[.]alltypes[.]vc",
            "column.mask.hash.v2.SHA-256.with.salt.pepper": "public[.]alltypes[.]t",
            "column.truncate.to.2.chars": "public[.]two[.]note",
        }
    ),
    "micros, avro names": Case(
        {
            "time.precision.mode": "microseconds", "schema.name.adjustment.mode": "avro",
            "field.name.adjustment.mode": "avro", "topic.delimiter": "_",
        }
    ),
    "unwrapped": Case({}, {}),
    "unwrapped, rewritten": Case(
        {"provide.transaction.metadata": "true"},
        {
            "delete.tombstone.handling.mode": "rewrite", "add.fields": "op,table,lsn,source.ts_ms,txId",
            "add.headers": "op,schema",
        },
    ),
    "unwrapped, tombstones for deletes": Case({}, {"delete.tombstone.handling.mode": "delete-to-tombstone"}),
}  # fmt: skip


@pytest.fixture
def written(over_tcp: str) -> tuple[str, str]:
    """The golden statements and a random workload between two slots and an end: DSN, LSN of the end."""
    require_extensions(over_tcp, *EXTENSIONS)
    with psycopg.connect(over_tcp, autocommit=True) as connection:
        for statement in statements(connection, "pre.sql"):
            connection.execute(statement)
        connection.execute(TWO)
        connection.execute("create publication all_tables for all tables with (publish_via_partition_root = true)")
        for slot in ("ours", "peer"):
            connection.execute("select pg_create_logical_replication_slot(%s, 'pgoutput')", [slot])
        for statement in statements(connection, "changes.sql"):
            connection.execute(statement)
        scribble(connection, random.Random(42))
        connection.execute("select pg_logical_emit_message(true, 'end', '')")
        row = connection.execute("select pg_current_wal_insert_lsn()").fetchone()
        assert row
        return over_tcp, str(row[0])


def statements(connection: Connection, name: str) -> Iterator[str]:
    text = (STATEMENTS / name).read_text()
    try:
        connection.execute("select '<a/>'::xml")
    except psycopg.errors.FeatureNotSupported:
        text = text.replace("x xml", "x text")
    yield from ([text] if name == "pre.sql" else re.split(r";\n", text))


TWO = r'''
create table two (a int, b uuid, note text, amount numeric(12,3), at timestamptz default now(), primary key (b, a));
create table whole (id int primary key, v text, n numeric, d date, arr int[]); alter table whole replica identity full;
create table "Häßlich 1" (id int primary key, "Grüße" text default 'x', "a.b" int not null default 7);
'''
TEXTS = ("", "plain", "tab\t, quote \" and \\ back", "naïve 🙂 \u2028", "x" * 3000, "{}", "null")


def scribble(connection: Connection, dice: random.Random) -> None:
    """Random transactions over tables with two-column keys, full images and odd names."""
    for number in range(60):
        with connection.transaction():
            for _ in range(dice.choice((1, 1, 2, 5))):
                act(connection, dice, number)
    with connection.cursor().copy("copy two (a, b, note) from stdin") as copy:
        for number in range(50):
            copy.write_row((1000 + number, "550e8400-e29b-41d4-a716-446655440000", "copied"))


def act(connection: Connection, dice: random.Random, number: int) -> None:
    key, text = dice.randrange(12), dice.choice(TEXTS)
    uuid = f"00000000-0000-4000-8000-{dice.randrange(4):012d}"
    amount = dice.choice(("0", "-1.5", "123456789.123", "0.001", None))
    match dice.randrange(10):
        case 0 | 1:
            row = "insert into two values (%s, %s, %s, %s) on conflict (b, a) do update set note = excluded.note"
            connection.execute(row, [key, uuid, text, amount])
        case 2:
            connection.execute("update two set amount = %s, note = null where a = %s", [amount, key])
        case 3:
            connection.execute("update two set a = a + 100 where a = %s", [key])
        case 4:
            connection.execute("delete from two where a = %s", [key])
        case 5 | 6:
            row = "insert into whole values (%s, %s, %s, %s, %s) on conflict (id) do update set v = excluded.v, n = excluded.n"
            connection.execute(row, [key, text, amount, dice.choice(("2024-02-29", "0001-01-01")), [number, None]])
        case 7:
            connection.execute("delete from whole where id = %s", [key])
        case 8:
            table = sql.Identifier('Häßlich 1')
            odd = sql.SQL("insert into {} values (%s, %s) on conflict (id) do update set {} = null")
            connection.execute(odd.format(table, sql.Identifier("Grüße")), [key, text])
        case 9:
            with connection.transaction(force_rollback=dice.random() < 0.5):
                connection.execute("select pg_logical_emit_message(%s, 'note', %s::bytea)", [dice.random() < 0.5, text.encode()])


@pytest.mark.parametrize("name", CASES)
def test_the_same_bytes(written: tuple[str, str], run_debezium: Run, tmp_path: Path, name: str) -> None:
    dsn, end = written
    case = CASES[name]
    theirs = run_debezium({**connection_of(dsn), **case.options, **unwrapped(case)}, dsn=dsn)
    for schemas, suffix in ((False, ""), (True, "_with_schema")):
        ours = list(our_records(dsn, end, case, tmp_path / f"spill{suffix}", schemas=schemas))
        expected = [comparable(record, suffix) for record in theirs]
        assert_same(ours, expected)


def connection_of(dsn: str) -> dict[str, str]:
    parts = conninfo.conninfo_to_dict(dsn)
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector", "topic.prefix": "bv",
        "plugin.name": "pgoutput", "slot.name": "peer", "publication.name": "all_tables", "publication.autocreate.mode": "disabled",
        "snapshot.mode": "no_data", "database.hostname": "127.0.0.1", "database.port": str(parts["port"]),
        "database.user": str(parts["user"]), "database.password": str(parts["password"]),
        "database.dbname": str(parts["dbname"]), "peer.until": "end",
    }  # fmt: skip


def unwrapped(case: Case) -> dict[str, str]:
    if case.unwrap is None:
        return {}
    return {**UNWRAP, **{f"transforms.unwrap.{name}": value for name, value in case.unwrap.items()}}


Record = tuple[str, str | None, str | None, tuple[tuple[str, str], ...]]


def our_records(dsn: str, end: str, case: Case, spill: Path, *, schemas: bool) -> Iterator[Record]:
    """What the encoder makes of the stream, in its order."""
    form: Format = "debezium" if case.unwrap is None else "debezium-unwrapped"
    told = {**case.options, **(case.unwrap or {}), "topic.prefix": "bv", "schemas.enable": str(schemas).lower()}
    encoder = Encoder(form, describe_source(dsn), Options.of({**told, "strict_debezium": "true"}))
    goal, tables = parse_lsn(end), []
    with WalSource(
        dsn, slot="ours", publication="all_tables", spill=spill, has_position=True, messages=("*",), tuning=Tuning(detail=True)
    ) as source:
        while source.seen < goal:
            for change_set in source.tail(0.2):
                tables += list(encoder.encode(change_set))
    for row in in_order(tables).to_pylist():
        headers = tuple((name, value.decode()) for name, value in row["headers"] or ())
        key, value = (part and part.decode() for part in (row["key"], row["value"]))
        yield steady(row["topic"], key, value, headers)


def comparable(record: Mapping[str, Any], suffix: str) -> Record:
    """A line of the Java program, as far as it can be repeated."""
    which = 2 if suffix else 1
    headers = tuple((header[0], header[which]) for header in record["headers"] if not header[0].startswith("__debezium.context."))
    return steady(record["topic"], record[f"key{suffix}"], record[f"value{suffix}"], headers)


NOW = re.compile(r'("ts_ms":)\d+(,"ts_us":)\d+(,"ts_ns":)\d+(\}+)$')
NOW_OF_A_MESSAGE = re.compile(r'("op":"m","ts_ms":)\d+')
LEAKED = re.compile(r'io\.debezium\.connector\.postgresql\.LogicalDecodingMessageMonitor\$LogicalDecodingMessageId@[0-9a-f]+')


COLLECTIONS = re.compile(r'(?<="data_collections":\[)(\{[^]]*"pg_logical_message"[^]]*\})(?=\])')


def sorted_collections(found: re.Match[str]) -> str:
    """Where a leaked name stands among the others is a matter of its hash, which is another at each run."""
    return ",".join(sorted(re.findall(r"\{[^}]*\}", found[1])))


def steady(topic: str, key: str | None, value: str | None, headers: tuple[tuple[str, str], ...]) -> Record:
    if value is not None:
        value = NOW.sub(r"\g<1>0\g<2>0\g<3>0\g<4>", value)
        value = LEAKED.sub("pg_logical_message", NOW_OF_A_MESSAGE.sub(r"\g<1>0", value))
        value = COLLECTIONS.sub(sorted_collections, value)
    return topic, key, value, headers


def assert_same(ours: list[Record], theirs: list[Record]) -> None:
    """The first record that differs, and where in it."""
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=False)):
        for part, one, two in zip(("topic", "key", "value", "headers"), mine, other, strict=True):
            if one != two:
                at = next((n for n, (a, b) in enumerate(zip(str(one), str(two), strict=False)) if a != b), 0)
                around = slice(max(0, at - 80), at + 120)
                pytest.fail(f"record {number}, {other[0]} {other[1]}: {part} at {at}\nours   {str(one)[around]}\ntheirs {str(two)[around]}")
    assert len(ours) == len(theirs), f"{len(ours)} of ours, {len(theirs)} of Debezium's"
