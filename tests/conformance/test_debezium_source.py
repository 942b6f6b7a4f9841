"""Debezium's own topics as a source: its records over a real bus into a real lake, each change once."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.test_debezium_format import DATA, Captured
from tests.forked import python

from bitvelocity.changes.formats import Encoder, Options, in_order
from bitvelocity.errors import BitVelocityError
from bitvelocity.flow import (
    Pipeline,
    Project,
    diagnose,
    find_letters,
    open_bus,
    open_project,
    open_reader,
    open_registry,
    order_letters,
    prometheus,
    prove,
    status,
)
from bitvelocity.flow.database import Database
from bitvelocity.flow.wires import registrar
from bitvelocity.serving import ask
from bitvelocity.streams import RECORD_SCHEMA, Topic
from bitvelocity.streams.wire import notation

ENTITIES = '''
from datetime import datetime
from decimal import Decimal
from typing import Annotated
from bitvelocity.contracts import Entity, Key, Numeric

class Kind(Entity, table="alltypes", name="kinds", audit=False):
    """Some of all types; the lake finds the other columns itself."""

    id: Annotated[int, Key()]
    i4: int | None
    n102: Annotated[Decimal | None, Numeric(10, 2)]
    tstz: datetime | None

class Made(Entity, table="gen", name="made", audit=False):
    """With a column that is computed."""

    id: Annotated[int, Key()]
    a: int | None
    b: int | None
'''
SETTINGS = '[capture]\nsource = "debezium"\ntopics = "bv"\n[lake]\nsync = false\n'
APART = '[streams]\ndead_letters = "table"\n'
KINDS = [(3, None, "0.00"), (4, None, "-1.10"), (10, 7, "99.99"), (30, 2, None), (40, None, None), (41, 5_000_000_000, None),
         (100, None, "1.50"), (101, None, "2.50")]  # fmt: skip


def project_in(folder: Path, settings: str = SETTINGS) -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "bitvelocity.toml").write_text(settings)
    return open_project(folder)


Record = tuple[str, bytes | None, bytes | None]


def golden() -> list[Record]:
    """What Debezium 3.6.3 wrote."""
    text = (DATA / "envelope_with_schemas.jsonl").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    return [(one["topic"], *(None if one[part] is None else json.dumps(one[part], separators=(",", ":")).encode() for part in ("key", "value"))) for one in found]


def op_of(record: Record) -> str:
    told = {} if record[2] is None else json.loads(record[2])
    return str(told.get("payload", told).get("op", ""))


def put(project: Project, records: Sequence[Record], partitions: int = 1, at: datetime | None = None) -> None:
    bus = open_bus(project.settings)
    for topic in {name for name, _, _ in records}:
        bus.ensure(Topic(name=topic, partitions=partitions))
        rows: list[dict[str, Any]] = [
            {"key": key, "value": value, "headers": [], "timestamp": at or 0} for name, key, value in records if name == topic
        ]
        bus.append(topic, pa.Table.from_pylist(rows, schema=RECORD_SCHEMA))
    bus.close()


@contextmanager
def running(project: Project) -> Iterator[Pipeline]:
    with Pipeline(project) as pipeline:
        pipeline.connect("")
        pipeline.start()
        yield pipeline


def take(project: Project) -> int:
    """All that is there; how many rows that were."""
    rows = 0
    with running(project) as pipeline:
        while taken := pipeline.step(0.0):
            rows += taken
        pipeline.finish()
    return rows


def take_and_be_killed(project: Project, first: int, more: int) -> None:
    """All that is there, by processes that are killed at a step that is another one each time."""
    child = str(Path(__file__).with_name("debezium_child.py"))
    steps = 0
    while (ended := python(child, str(project.root), str(first + more * steps % 40))).returncode:
        assert ended.returncode == -9, ended.stderr
        steps += 1
        assert steps < 60
    assert steps > 3


def asked(project: Project, sql: str) -> list[tuple[Any, ...]]:
    with open_reader(project) as reader:
        return [tuple(row.values()) for row in ask(reader, sql).as_dicts()]


def kinds(project: Project) -> list[tuple[Any, ...]]:
    return asked(project, "select id, i4, n102::varchar from silver.kinds order by id")


def bronze(project: Project) -> int:
    return int(asked(project, "select count(*) from bronze.kinds")[0][0])


def before_truncate(records: list[Record]) -> int:
    return next(number for number, record in enumerate(records) if op_of(record) == "t")


@pytest.mark.parametrize("partitions", [1, 3])
def test_records_of_the_real_debezium_make_the_rows_of_its_source(tmp_path: Path, partitions: int) -> None:
    project, records = project_in(tmp_path / "p"), golden()
    emptied = before_truncate(records)
    put(project, records[:emptied], partitions)
    assert take(project)
    assert kinds(project) == KINDS
    events = bronze(project)
    assert events == sum(name == "bv.public.alltypes" and value is not None for name, _, value in records[:emptied])
    put(project, records[emptied:], partitions)
    assert take(project)
    assert kinds(project) == []
    assert asked(project, "select id, a, b from silver.made") == [(1, 6, None)]
    assert take(project) == 0
    assert bronze(project) == events + 1


FULL = '''
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID
from bitvelocity.contracts import Bits, Entity, Json, Key, Length, Naive, Native, Numeric, Zoned

class Kind(Entity, table="alltypes", name="kinds", audit=False):
    """All types but those that Debezium leaves out, and times of three digits, which no entity can have."""

    id: Annotated[int, Key()]
    i2: Annotated[int | None, Bits(16)]
    i4: Annotated[int | None, Bits(32)]
    i8: int | None
    f4: Annotated[float | None, Bits(32)]
    f8: float | None
    n: Annotated[Decimal | None, Numeric()]
    n102: Annotated[Decimal | None, Numeric(10, 2)]
    n380: Annotated[Decimal | None, Numeric(38, 0)]
    m: Annotated[Any, Native("money")] | None
    b: bool | None
    t: str | None
    vc: Annotated[str | None, Length(20)]
    c: Annotated[str | None, Length(5, fixed=True)]
    by: bytes | None
    d: date | None
    tm: time | None
    tmtz: Annotated[time | None, Zoned()]
    ts: Annotated[datetime | None, Naive()]
    tstz: datetime | None
    iv: timedelta | None
    u: UUID | None
    j: Annotated[Any, Json(binary=False)] | None
    jb: Annotated[Any, Json()] | None
    ia: list[Annotated[int, Bits(32)]] | None
    ta: list[str] | None
    na: list[Annotated[Decimal, Numeric()]] | None
    tsa: list[datetime] | None
    hs: Annotated[Any, Native("hstore")] | None
    inet4: Annotated[Any, Native("inet")] | None
    cd: Annotated[Any, Native("cidr")] | None
    mac: Annotated[Any, Native("macaddr")] | None
    vb: Annotated[Any, Native("bit varying")] | None
    pt: Annotated[Any, Native("point")] | None
    e: Literal["sad", "ok", "happy"] | None
    tsv: Annotated[Any, Native("tsvector")] | None
    o: Annotated[Any, Native("oid")] | None
'''
DECLARED = frozenset(re.findall(r"^    (\w+):", FULL, re.MULTILINE))


def declared_only(record: Record, *, schemas: bool) -> Record:
    """Without the columns of `alltypes` that are not declared; and without its schemas."""
    name, key, value = record
    told = json.loads(value) if value is not None else None
    if told is not None and name == "bv.public.alltypes":
        for one in told["schema"]["fields"]:
            if one["field"] in ("before", "after"):
                one["fields"] = [each for each in one["fields"] if each["field"] in DECLARED]
        for side in ("before", "after"):
            row = told["payload"][side]
            told["payload"][side] = row and {field: each for field, each in row.items() if field in DECLARED}
    if schemas:
        return name, key, told and json.dumps(told, separators=(",", ":")).encode()
    return name, key and json.dumps(json.loads(key)["payload"]).encode(), told and json.dumps(told["payload"]).encode()


def test_without_schemas_bronze_and_silver_hold_the_same(tmp_path: Path) -> None:
    """Of all that the real Debezium wrote: every type, snapshot, updates, deletes, a truncate; given twice."""
    made: dict[bool, Any] = {}
    for schemas in (True, False):
        project = project_in(tmp_path / str(schemas))
        (project.root / "entities.py").write_text(FULL + ENTITIES.partition("class Kind")[0] + "class Made" + ENTITIES.partition("class Made")[2])
        project = open_project(project.root)
        records = [declared_only(one, schemas=schemas) for one in golden() if one[0] in ("bv.public.alltypes", "bv.public.gen")]
        for part in (records[: before_truncate(records)], records[5:]):
            put(project, part)
            take(project)
            made.setdefault(schemas, []).append([asked(project, f"select * from {table} order by all") for table in ("bronze.kinds", "silver.kinds", "silver.made")])
    assert repr(made[False]) == repr(made[True])  # NaN is not itself
    assert [[len(rows) for rows in one] for one in made[True]] == [[18, len(KINDS), 0], [19, 0, 1]]


def test_status_and_doctor_tell_how_far_behind_debezium_the_lake_is(tmp_path: Path) -> None:
    """Also that only repeats are left, which make no set; and that nobody captures any more."""
    project, records = project_in(tmp_path / "p"), golden()[: before_truncate(golden())]
    assert (way := status(project).way) is not None
    assert (way.topics, way.lags, diagnosed(project)) == ((), (), {"topics": "bad", "heartbeats": "warn"})
    put(project, records)
    way = status(project).way
    assert way is not None
    assert {lag.records for lag in way.lags} == {-1}
    take(project)
    put(project, [one for one in records if op_of(one) not in ("r", "")])
    assert not status(project).level
    take(project)
    put(project, [("__debezium-heartbeat.bv", b"{}", b"{}")], at=datetime.now(UTC) - timedelta(seconds=900))
    found = status(project)
    assert found.level
    assert found.way is not None
    assert {lag.records for lag in found.way.lags} == {0}
    assert found.way.heartbeat_age == pytest.approx(900, abs=60)
    lines = prometheus(found)
    assert 'bitvelocity_consumer_lag_records{group="lake",topic="bv.public.alltypes",partition="0"} 0' in lines
    assert "bitvelocity_debezium_heartbeat_age_seconds 9" in lines
    told = {"topics": "warn", "heartbeats": "bad", "records": "ok", "replica identity": "warn"}
    assert diagnosed(project) == told, "nothing of gen yet; some tables tell no row as it was"


OF_KINDS = {"source": {"schema": "public", "table": "alltypes"}, "op": "c", "before": None}
OTHERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "unwrapped": ({"id": 1, "__op": "c"}, "is no envelope", "ExtractNewRecordState"),
    "decimals as numbers": ({**OF_KINDS, "after": {"id": 1, "n102": 1.5}}, "decimal.handling.mode=precise, Debezium's default", "[capture.debezium]"),
    "an unknown column": ({**OF_KINDS, "after": {"id": 1, "more": 1}}, "column more of public.alltypes is not declared", "adopt"),
}


@pytest.mark.parametrize(("what", "wrapped"), [("unwrapped", True), *((what, False) for what in OTHERS)])
def test_records_of_another_form_stop_the_lake_in_words(tmp_path: Path, what: str, wrapped: bool) -> None:
    """Unwrapped ones can be read, and would give nothing."""
    project, (row, reason, remedy) = project_in(tmp_path / "p"), OTHERS[what]
    put(project, [("bv.public.alltypes", b"{}", flat(row) if wrapped else json.dumps(row).encode())])
    with pytest.raises(BitVelocityError, match=re.escape(reason)) as error:
        take(project)
    assert remedy in str(error.value.remedy)
    found = next(one for one in diagnose(project.root) if one.name == "records")
    assert (found.state, reason in found.what, remedy in str(found.remedy)) == ("bad", True, True)


def diagnosed(project: Project) -> dict[str, str]:
    """What doctor says of the topics."""
    return {one.name: one.state for one in diagnose(project.root) if one.name not in ("project", "lake")}


def test_what_debezium_sends_again_is_taken_once(tmp_path: Path) -> None:
    """It was killed again and again, and went back to what it had noted; the lake was stopped in between."""
    once, often = project_in(tmp_path / "once"), project_in(tmp_path / "often")
    records = golden()[: before_truncate(golden())]
    put(once, records)
    take(once)
    read = sum(op_of(record) == "r" for record in records)
    for number in range(read + 1, len(records), 4):
        put(often, records[: read + 1] if number == read + 1 else records[max(read, number - 9) : number])
        take(often)
    put(often, records[read:])
    take(often)
    assert kinds(often) == kinds(once) == KINDS
    assert bronze(often) == bronze(once)


def test_a_kill_at_every_step_loses_and_doubles_nothing(tmp_path: Path) -> None:
    whole = project_in(tmp_path / "whole")
    records = golden()[: before_truncate(golden())]
    put(whole, records)
    killed = project_in(tmp_path / "killed")
    put(killed, records)
    take_and_be_killed(killed, 5, 7)
    take(whole)
    assert kinds(killed) == kinds(whole) == KINDS
    assert bronze(killed) == bronze(whole)
    places = asked(killed, "select count(distinct (_lsn, _ordinal)) from bronze.kinds")
    assert places == [(bronze(killed),)]


def test_what_cannot_be_read_waits_with_its_key_and_is_given_back_once(tmp_path: Path) -> None:
    """Over kills at every step: it is set apart once, others go on, and what waited comes in its order."""
    spoilt = with_a_spoilt_one(golden()[: before_truncate(golden())])
    whole, killed = (project_in(tmp_path / name, SETTINGS + APART) for name in ("whole", "killed"))
    for project in (whole, killed):
        put(project, spoilt, 2)
    take_and_be_killed(killed, 3, 11)
    take(whole)
    waiting = [(one["code"], one["offset"]) for one in find_letters(whole)]
    assert waiting[0][0] == "NoChange"
    assert {code for code, _ in waiting[1:]} == {"Follows"}
    assert [(one["code"], one["offset"]) for one in find_letters(killed)] == waiting
    assert kinds(killed) == kinds(whole) == [one for one in KINDS if one[0] != 10]
    for project in (whole, killed):
        order_letters(project, "drop")
        order_letters(project, "replay")
        take(project)
        assert find_letters(project) == []
        assert kinds(project) == KINDS
        put(project, spoilt[-1:], 2)
        take(project)
        places = asked(project, "select count(*), count(distinct (_lsn, _ordinal)) from bronze.kinds")
        assert places == [(bronze(whole),) * 2]


def test_what_breaks_its_contract_waits_until_the_contract_is_mended(tmp_path: Path) -> None:
    """Set apart once over kills at every step; others are not; given back, it is taken."""
    records = [one for one in golden()[: before_truncate(golden())] if one[0] == "bv.public.alltypes"]
    project = project_in(tmp_path / "p", SETTINGS + APART + 'contract = "rules"\n')
    entities = ENTITIES.partition("class Made")[0]
    strict = entities.replace("i4: int | None", "i4: Annotated[int | None, Range(max=1000)]").replace("Key, Numeric", "Key, Numeric, Range")
    (project.root / "entities.py").write_text(strict)
    put(project, records, 2)
    take_and_be_killed(project, 8, 13)
    assert [(one["class"], one["code"]) for one in find_letters(project)] == [("contract", "OutOfRange")]
    assert kinds(project) == [one for one in KINDS if one[0] != 41]
    (project.root / "entities.py").write_text(entities)
    project = open_project(project.root)
    order_letters(project, "replay")
    take(project)
    assert (find_letters(project), kinds(project)) == ([], KINDS)


def with_a_spoilt_one(records: list[Record]) -> list[Record]:
    """Before the first change of the row 10, one of its key that is no envelope."""
    at = next(number for number, one in enumerate(records) if one[1] is not None and b'"payload":{"id":10}' in one[1])
    return [*records[:at], (records[at][0], records[at][1], flat({"id": 10})), *records[at:]]


def flat(row: dict[str, Any]) -> bytes:
    """A row as ExtractNewRecordState leaves it, with its schema."""
    fields = [{"type": "int64" if isinstance(value, int) else "string", "optional": True, "field": name} for name, value in row.items()]
    schema = {"type": "struct", "fields": fields, "optional": False, "name": "x"}
    return json.dumps({"schema": schema, "payload": row}, separators=(",", ":")).encode()


def test_avro_with_a_registry(database: str, tmp_path: Path) -> None:
    """As Connect's AvroConverter writes it: no header of ours on it."""
    project = project_in(tmp_path / "p")
    captured = Captured(database, tmp_path)
    records: list[Record] = []
    emptied = 0
    with open_registry(project.settings) as caller:
        wires = registrar(project.settings, caller)
        for number, batches in enumerate(captured.sets):
            described = captured.described[min(number, 1)]
            encoder = Encoder(
                "debezium", described, Options(topic_prefix="bv", skipped_operations=()), notation=notation("avro", wires.register)
            )
            made = in_order(encoder.encode(batches)).to_pylist()
            for batch in batches:
                for op, lsn in zip(*(batch.data[name].to_pylist() for name in ("_op", "_lsn")), strict=True):
                    if op == "t":
                        emptied = len(records) + sum(row["lsn"] < lsn for row in made)
            records += [(row["topic"], row["key"], row["value"]) for row in made]
    put(project, records[:emptied])
    assert take(project)
    assert kinds(project) == KINDS
    put(project, records[emptied:])
    assert take(project)
    assert kinds(project) == []
    events = bronze(project)
    put(project, records[len(records) // 2 :])
    take(project)
    assert bronze(project) == events
    assert asked(project, "select id, a from silver.made") == [(1, 6)]


def test_what_needs_the_database_is_refused_in_words(tmp_path: Path) -> None:
    project = project_in(tmp_path / "p")
    put(project, golden())
    take(project)
    with pytest.raises(BitVelocityError, match="cannot be done where Debezium's topics are the source") as error:
        prove(project, Database(""), lambda: None)
    assert error.value.code == "NotWithDebezium"
    other = project_in(tmp_path / "p", "[lake]\nsync = false\n")
    with Pipeline(other) as pipeline, pytest.raises(BitVelocityError, match="was filled from Debezium's topics"):
        pipeline.connect("host=127.0.0.1 port=1")


def test_a_source_that_went_back_is_no_repeat(tmp_path: Path) -> None:
    """Restored from a backup, it gives LSNs again that it had given, at a later time."""
    project = project_in(tmp_path / "p")
    records = golden()
    put(project, records)
    take(project)
    name, key, value = next(one for one in records if op_of(one) == "u")
    again = json.loads(value or b"")
    for unit in ("ts_ms", "ts_us", "ts_ns"):
        again["payload"]["source"][unit] = int(again["payload"]["source"][unit] * 1.001)
    put(project, [(name, key, json.dumps(again, separators=(",", ":")).encode())])
    with pytest.raises(BitVelocityError, match="LSNs went back"):
        take(project)


def test_a_topic_that_was_made_anew_is_not_passed_over(tmp_path: Path) -> None:
    """Its offsets begin again, below those that the lake has taken."""
    project, records = project_in(tmp_path / "p"), golden()[: before_truncate(golden())]
    put(project, records)
    take(project)
    shutil.rmtree(project.root / ".bitvelocity" / "streams")
    put(project, records[:5])
    with pytest.raises(BitVelocityError, match="The topic ends at offset"):
        take(project)
    assert (way := status(project).way) is not None
    assert "The topic ends at offset" in way.trouble
    assert diagnosed(project)["topics"] == "bad"


@pytest.mark.parametrize("bus", ["kafka", "nats", "rabbitmq"])
def test_over_each_transport(request: pytest.FixtureRequest, tmp_path: Path, bus: str) -> None:
    """With what Debezium sends again, and a lake that was away; topics of several partitions."""
    server, prefix = request.getfixturevalue(f"{bus}_server"), f"dbz{os.getpid()}"
    where = f'[streams]\nbus = "{bus}"\n[streams.{bus}]\n{"bootstrap" if bus == "kafka" else "url"} = "{server.address}"\n'
    project = project_in(tmp_path / "p", SETTINGS.replace('"bv"', f'"{prefix}"') + where)
    records = [(prefix + name.removeprefix("bv"), key, value) for name, key, value in golden()[: before_truncate(golden())]]
    read = sum(op_of(one) in ("r", "") for one in records[:10])
    put(project, records[: read + 4], 2)
    take(project)
    put(project, records[read:], 2)
    take(project)
    assert kinds(project) == KINDS
    assert bronze(project) == sum("alltypes" in name and value is not None for name, _, value in records)
    found = status(project)
    assert found.level
    assert found.way is not None
    assert {lag.records for lag in found.way.lags} == {0}


def test_notes_of_another_lake_are_refused(tmp_path: Path) -> None:
    project = project_in(tmp_path / "p")
    put(project, golden()[:5])
    take(project)
    shutil.copy(project.lake / ".debezium.json", tmp_path / "kept")
    for count in (6, 7):
        put(project, golden()[5:count])
        take(project)
    shutil.copy(tmp_path / "kept", project.lake / ".debezium.json")
    with pytest.raises(BitVelocityError, match="notes of Debezium's topics"):
        take(project)
