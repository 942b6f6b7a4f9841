"""Routes: changes to topics beside the lake, each once, whatever happens to the bus or to us."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from bitvelocity.errors import SettingsError
from bitvelocity.flow import Pipeline, Project, open_bus, open_project, prepare
from bitvelocity.flow.outbound import route_stands
from bitvelocity.oltp import connect
from bitvelocity.streams import Partition, Topic
from bitvelocity.streams.embedded import EmbeddedBus
from bitvelocity.streams.embedded.upkeep import keep

ROUTE = """
[[routes]]
name = "feed"
wire = "json"
format = "debezium-unwrapped"
prefix = "shop"
"""
TOPIC = "shop.public.things"
Make = Callable[[str], Project]


READ = ["offset", "key", "value", "headers", "timestamp"]


def routed(project: Project, *sections: str) -> Project:
    file = project.root / "bitvelocity.toml"
    kept = file.read_text().partition("#")[0]
    file.write_text(kept + "#\n" + "".join(sections))
    return open_project(project.root)


def write(dsn: str, *statements: str) -> None:
    with connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def run(project: Project, dsn: str, *, told: str = "") -> list[str]:
    """Until the lake has all that was committed, and each route too, or is in trouble; what the trouble was."""
    with connect(dsn, autocommit=True) as connection:
        (end,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
    with Pipeline(project) as pipeline:
        pipeline.connect(dsn)
        pipeline.start()
        connection = connect(dsn, autocommit=True)
        if told:
            connection.execute(told)
            (end,) = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone() or (0,)
        connection.close()
        while pipeline.seen < int(end):
            pipeline.step(0.1)
        pipeline.step(0.05)
        pipeline.finish()
        while not pipeline.trouble and any(route.state == "behind" for route in route_stands(project)):
            pipeline.step(0.05)
            pipeline.finish()
        return [pipeline.trouble.what] if pipeline.trouble else []


def values(project: Project, topic: str = TOPIC, partition: int = 0) -> list[Any]:
    bus = open_bus(project.settings)
    try:
        if topic not in bus.topics():
            return []
        found = bus.read(Partition(topic, partition), 0, timeout=0)
        return [json.loads(value) if value else None for value in found["value"].to_pylist()]
    finally:
        bus.close()


def test_each_change_is_told_once_over_restarts_and_a_lost_record(make_project: Make, database: str) -> None:
    project = routed(make_project(database), ROUTE)
    prepare(project, database)
    write(database, "insert into things values (1, 'a'), (2, 'b')")
    assert run(project, database, told="insert into things values (3, 'c')") == []
    assert [row["name"] for row in values(project)] == ["a", "b", "c"]
    assert run(project, database, told="update things set name = 'd' where id = 3") == []
    assert [row["name"] for row in values(project)] == ["a", "b", "c", "d"]
    (project.settings.state_folder / "routes" / "feed.json").unlink()
    assert run(project, database, told="delete from things where id = 1") == []
    assert [row and row["name"] for row in values(project)] == ["a", "b", "c", "d", None]
    with closing(open_bus(project.settings)) as bus:
        before = [bus.read(Partition(TOPIC, 0), offset, limit=1).select(READ).to_pylist() for offset in range(5)]
        assert isinstance(bus, EmbeddedBus)
        bus.ensure(Topic(name=TOPIC, retention_bytes=1))
        keep(bus.topic(TOPIC))
        assert bus.spans(TOPIC)[0].first >= 3
        assert [bus.read(Partition(TOPIC, 0), offset, limit=1).select(READ).to_pylist() for offset in range(5)] == before


def test_a_new_route_begins_with_what_bronze_has_or_from_now(make_project: Make, database: str) -> None:
    project = make_project(database)
    prepare(project, database)
    write(database, "insert into things values (1, 'a')")
    run(project, database)
    later = ROUTE.replace("shop", "later").replace("feed", "later") + 'start = "now"\n'
    project = routed(project, ROUTE, later)
    run(project, database, told="insert into things values (2, 'b')")
    assert [row["name"] for row in values(project)] == ["a", "b"]
    assert [row["name"] for row in values(project, "later.public.things")] == ["b"]


def test_one_topic_for_all_takes_only_the_operations_that_it_wants(make_project: Make, database: str) -> None:
    project = routed(make_project(database), ROUTE, 'topic = "all"\noperations = ["d", "r"]\ncompacted = true\n')
    prepare(project, database)
    write(database, "insert into things values (1, 'a')")
    run(project, database, told="insert into things values (2, 'b')")
    run(project, database, told="delete from things where id = 1")
    assert [row and row["name"] for row in values(project, "all")] == ["a", None]


def test_a_bus_that_is_away_stops_its_route_only(make_project: Make, database: str) -> None:
    away = '[streams.nats]\nurl = "nats://127.0.0.1:9"\n' + ROUTE.replace("shop", "away").replace("feed", "away")
    project = routed(make_project(database), away, 'bus = "nats"\n', ROUTE)
    prepare(project, database)
    (trouble,) = run(project, database, told="insert into things values (1, 'a')")
    assert "route away does not get through" in trouble
    assert [row["name"] for row in values(project)] == ["a"]


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ('bus = "rabbitmq-queues"', "order"),
        ('bus = "nats"\ncompacted = true', "compacts"),
        ('bus = "rabbitmq-queues"\norder = "none"\npartitions = 3', "divides"),
        ('entities = ["thing"]', "There is no entity thing"),
        ('topic = "shop.public.things"', "a topic of the route feed already"),
        ('wire = "xml"', "wire is 'xml'"),
        ('operations = ["insert"]', "operations"),
        ('options = { "skipped.operations" = "d" }', "its `operations` says it"),
        ('options = { "heartbeat.interval.ms" = "100" }', "it has no heartbeats"),
        ('options = { "add.headers" = "op,nonsense" }', "cannot add 'nonsense'"),
        ('options = { "drop.fields.header.name" = "gone" }', "would drop nothing"),
    ],
)
def test_what_a_route_cannot_have_is_refused_in_words(make_project: Make, route: str, why: str) -> None:
    other = ROUTE.replace("shop", "other").replace("feed", "other").replace('wire = "json"\n', "")
    with pytest.raises(SettingsError, match=why):
        Pipeline(routed(make_project(""), ROUTE, other, route + "\n"))


def test_an_option_of_another_format_is_refused(make_project: Make) -> None:
    """It would do nothing, without a word."""
    route = ROUTE.replace("-unwrapped", "") + 'options = { "add.fields" = "op" }\n'
    with pytest.raises(SettingsError, match=r"add\.fields does nothing in the format debezium") as caught:
        Pipeline(routed(make_project(""), route))
    assert "debezium-unwrapped" in str(caught.value.remedy)


def test_a_route_knows_the_topics_of_another_lake(make_project: Make, database: str) -> None:
    project = routed(make_project(database), ROUTE)
    prepare(project, database)
    run(project, database, told="insert into things values (1, 'a')")
    file = project.settings.state_folder / "routes" / "feed.json"
    file.write_text(json.dumps({"positions": {"public.things": 1 << 60}}))
    (trouble,) = run(project, database)
    assert "ahead of this lake" in trouble
