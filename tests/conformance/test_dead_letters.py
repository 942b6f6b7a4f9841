"""Records that are no changes: the flow stops before them, or they are set apart once, and their keys wait."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from click.testing import CliRunner
from tests.conformance.buses import whole
from tests.conformance.letters import ENTITIES, Shop

from bitvelocity.cli.app import cli
from bitvelocity.errors import BusError, LakeError, PoisonError
from bitvelocity.flow import (
    Pipeline,
    find_letters,
    key_text,
    open_project,
    open_registry,
    order_letters,
    prometheus,
    status,
)
from bitvelocity.lakehouse import LETTERS_SCHEMA, LocalTable, rebuild, stored_letters
from bitvelocity.oltp import connect
from bitvelocity.streams import PLACE_HEADER, RECORD_SCHEMA, Topic

BUSES = {
    "embedded": "",
    "kafka": 'bus = "kafka"\n[streams.kafka]\nbootstrap = "{}"',
    "nats": 'bus = "nats"\n[streams.nats]\nurl = "{}"',
    "rabbitmq": 'bus = "rabbitmq"\n[streams.rabbitmq]\nurl = "{}"',
}


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
    assert said(shop, "list", "--topic", "letters.other") == "There are none.\n"
    shop.set("stop")
    shop.write("update things set name = 'AAA' where id = 1")
    shop.flow()
    assert shop.letters()[1:] == ["Follows"] * 3
    assert shop.names()[1] == "a"
    assert json.loads(said(shop, "replay", "--json")) == {"ordered": "replay", "letters": 4, "running": False}


def test_broken_and_foreign_records_go_to_the_table_and_the_topic(shop: Shop) -> None:
    shop.set("topic")
    shop.write("insert into things values (1, 'a')")
    record = shop.records()[0]
    shop.spoil(record["value"][:9], record["key"])
    strange = {"key": record["key"], "value": b"\xff", "headers": [("who", b"\xfe")], "timestamp": 5}
    shop.bus.append(shop.topic, pa.Table.from_pylist([strange], schema=RECORD_SCHEMA))
    shop.write("insert into things values (2, 'b')")
    shop.flow()
    assert shop.names() == {1: "a", 2: "b"}
    assert shop.letters("code, value") == [("UnreadableValue", record["value"][:9]), ("Foreign", b"\xff")]
    published = whole(shop.bus, shop.topic + ".dlq", 0).to_pylist()
    assert {row["value"] for row in published} == {record["value"][:9], b"\xff"}
    told = next(dict(row["headers"]) for row in published if row["value"] == b"\xff")
    assert told["who"] == b"\xfe"
    assert told["__connect.errors.topic"] == shop.topic.encode()
    assert told["__connect.errors.exception.class.name"] == b"Foreign"


@pytest.mark.parametrize("bus", BUSES)
def test_over_each_transport(request: pytest.FixtureRequest, open_folder: Path, database: str, bus: str) -> None:
    """Killed when its letters are published and nothing is committed; on the topic, too, each is once that has a place."""
    address = request.getfixturevalue(f"{bus}_server").address if BUSES[bus] else ""
    shop = Shop(open_folder / open_folder.name, database, BUSES[bus].format(address))
    spoilt(shop)
    shop.bus.append(shop.topic, pa.Table.from_pylist([{"key": b"x", "value": b"\xff", "headers": [], "timestamp": 5}], schema=RECORD_SCHEMA))
    shop.write("update things set name = 'BB' where id = 2")
    shop.set("topic")
    assert shop.flow_killed("set staged")
    shop.flow()
    assert shop.letters() == ["40403", "Follows", "Foreign"]
    assert shop.names() == {1: "a", 2: "BB"}
    published = [dict(row["headers"]) for row in whole(shop.bus, shop.topic + ".dlq", 0).to_pylist()]
    told = [(one["__connect.errors.exception.class.name"].decode(), PLACE_HEADER in one) for one in published]
    assert sorted(set(told)) == [("40403", True), ("Follows", True), ("Foreign", False)]
    assert [told.count(one) for one in (("40403", True), ("Follows", True))] == [1, 1]
    order_letters(shop.project, "drop")
    order_letters(shop.project, "replay")
    shop.flow()
    assert shop.letters("state") == ["dropped", "replayed", "dropped"]
    assert shop.names() == {1: "A", 2: "BB"}
    shop.close()


@pytest.mark.parametrize("bus", ["embedded", "kafka"])
def test_a_letter_without_a_place_is_once_too(request: pytest.FixtureRequest, open_folder: Path, database: str, bus: str) -> None:
    """Killed when it is published and not committed: where it came from tells that it is there."""
    address = request.getfixturevalue(f"{bus}_server").address if BUSES[bus] else ""
    shop = Shop(open_folder / open_folder.name, database, BUSES[bus].format(address))
    shop.set("topic")
    shop.write("insert into things values (1, 'a')")
    shop.flow()
    strange: list[dict[str, object]] = [{"key": b"x", "value": value, "headers": [], "timestamp": 5} for value in (b"\xff", b"\xfe")]
    shop.bus.append(shop.topic, pa.Table.from_pylist(strange, schema=RECORD_SCHEMA))
    told = {"connector.name": shop.project.settings.streams.prefix, "topic": shop.topic, "partition": "0", "offset": "x"}
    forged = [{**strange[0], "value": b"", "headers": [(f"__connect.errors.{name}", word.encode()) for name, word in told.items()]}]
    shop.bus.ensure(Topic(name=shop.topic + ".dlq", partitions=1))
    shop.bus.append(shop.topic + ".dlq", pa.Table.from_pylist(forged, schema=RECORD_SCHEMA))
    shop.write("insert into things values (2, 'b')")
    assert shop.flow_killed("set staged")
    killed = [row["value"] for row in whole(shop.bus, shop.topic + ".dlq", 0).to_pylist()]
    assert (sorted(killed), shop.letters()) == ([b"", b"\xfe", b"\xff"], [])
    shop.flow()
    assert [row["value"] for row in whole(shop.bus, shop.topic + ".dlq", 0).to_pylist()] == killed
    assert shop.letters() == ["Foreign", "Foreign"]
    assert shop.names() == {1: "a", 2: "b"}
    shop.close()


def test_what_is_replayed_comes_to_routes_and_the_audit_trail_once(open_folder: Path, database: str) -> None:
    """Killed when the lake has it, and they have not."""
    trailed = ENTITIES.replace("audit=False", 'audit=False, audit_trail="cdc"')
    route = '[[routes]]\nname = "feed"\nwire = "json"\nprefix = "feed"'
    shop = Shop(open_folder / open_folder.name, database, route, entities=trailed)
    shop.write("insert into things values (1, 'a'), (2, 'b')")
    shop.flow()
    shop.write("update things set name = 'B' where id = 2")
    shop.poison(like=0)
    shop.write("update things set name = 'A' where id = 1", "update things set name = 'AA' where id = 1")
    shop.flow()
    order_letters(shop.project, "drop")
    order_letters(shop.project, "replay")
    assert shop.flow_killed("letters committed with them")
    assert shop.flow_killed("published")
    shop.write("update things set name = 'BB' where id = 2")
    shop.flow()
    shop.flow()
    values = [json.loads(row["value"])["after"] for row in whole(shop.bus, "feed.public.things", 0).to_pylist()]
    assert [(one["id"], one["name"]) for one in values] == [(1, "a"), (2, "b"), (2, "B"), (1, "A"), (1, "AA"), (2, "BB")]
    with connect(database) as connection:
        trail = connection.execute("select new_values ->> 'name' from things_audit order by 1").fetchall()
    assert [name for (name,) in trail] == ["A", "AA", "B", "BB"]
    shop.close()


KILLS = {
    "apart": "bus records read, letters committed, letters committed, bronze committed, silver committed, watermark replaced",
    "drop": "redelivery order taken, letters committed",
    "replay": "redelivery planned, bronze committed, silver committed, letters linked, letters committed with them, published",
}


def test_each_once_and_in_order_after_kills_at_each_step(shop: Shop) -> None:
    """One process after the other goes on where the last was killed. A drop ends before its replay begins."""
    shop.write("insert into things values (1, 'a')")
    shop.flow()
    shop.write("insert into things values (2, 'b')")
    shop.poison(like=0)
    shop.write("update things set name = 'A' where id = 1", "update things set name = 'AA' where id = 1")
    for verb, steps in KILLS.items():
        if verb != "apart":
            order_letters(shop.project, "drop" if verb == "drop" else "replay")
        for step in steps.split(", "):
            assert shop.flow_killed(step), (verb, step)
        shop.flow()
        shop.write(f"update things set name = name || '{verb[0]}' where id = 2")
        shop.flow()
        last = {"apart": "parked", "drop": "dropped", "replay": "dropped"}[verb]
        assert shop.letters("state") == [last, *["replayed" if verb == "replay" else "parked"] * 2], verb
    assert shop.names() == {1: "AA", 2: "badr"}
    things = shop.ask("select after_id, after_name from bronze.things order by _lsn, _ordinal")
    assert [(row["after_id"], row["after_name"]) for row in things] == [
        ("1", "a"), ("2", "b"), ("2", "ba"), ("2", "bad"), ("1", "A"), ("1", "AA"), ("2", "badr")
    ]  # fmt: skip


def test_what_ended_goes_after_its_time_but_not_while_an_order_names_it(shop: Shop) -> None:
    """The order was planned by a version that wrote all names into the plan, and killed when the lake had it."""
    spoilt(shop)
    shop.flow()
    order_letters(shop.project, "drop")
    shop.flow()
    order_letters(shop.project, "replay")
    assert shop.flow_killed("letters committed with them")
    plan = shop.project.lake / ".dead-letters" / "plan.json"
    told = json.loads(plan.read_bytes())
    with pa.OSFile(str(plan.with_name(told["letters"])), "rb") as file:
        columns = [column.cast(pa.int64()) if column.type != pa.string() else column for column in pa.ipc.open_file(file).read_all().columns]
    plan.write_text(json.dumps({**told, "letters": list(zip(*(column.to_pylist() for column in columns), strict=True))}))
    table = LocalTable.open(shop.project.lake / "bronze" / "_dead_letters", LETTERS_SCHEMA, sync=False)
    letters = pa.concat_tables(stored_letters(shop.project.lake))
    aged = letters.set_column(letters.num_columns - 1, "ended_at", pc.subtract(letters["ended_at"], pa.scalar(timedelta(days=91))))
    table.commit([table.stage(aged)], table.position(), replace=True)
    assert shop.flow_killed("published")
    shop.flow()
    assert shop.letters("state") == ["dropped", "replayed"]
    assert list(plan.parent.iterdir()) == []
    shop.write("update things set name = 'BB' where id = 2")
    shop.flow()
    assert shop.letters("state") == ["replayed"]  # it ended again, with the order
    assert shop.names() == {1: "A", 2: "BB"}


@pytest.mark.parametrize("step", ["", "letters committed", "bronze committed"])
def test_replayed_once_in_order_after_the_schema_was_mended(shop: Shop, step: str) -> None:
    """Also if it was mended between a crash in mid-commit and the next start: what was set apart is, and stays."""
    shop.write("insert into things values (1, 'a')")
    record = shop.records()[0]
    known = int.from_bytes(record["value"][1:5], "big")
    shop.flow()
    shop.write("insert into things values (2, 'b')")
    shop.spoil(b"\0" + (known + 1).to_bytes(4, "big") + record["value"][5:], record["key"])
    shop.write("update things set name = 'A' where id = 1", "update things set name = 'AA' where id = 1")
    seen: list[str] = []

    def break_off(name: str) -> None:
        seen.append(name)
        if name == step and "set staged" in seen:  # a table that is made commits too
            raise InterruptedError(name)

    if step:
        with pytest.raises(InterruptedError):
            shop.flow(break_off)
    else:
        shop.flow()
        order_letters(shop.project, "replay")
        shop.flow()
        assert shop.letters("state") == ["parked"] * 3
    with open_registry(shop.project.settings) as registry:
        schema = json.loads(registry.ask("GET", f"schemas/ids/{known}")["schema"])
        registry.ask("POST", "subjects/other/versions", {"schema": json.dumps({**schema, "doc": "other"})})
    if step:
        shop.flow()
        assert shop.letters("state") == ["parked"] * 3
    order_letters(shop.project, "replay")
    shop.flow()
    assert shop.letters("state") == ["replayed"] * 3
    assert shop.names() == {1: "AA", 2: "b"}
    assert shop.ask("select count(*) as n, count(distinct (_lsn, _ordinal)) as places from bronze.things")[0] == {"n": 5, "places": 5}
    with pytest.raises(BusError, match="No parked record"):
        order_letters(shop.project, "replay")


def test_a_record_that_breaks_its_contract_waits_until_the_contract_is_mended(shop: Shop) -> None:
    """The database was altered ahead of the entity. What only the lake's types have not is in `_unfit`, as ever."""
    with connect(shop.project.settings.database.dsn) as connection:
        connection.execute("alter table things alter price type numeric(12, 4)")
    shop.write("insert into things values (1, 'a', 1.25), (2, 'b', 'NaN'), (3, 'c', 3.14159)")
    shop.write("update things set price = 3 where id = 3", "update things set id = 33 where id = 3")
    shop.flow()
    assert shop.names() == {1: "a", 2: "b", 33: "c"}
    assert shop.letters("class, code, state") == [("contract", "UnfitValue", "parked"), *[("follows", "Follows", "parked")] * 3]
    assert "column price is no decimal(6,2)" in shop.letters("reason")[0]
    entities = shop.project.root / "entities.py"
    entities.write_text(entities.read_text().replace("Numeric(6, 2)", "Numeric(12, 4)"))
    shop.project = open_project(shop.project.root)
    rebuild(shop.project.lake, shop.project.specs[0], sync=False)
    order_letters(shop.project, "replay")
    shop.flow()
    assert shop.letters("state") == ["replayed"] * 4
    assert shop.names() == {1: "a", 2: "b", 33: "c"}


