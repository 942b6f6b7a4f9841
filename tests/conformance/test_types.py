"""Every type of PostgreSQL, from the source through snapshot and stream to bronze and silver: the same value.

Many rows are written in one transaction, half of them before the first snapshot. Bronze must have what the server
prints; what silver has as a type of its own is handed back to the server, which must find it equal; `reconcile`, with
casts of its own, must find the rows equal too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg import sql
from tests.conftest import require_extensions

from bitvelocity.capture import WalSource, export_tables
from bitvelocity.changes import ChangeSet
from bitvelocity.contracts import EntitySpec
from bitvelocity.contracts.arrow import silver_schema, silver_type
from bitvelocity.lakehouse import Lake, LakeReader, Watermark, compare_silver, publish
from bitvelocity.oltp import adopt

from .type_values import COLUMNS, EXTENSIONS, SETUP, rows

Connection = psycopg.Connection[tuple[Any, ...]]
NAMES = tuple(COLUMNS)
GROUP = 18
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "types.md"
PRINT = "set timezone = 'UTC'; set datestyle = 'ISO,YMD'; set intervalstyle = 'postgres'; set extra_float_digits = 1"
pytestmark = [pytest.mark.every_postgres, pytest.mark.timeout(300)]


@dataclass
class Way:
    """The table, and what follows it."""

    connection: Connection
    dsn: str
    folder: Path
    spec: EntitySpec
    next_id: int = 1

    lake_root: Path = field(init=False)
    source: WalSource = field(init=False)
    lake: Lake = field(init=False)
    reader: LakeReader = field(init=False)

    def insert(self, columns: Sequence[str], values: list[list[str | None]]) -> None:
        """All rows in one transaction, each literal read by its type."""
        names = sql.SQL(", ").join(map(sql.Identifier, ("id", *columns)))
        places = sql.SQL(", ").join(sql.SQL(f"%s::text::{COLUMNS[name][0]}") for name in columns)
        insert = sql.SQL("insert into things ({}) values (%s, {})").format(names, places)
        with self.connection.transaction(), self.connection.cursor() as cursor:
            for row in values:
                cursor.execute(insert, [self.next_id, *row])
                self.next_id += 1

    def take(self, change_set: ChangeSet) -> None:
        for batch in change_set:
            self.lake.stage(batch)
        mark = change_set.mark
        self.lake.commit(mark)
        publish(self.lake_root, Watermark(position=mark.lsn, resume=mark.resume, tables=self.lake.versions()), sync=False)
        self.source.confirm(mark.resume)

    def snapshot(self) -> None:
        """Read the table as it stands with a slot and a lake of their own."""
        self.close()
        self.lake_root = self.folder / f"lake{self.next_id}"
        self.lake = Lake(self.lake_root, [self.spec], sync=False)
        self.reader = LakeReader(self.lake_root, [self.spec])
        slot = f"types_{self.connection.info.dbname}"
        self.source = WalSource(self.dsn, slot=slot, spill=self.folder, has_position=False)
        for change_set in self.source.snapshot():
            self.take(change_set)

    def follow(self) -> None:
        """Take all that is committed."""
        row = self.connection.execute("select pg_current_wal_flush_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None
        while self.source.seen < row[0]:
            for change_set in self.source.tail(0.05):
                self.take(change_set)
        self.reader.refresh()

    def close(self) -> None:
        for part in (getattr(self, name, None) for name in ("source", "reader", "lake")):
            if part is not None:
                part.close()

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        return self.reader.connection.sql(query).fetchall()


@pytest.fixture
def way(database: str, open_folder: Path) -> Iterator[Way]:
    """The table with a few rows, captured: the stream begins here."""
    require_extensions(database, *EXTENSIONS)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(SETUP.encode())
        columns = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
        connection.execute(f"create table things (id int primary key, {columns})".encode())
        connection.execute("create publication bitvelocity for table things")
        connection.execute(PRINT)
        (spec,) = adopt(database).specs
        assert set(spec.by_name) == {"id", *COLUMNS}
        made = Way(connection, database, open_folder, spec)
        yield made
        made.close()


def test_every_type_comes_through_as_it_is(way: Way) -> None:
    """A few columns at a time, for hypothesis makes small examples; the first of them through the snapshot too."""
    for at in range(0, len(NAMES), GROUP):
        round_trips(way, NAMES[at : at + GROUP])


def round_trips(way: Way, columns: Sequence[str]) -> None:
    @given(st.lists(rows(columns), min_size=8, max_size=12))
    @settings(max_examples=2, phases=[Phase.generate], deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def go(values: list[list[str | None]]) -> None:
        way.connection.execute("truncate things")
        way.insert(columns, values[::2])
        way.snapshot()
        way.insert(columns, values[1::2])
        way.connection.execute("update things set a_int8 = coalesce(a_int8, 0) / 2 where id % 3 = 0")
        way.follow()
        bronze_is_as_printed(way)
        silver_is_equal(way, columns)
        export = export_tables(way.dsn, [way.spec], way.folder / "export")
        verdict = compare_silver(way.reader, way.spec, export.files["things"], export.lsn)
        assert verdict.ok, verdict.as_dict()
        assert verdict.source == len(values)

    go()


def bronze_is_as_printed(way: Way) -> None:
    """The last image of each row, as text, equals what the server prints."""
    names = ("id", *NAMES)
    printed = sql.SQL(", ").join(sql.SQL("case when num_nulls({0}) = 0 then format('%s', {0}) end").format(sql.Identifier(n)) for n in names)
    wanted = way.connection.execute(sql.SQL("select {} from things order by id").format(printed)).fetchall()
    images = ", ".join(f"after_{name}" for name in names)
    last = f"select {images} from bronze.things where operation_type <> 'DELETE' and after_id is not null qualify row_number() over (partition by after_id order by _lsn desc, _ordinal desc) = 1"
    found = way.ask(f"select * from ({last}) where after_id in (select id::varchar from silver.things) order by after_id::int")
    assert len(found) == len(wanted)
    for have, want in zip(found, wanted, strict=True):
        assert dict(zip(names, have, strict=True)) == dict(zip(names, want, strict=True))


def silver_is_equal(way: Way, columns: Sequence[str]) -> None:
    """The server finds each typed value equal to its own; what does not fit is told as it was printed."""
    read = way.reader.connection.sql("select * from silver.things").to_arrow_table()
    told = {row["id"]: row["_unfit"] for row in read.select(["id", "_unfit"]).to_pylist() if row["_unfit"]}
    for column in silver_schema(way.spec):
        if column.name not in columns:
            continue
        kind = COLUMNS[column.name][0]
        assert read.schema.field(column.name).type == column.type
        printed_by = ((row["id"], literal(way.connection, row[column.name])) for row in read.select(["id", column.name]).to_pylist())
        values = dict(printed_by)
        unequal = (
            f"select id, format('%%s', {column.name}) from things join (select unnest(%s::int[]) as id, unnest(%s::text[]) as x) as v "
            f"using (id) where not ({kind_text(column, kind)})"
        )
        found = way.connection.execute(unequal.encode(), [list(values), list(values.values())]).fetchall()
        wrong: dict[int, str] = dict(found)
        for id_, printed in wrong.items():
            assert values[id_] is None, (column.name, values[id_], printed)
            assert f'"{column.name}":' in told.get(id_, ""), (column.name, printed)
    for id_, unfit in told.items():
        check_told(way, id_, unfit)


def kind_text(field: pa.Field[Any], kind: str) -> str:
    """Equal for the server: as values, or where the type has no order as text."""
    if pa.types.is_string(field.type):
        return f"format('%%s', {field.name}) is not distinct from coalesce(x, '') and (num_nulls({field.name}) = 1) = (x is null)"
    return f"x::{kind} is not distinct from {field.name}"


def literal(connection: Connection, value: Any) -> str | None:
    """A value as a literal of PostgreSQL, written by psycopg and by nobody of ours."""
    if value is None or isinstance(value, str):
        return value
    dumper = psycopg.adapt.Transformer(connection)
    return bytes(dumper.get_dumper(value, psycopg.adapt.PyFormat.TEXT).dump(value) or b"").decode()


def check_told(way: Way, id_: int, unfit: str) -> None:
    """`_unfit` has the printed values."""
    for name, printed in json.loads(unfit).items():
        row = way.connection.execute(f"select format('%s', {name}) from things where id = {id_}".encode()).fetchone()
        assert row == (printed,)


def test_the_page_of_types_says_what_is(database: str) -> None:
    """Each row of the table in docs/reference/types.md, asked of the code."""
    rows = [line.split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    said = {kind: silver.strip("`") for types, silver, *_ in rows for kind in re.findall(r"`([^`]+)`", types)}
    assert len(said) > 60
    with psycopg.connect(database) as connection:
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(said))
        connection.execute(f"create table things (id int primary key, {columns})".encode())
    (spec,) = adopt(database).specs
    found = {kind: shown(silver_type(spec.by_name[f"c{number}"].type)) for number, kind in enumerate(said)}
    assert found == said


def shown(kind: pa.DataType) -> str:
    """A type as the page writes it."""
    if isinstance(kind, pa.ListType):
        return f"list<{shown(kind.value_type)}>"
    if pa.types.is_decimal(kind):
        return f"decimal({kind.precision},{kind.scale})"
    names = {"string": "text", "bool": "boolean", "float": "float32", "double": "float64", "date32[day]": "date",
             "timestamp[us, tz=UTC]": "timestamp[us, UTC]"}  # fmt: skip
    return names.get(str(kind), str(kind))
