"""Records that are no changes: the flow stops before them, or they are set apart once, and their keys wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from bitvelocity.cli.app import cli
from bitvelocity.errors import BusError
from bitvelocity.flow import (
    Pipeline,
    Project,
    find_letters,
    key_text,
    open_bus,
    open_project,
    open_reader,
    open_registry,
    order_letters,
    prepare,
    prometheus,
    status,
)
from bitvelocity.flow.carrying import Carrier
from bitvelocity.oltp import connect
from bitvelocity.serving import ask
from bitvelocity.streams import PLACE_HEADER, PLACED_SCHEMA, RECORD_SCHEMA, Bus, Partition, parse_place

ENTITIES = '''
from typing import Annotated
from bitvelocity.contracts import Entity, Key

class Thing(Entity, table="things", name="things", audit=False):
    """A thing."""

    id: Annotated[int, Key()]
    name: str | None
'''
TOPIC = "shop.public.things"
STEPS = ("silver committed", "letters committed")


def project_at(folder: Path, dsn: str, dead_letters: str) -> Project:
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "entities.py").write_text(ENTITIES)
    slot = f"letters_{folder.name.lower().replace('-', '_')}"
    (folder / "bitvelocity.toml").write_text(
        f'[database]\ndsn = "{dsn}"\n[capture]\nslot = "{slot}"\n[lake]\nsync = false\n'
        f'[streams]\nroute = "bus"\nprefix = "shop"\ndead_letters = "{dead_letters}"\n'
    )
    return open_project(folder)


class Shop:
    """A project whose changes a carrier puts on the bus when it is told to."""

    def __init__(self, folder: Path, dsn: str) -> None:
        self._folder, self._dsn = folder, dsn
        self.project = project_at(folder, dsn, "table")
        prepare(self.project, dsn)
        self._carrier = Carrier(self.project)
        self._carrier.connect(dsn)
        self.bus: Bus = open_bus(self.project.settings)

    def set(self, dead_letters: str) -> None:
        self.project = project_at(self._folder, self._dsn, dead_letters)

    def write(self, *statements: str) -> None:
        before = self._end()
        with connect(self._dsn) as connection:
            for statement in statements:
                connection.execute(statement)
        while self._end() == before:
            self._carrier.step(0.05)

    def _end(self) -> int:
        return self.bus.spans(TOPIC)[0].end if TOPIC in self.bus.topics() else 0

    def records(self) -> list[dict[str, Any]]:
        return self.bus.read(Partition(TOPIC, 0), 0).to_pylist()

    def spoil(self, value: bytes, key: bytes | None) -> None:
        """Put a record with a place behind the last one. It is in no count of a boundary."""
        last = self.records()[-1]
        lsn, ordinal, step = parse_place(dict(last["headers"])[PLACE_HEADER])
        headers = [pair for pair in last["headers"] if pair[0] != PLACE_HEADER]
        row = {"key": key, "value": value, "headers": headers, "timestamp": 0, "lsn": lsn, "ordinal": ordinal, "step": step + 1}
        publisher = self.bus.publisher("other")
        publisher.publish({TOPIC: pa.Table.from_pylist([row], schema=PLACED_SCHEMA)})
        publisher.close()

    def flow(self, at: Any = lambda _: None) -> None:
        with Pipeline(self.project, at=at) as pipeline:
            pipeline.connect(self._dsn)
            pipeline.start()
            pipeline.step(0.0)

    def ask(self, query: str) -> list[dict[str, Any]]:
        with open_reader(self.project) as reader:
            return ask(reader, query).as_dicts()

    def letters(self, columns: str = "code") -> list[Any]:
        rows = self.ask(f'select {columns} from bronze._dead_letters order by "offset"')
        return [tuple(row.values()) if "," in columns else row[columns] for row in rows]

    def names(self) -> dict[int, str]:
        return {row["id"]: row["name"] for row in self.ask("select id, name from silver.things order by id")}

    def close(self) -> None:
        self._carrier.close()
        self.bus.close()


@pytest.fixture
def shop(open_folder: Path, database: str) -> Iterator[Shop]:
    shop = Shop(open_folder / open_folder.name, database)
    yield shop
    shop.close()


def said(shop: Shop, *words: str) -> str:
    """What `bitvelocity dead-letters` prints."""
    done = CliRunner().invoke(cli, ["dead-letters", *words, "--project", str(shop.project.root)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def spoilt(shop: Shop) -> None:
    """Two things; a change of the first that cannot be read, and then one of each that can."""
    shop.write("insert into things values (1, 'a'), (2, 'b')")
    first = shop.records()[-2]
    shop.spoil(b"\0" + (9999).to_bytes(4, "big") + first["value"][5:], first["key"])
    shop.write("update things set name = 'A' where id = 1", "update things set name = 'B' where id = 2")


def test_a_record_that_is_no_change_stops_the_flow_before_it(shop: Shop) -> None:
    shop.set("stop")
    spoilt(shop)
    with pytest.raises(BusError, match=r"(?i)schema") as caught:
        shop.flow()
    assert "dead_letters" in (caught.value.remedy or "")
    assert shop.letters() == []
    assert shop.names() == {1: "a", 2: "b"}


def test_its_key_waits_and_others_go_on_over_restarts(shop: Shop) -> None:
    spoilt(shop)
    shop.flow()
    assert shop.names() == {1: "a", 2: "B"}
    shop.write("update things set name = 'AA' where id = 1", "update things set name = 'BB' where id = 2")
    shop.flow()
    assert shop.names() == {1: "a", 2: "BB"}
    assert status(shop.project).parked == 3
    assert "bitvelocity_dead_letters_parked 3\n" in prometheus(status(shop.project))
    assert shop.letters("code, state, schema_id") == [
        ("40403", "parked", "9999"), *[("Follows", "parked", shop.letters("schema_id")[1])] * 2
    ]  # fmt: skip
    listed = json.loads(said(shop, "list", "--json"))
    assert [(one["offset"], one["code"]) for one in listed] == list(zip([2, 3, 5], shop.letters(), strict=True))
    shown = said(shop, "show", "--key", listed[0]["key"])
    assert shown.count("An earlier record of its key is parked.") == 2
    assert "40403" in shown
    assert said(shop, "list", "--topic", "shop.other") == "There are none.\n"
    shop.set("stop")
    shop.write("update things set name = 'AAA' where id = 1")
    shop.flow()
    assert shop.letters()[1:] == ["Follows"] * 3
    assert shop.names()[1] == "a"


def test_broken_and_foreign_records_go_to_the_table_and_the_topic(shop: Shop) -> None:
    shop.set("topic")
    shop.write("insert into things values (1, 'a')")
    record = shop.records()[0]
    shop.spoil(record["value"][:9], record["key"])
    strange = {"key": record["key"], "value": b"\xff", "headers": [("who", b"\xfe")], "timestamp": 5}
    shop.bus.append(TOPIC, pa.Table.from_pylist([strange], schema=RECORD_SCHEMA))
    shop.write("insert into things values (2, 'b')")
    shop.flow()
    assert shop.names() == {1: "a", 2: "b"}
    assert shop.letters("code, value") == [("UnreadableValue", record["value"][:9]), ("Foreign", b"\xff")]
    published = shop.bus.read(Partition(TOPIC + ".dlq", 0), 0).to_pylist()
    assert {row["value"] for row in published} == {record["value"][:9], b"\xff"}
    told = next(dict(row["headers"]) for row in published if row["value"] == b"\xff")
    assert told["who"] == b"\xfe"
    assert told["__connect.errors.topic"] == TOPIC.encode()
    assert told["__connect.errors.exception.class.name"] == b"Foreign"


@pytest.mark.parametrize("step", STEPS)
def test_once_whoever_breaks_off_where(shop: Shop, step: str) -> None:
    shop.write("insert into things values (3, 'c')")
    shop.flow()
    spoilt(shop)

    seen: list[str] = []

    def break_off(name: str) -> None:
        seen.append(name)
        if name == step and "set staged" in seen:  # a table that is made commits too
            raise InterruptedError(name)

    with pytest.raises(InterruptedError, match=step):
        shop.flow(break_off)
    shop.write("update things set name = 'AA' where id = 1")
    shop.flow()
    assert shop.letters() == ["40403", "Follows", "Follows"]
    assert shop.names() == {1: "a", 2: "B", 3: "c"}
    assert shop.ask("select count(*) as n from bronze.things")[0]["n"] == 4


@pytest.mark.parametrize("step", ["", "silver committed", "letters redelivered"])
def test_replayed_once_in_order_after_the_schema_was_mended(shop: Shop, step: str) -> None:
    shop.write("insert into things values (1, 'a')")
    record = shop.records()[0]
    known = int.from_bytes(record["value"][1:5], "big")
    with open_registry(shop.project.settings) as registry:
        schema = registry.ask("GET", f"schemas/ids/{known}")["schema"]
        shop.spoil(b"\0" + (known + 1).to_bytes(4, "big") + record["value"][5:], record["key"])
        shop.write("update things set name = 'A' where id = 1", "update things set name = 'AA' where id = 1")
        shop.flow()
        order_letters(shop.project, "replay")
        shop.flow()
        assert shop.letters("state") == ["parked"] * 3
        registry.ask("POST", "subjects/other/versions", {"schema": json.dumps({**json.loads(schema), "doc": "other"})})
    order_letters(shop.project, "replay")
    seen: list[str] = []

    def break_off(name: str) -> None:
        seen.append(name)
        if name == step and "letters planned" in seen:
            raise InterruptedError(name)

    if step:
        with pytest.raises(InterruptedError):
            shop.flow(break_off)
    shop.flow()
    assert shop.letters("state") == ["replayed"] * 3
    assert shop.names() == {1: "AA"}
    assert shop.ask("select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.things")[0] == {"n": 4, "places": 4}
    with pytest.raises(BusError, match="No parked record"):
        order_letters(shop.project, "replay")
    shop.write("update things set name = 'AAA' where id = 1")
    shop.flow()
    assert shop.names() == {1: "AAA"}


def test_what_waits_behind_a_dropped_record_can_be_replayed(shop: Shop) -> None:
    spoilt(shop)
    shop.flow()
    order_letters(shop.project, "drop")
    shop.flow()
    assert shop.letters("state") == ["dropped", "parked"]
    assert shop.names()[1] == "a"
    order_letters(shop.project, "replay", TOPIC, key_text(find_letters(shop.project)[0]["key"]))
    shop.write("update things set name = 'AA' where id = 1")
    shop.flow()
    assert shop.letters("state") == ["dropped", "replayed"]
    assert shop.names() == {1: "AA", 2: "B"}