def test_rules_are_held_where_the_project_says_so(shop: Shop) -> None:
    with connect(shop.project.settings.database.dsn) as connection:
        connection.execute("alter table things drop constraint ck_things_name_pattern")
    shop.set("table", 'contract = "rules"')
    shop.write("insert into things values (1, 'a'), (2, '2')")
    shop.write("update things set name = 'b' where id = 2")
    shop.flow()
    assert shop.letters("class, code") == [("contract", "NoMatch"), ("follows", "Follows")]
    assert shop.names() == {1: "a"}


def test_what_the_lake_cannot_write_stops_it_or_is_set_apart(shop: Shop) -> None:
    """A list of absent columns that is no JSON trips silver. It passes by once, and the second time it does not."""
    shop.write("insert into things values (1, 'a')")
    shop.flow()
    shop.write("insert into things values (2, 'b')")
    shop.poison(like=0)
    shop.write("update things set name = 'A' where id = 1")
    shop.set("stop")
    with Pipeline(shop.project) as pipeline:
        for kind in (PoisonError, LakeError):
            with pytest.raises(LakeError) as caught:
                shop.step(pipeline)
            assert (type(caught.value), caught.value.code) == (kind, "Poison")
            assert "dead_letters" in (caught.value.remedy or "")
    assert status(shop.project).parked == 0
    shop.set("table")
    shop.flow()
    assert shop.names() == {1: "a", 2: "b"}
    assert shop.letters("class, code") == [("sink", "LakeRefused"), ("follows", "Follows")]
    order_letters(shop.project, "replay")
    shop.flow()
    assert shop.letters("state") == ["parked", "parked"]
    order_letters(shop.project, "drop")
    order_letters(shop.project, "replay")
    shop.flow()
    shop.flow()
    assert shop.letters("state") == ["dropped", "replayed"]
    assert shop.names() == {1: "A", 2: "b"}


def test_what_waits_behind_a_dropped_record_can_be_replayed(shop: Shop) -> None:
    spoilt(shop)
    shop.flow()
    key = key_text(find_letters(shop.project)[0]["key"])
    ordered = json.loads(said(shop, "drop", "--topic", shop.topic, "--key", key, "--json"))
    assert ordered == {"ordered": "drop", "letters": 1, "running": False}
    shop.flow()
    told = json.loads(said(shop, "show", "--state", "all", "--json"))
    assert told == json.loads(said(shop, "list", "--state", "all", "--json"))
    assert [(one["key"], one["state"], one["class"]) for one in told] == [(key, "dropped", "undecodable"), (key, "parked", "follows")]
    assert shop.names()[1] == "a"
    assert "replay of 1 records is ordered; bitvelocity up carries it out." in said(shop, "replay", "--key", key)
    shop.write("update things set name = 'AA' where id = 1")
    shop.flow()
    assert shop.letters("state") == ["dropped", "replayed"]
    assert shop.names() == {1: "AA", 2: "B"}
