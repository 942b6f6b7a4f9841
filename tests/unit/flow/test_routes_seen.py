"""What an operator sees of a route: how far it is, what is in its way, what is wrong with its topics."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.flow.test_outlets import ROUTE, TOPIC, routed, run, write

from bitvelocity.cli.app import cli
from bitvelocity.flow import Project, diagnose, open_bus, prepare, prometheus, status
from bitvelocity.flow.buses import place_of
from bitvelocity.streams import Topic

Make = Callable[[str], Project]
AWAY = '[streams.nats]\nurl = "nats://127.0.0.1:9"\n' + ROUTE.replace("feed", "away") + 'bus = "nats"\n'


def test_a_route_that_stands_still_is_told_until_it_got_through(make_project: Make, database: str) -> None:
    project = routed(make_project(database), AWAY)
    (new,) = status(project).routes
    assert (new.state, new.begun, new.position, new.as_dict()["position"]) == ("level", False, -1, None)
    prepare(project, database)
    write(database, "insert into things values (0, 'z')")
    run(project, database, told="insert into things values (1, 'a'), (2, 'b')")
    (still,) = status(project).routes
    assert (still.state, still.records) == ("stands still", 3)
    assert still.topics[0].seconds > 0
    assert still.trouble
    assert "does not get through" in still.trouble.what
    lines = prometheus(status(project)).splitlines()
    assert f'bitvelocity_consumer_lag_records{{group="route away",topic="{TOPIC}",partition=""}} 3' in lines
    assert 'bitvelocity_route_stands_still{route="away",bus="nats"} 1' in lines
    said = CliRunner().invoke(cli, ["status", "--project", str(project.root)])
    assert "route     away: to nats, nothing told yet, stands still" in said.output, said.output
    assert "tried again by the next bitvelocity up" in said.output
    (found,) = [check for check in diagnose(project.root) if check.name == "route away"]
    assert (found.state, "NATS" in found.what) == ("bad", True), found
    again = run(project, database)
    assert again, "it is still away"
    (trouble,) = [route.trouble for route in status(project).routes]
    assert trouble
    assert trouble.times > 1
    project = routed(project, ROUTE.replace("feed", "away"))
    assert run(project, database) == []
    told = json.loads(json.dumps(status(project).as_dict()))["routes"]
    assert [(one["state"], one["begun"], one["trouble"], one["topics"][0]["records"]) for one in told] == [("level", True, None, 0)]


def test_the_doctor_sees_topics_that_are_not_as_they_are_wanted(make_project: Make, database: str) -> None:
    project = routed(make_project(database), ROUTE, "partitions = 2\nretention_hours = 5\n")
    assert verdict(project) == ("ok", "no topics yet (bitvelocity up makes them)")
    prepare(project, database)
    assert run(project, database) == []
    assert verdict(project) == ("ok", "no topics on embedded yet; a topic is made by its first record")
    assert run(project, database, told="insert into things values (1, 'a')") == []
    assert verdict(project) == ("ok", "1 topics on embedded, as they are wanted")
    changed = routed(project, ROUTE, "partitions = 3\ncompacted = true\n")
    words = [check.what for check in diagnose(changed.root) if check.name == "route feed"]
    assert ["2 partitions, and 3" in words[0], "not compacted, and should be" in words[1], "for 5 hours" in words[2]] == [True] * 3
    run(changed, database, told="insert into things values (2, 'b')")
    assert [check.what for check in diagnose(changed.root) if check.name == "route feed"] == words[:1], "up has brought it to what is wanted"
    with closing(open_bus(changed.settings)) as bus:
        assert bus.held(Topic(name=TOPIC)) == Topic(name=TOPIC, partitions=2, compacted=True)
    for file in (Path(changed.root) / changed.settings.streams.embedded.path / "topics").glob("*"):
        file.unlink()
    state, what = verdict(changed)
    assert (state, what.startswith(f"gone from embedded: {TOPIC}")) == ("warn", True)


def test_the_doctor_asks_the_registry_of_the_routes(make_project: Make, database: str) -> None:
    avro = ROUTE.replace('"json"', '"avro"')
    project = make_project(database)
    own = {check.name: check for check in diagnose(routed(project, avro).root)}["registry"]
    assert own.state == "ok"
    other = routed(project, '[registry]\nurl = "http://127.0.0.1:9"\n', avro)
    away = {check.name: check for check in diagnose(other.root)}["registry"]
    assert (away.state, away.remedy) == ("bad", "Start it, or correct the address.")


def test_the_doctor_looks_for_the_programs_of_servers(make_project: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    project = routed(make_project(""), '[streams]\nrun = ["kafka"]\n')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (found,) = [check for check in diagnose(project.root) if check.name == "server kafka"]
    assert (found.state, "there is no `java`" in found.what, "apt-get" in str(found.remedy)) == ("bad", True, True)


def test_a_transport_is_named_by_its_address_and_without_secrets(make_project: Make) -> None:
    more = '''[streams.kafka]
bootstrap = "one:1, two:2"
[streams.nats]
url = "tls://me:secret@there:4222"
[streams.rabbitmq]
url = "amqps://me:secret@[::1]:5671/%2F?stream_port=5551"
'''
    project = make_project("")
    settings = routed(project, more).settings
    names = ("kafka", "nats", "rabbitmq-queues", "embedded")
    assert [place_of(settings, name) for name in names] == [
        "kafka at one:1, two:2", "nats at there:4222", "rabbitmq-queues at [::1]:5671", "embedded",
    ]  # fmt: skip
    assert place_of(routed(project, "").settings, "nats") == "nats", "none is named, and none was started"


@pytest.mark.parametrize(("more", "why"), [('bus = "rabbitmq-queues"\n', "order"), ('entities = ["other"]\n', "no entity other")])
def test_a_route_that_cannot_be_gone_is_a_finding(make_project: Make, more: str, why: str) -> None:
    project = routed(make_project(""), ROUTE, more)
    (found,) = [check for check in diagnose(project.root) if check.name == "routes"]
    assert (found.state, why in found.what) == ("bad", True)
    assert any(why in note for note in status(project).notes)


def verdict(project: Project) -> tuple[str, str]:
    (found,) = [check for check in diagnose(project.root) if check.name == "route feed"]
    return found.state, found.what
