"""Every type of PostgreSQL through records and back: the same batches, in each format and each way of writing values.

What a format has no form for (NaN in a decimal, months in an interval, types that Debezium leaves out) travels in a header
and comes back too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.conftest import require_extensions

from bitvelocity.capture import Tuning, WalSource
from bitvelocity.capture.catalog import describe_source
from bitvelocity.changes import Batch, is_table
from bitvelocity.changes.formats import Decoder, Encoder, Options, SchemaText, in_order
from bitvelocity.changes.formats.avro import AvroNotation
from bitvelocity.changes.formats.jsonnotation import JsonNotation
from bitvelocity.changes.formats.notation import Kind, Notation, Register, Registered, SchemaUse
from bitvelocity.changes.formats.protobuf import ProtobufNotation
from bitvelocity.streams.registry.protobuf import read_proto, serialized

from .type_values import COLUMNS, EXTENSIONS, SETUP, rows

NAMES = tuple(COLUMNS)
WAYS: dict[str, tuple[Kind, type[Notation] | None]] = {
    "avro": ("AVRO", AvroNotation), "protobuf": ("PROTOBUF", ProtobufNotation), "json by a registry": ("JSON", JsonNotation), "json with its schema": ("JSON", None),
}  # fmt: skip
pytestmark = pytest.mark.timeout(300)


class Ids:
    """A registry of a few lines: an id for each schema."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.texts = kind, dict[str, int]()

    def register(self, use: SchemaUse) -> Registered:
        number = self.texts.setdefault(use.text, len(self.texts))
        return Registered(frame=b"\0" + number.to_bytes(4, "big") + (b"\0" if use.kind == "PROTOBUF" else b""))

    def look_up(self, name: bytes) -> SchemaText:
        text = list(self.texts)[int.from_bytes(name, "big")]
        return SchemaText(self.kind, serialized(read_proto(text).file) if self.kind == "PROTOBUF" else text)


def there_and_back(
    form: str, way: str, batches: Sequence[Batch], described: object, *, options: Options
) -> list[Batch]:
    kind, notation = WAYS[way]
    ids = Ids(kind)
    register: Register = ids.register
    made = notation(register) if notation is not None else None  # type: ignore[call-arg]
    encoder = Encoder(form, described, options, notation=made)  # type: ignore[arg-type]
    records = in_order(encoder.encode(batches))
    decoded = Decoder(form, ids.look_up, detail=True).decode(records)
    assert decoded.refused == ()
    return list(decoded.batches)


def test_every_type_in_every_way(database: str, tmp_path: Path) -> None:
    """Inserts, an update of everything, changed keys, deletes: with the whole old row, and with its key only."""
    require_extensions(database, *EXTENSIONS)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SETUP.encode())
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
        for table in ("things", "whole"):
            connection.execute(
                f"create table {table} (id int primary key, {columns}, born date not null default '2020-01-01')".encode()
            )
        connection.execute("alter table whole replica identity full")
        connection.execute("create publication bitvelocity for table things, whole")
        described = describe_source(database)
        slot = f"wire_{connection.info.dbname}"
        with WalSource(
            database, slot=slot, spill=tmp_path, has_position=False, tuning=Tuning(detail=True, readers=1)
        ) as source:
            for change_set in source.snapshot():
                list(change_set)
            write_some(connection)
            batches = read_all(source, connection)
    assert {batch.relation for batch in batches if is_table(batch.relation)} == {
        "public.things",
        "public.whole",
    }
    for form in ("debezium", "bitvelocity"):
        for way in WAYS:
            options = Options(cloudevents=True, keep_exact=True, schemas_enable=True, skipped_operations=())
            found = there_and_back(form, way, batches, described, options=options)
            for relation in ("public.things", "public.whole"):
                check(found, batches, relation)


def write_some(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    @given(st.lists(rows(NAMES), min_size=6, max_size=6))
    @settings(
        max_examples=2,
        phases=[Phase.generate],
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def go(values: list[list[str | None]]) -> None:
        for table in ("things", "whole"):
            into = sql.Identifier(table)
            connection.execute(sql.SQL("delete from {}").format(into))
            names = sql.SQL(", ").join(map(sql.Identifier, ("id", *NAMES)))
            places = sql.SQL(", ").join(sql.SQL(f"%s::text::{COLUMNS[name][0]}") for name in NAMES)
            for number, row in enumerate(values):
                connection.execute(
                    sql.SQL("insert into {} ({}) values (%s, {})").format(into, names, places), [number, *row]
                )
            connection.execute(
                sql.SQL(
                    "update {} set a_int8 = coalesce(a_int8, 0) / 2, id = id + case when id > 3 then 10 else 0 end"
                ).format(into)
            )

    go()


def read_all(source: WalSource, connection: psycopg.Connection[tuple[object, ...]]) -> list[Batch]:
    row = connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    found: list[Batch] = []
    while source.seen < int(str(row[0])):
        for change_set in source.tail(0.05):
            found += change_set
    return found


def check(found: Sequence[Batch], wanted: Sequence[Batch], relation: str) -> None:
    have, want = (
        table_of([batch for batch in some if batch.relation == relation]) for some in (found, wanted)
    )
    assert have.column_names == want.column_names
    for name in want.column_names:
        assert have[name].to_pylist() == want[name].to_pylist(), name


def table_of(batches: Sequence[Batch]) -> pa.Table:
    kinds = [pa.string() if kind == pa.string_view() else kind for kind in batches[0].data.schema.types]
    schema = pa.schema(list(zip(batches[0].data.column_names, kinds, strict=True)))
    return pa.concat_tables([batch.data.cast(schema) for batch in batches]).sort_by(
        [("_lsn", "ascending"), ("_ordinal", "ascending")]
    )
