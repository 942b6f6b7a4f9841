"""What waits in RabbitMQ's queues, as an operator sees it: nothing is made by a look, and nothing handed out."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pika
import pytest
from click.testing import CliRunner
from tests.conformance.buses import PATIENCE_S, new_topic, numbered, polled, total
from tests.conformance.test_routes_away import insert, routed, step_until

from bitvelocity.cli.commands.status import command
from bitvelocity.errors import BusError
from bitvelocity.flow import Pipeline, Project, open_bus, open_project, prometheus, queued, status
from bitvelocity.flow.outbound import route_stands
from bitvelocity.streams import Topic
from bitvelocity.streams.lag import Depth
from bitvelocity.streams.rabbitmq import RabbitQueues, depths
from bitvelocity.streams.rabbitmq.address import parse_address
from bitvelocity.streams.rabbitmq.cursor import span
from bitvelocity.streams.rabbitmq.links import Links
from bitvelocity.streams.rabbitmq.topics import CATALOGUE
from bitvelocity.streams.servers import LocalServer


@pytest.fixture
def queues(rabbitmq_server: LocalServer) -> Iterator[RabbitQueues]:
    with closing(RabbitQueues(rabbitmq_server.address, settle=0)) as bus:
        yield bus


@pytest.fixture
def project(open_folder: Path, database: str, rabbitmq_server: LocalServer) -> Project:
    return routed(open_folder, database, "rabbitmq-queues", rabbitmq_server)


def test_what_waits_is_what_no_member_was_given(queues: RabbitQueues, rabbitmq_server: LocalServer) -> None:
    address, topic = rabbitmq_server.address, new_topic(queues)

    def waiting() -> dict[str, int]:
        return {one.group: one.records for one in depths(address, ["never-made", topic])}

    queues.append(topic, numbered(0, 3))
    assert waiting() == {"unclaimed": 3, "dead": 0}
    member = queues.member("mail.eu", [topic])
    (got,) = polled([member], lambda got: total(got) >= 3, commit=False)
    assert waiting() == {"mail.eu": 0, "unclaimed": 0, "dead": 0}, "a member has them, and has not acknowledged them"
    member.reject(got.partition, [1], again=False)
    member.commit({got.partition: got.next})
    member.close()
    queues.append(topic, numbered(3, 5))
    until(lambda: waiting() == {"mail.eu": 2, "unclaimed": 0, "dead": 1}, waiting)
    with closing(Links(parse_address(address))) as links:
        before = span(links, CATALOGUE)
        with closing(RabbitQueues(address, settle=0)) as other:
            other.member("mail.eu", [topic]).close()
        waiting()
        assert span(links, CATALOGUE) == before, "a group is noted once, and a look leaves nothing"


@pytest.mark.parametrize("group", ["dead", "unclaimed"])
def test_a_group_may_not_have_the_name_of_a_queue_of_the_topic(queues: RabbitQueues, group: str) -> None:
    topic = new_topic(queues)
    queues.append(topic, numbered(0, 1))
    with pytest.raises(BusError, match=f"named {group} would read the topic's own queue"):
        queues.member(group, [topic])
    with closing(queues.member("mail", [topic])) as member:
        assert total(polled([member], lambda got: total(got) >= 1)) == 1


def moved(project: Project, address: str) -> Project:
    """The same with another server, while nobody writes to it."""
    file = project.root / "bitvelocity.toml"
    file.write_text(re.sub('url = ".*"', f'url = "{address}"', file.read_text()))
    return open_project(project.root)


def until(done: Callable[[], bool], found: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, found()


def test_a_group_without_a_note_gets_one_and_a_foreign_exchange_none(queues: RabbitQueues, rabbitmq_server: LocalServer) -> None:
    """The first was made by an earlier version, or its maker was killed; of the second the catalogue knows nothing."""
    topic, foreign = new_topic(queues), f"foreign-{uuid4().hex[:8]}"
    there = parse_address(rabbitmq_server.address)
    with closing(pika.BlockingConnection(pika.ConnectionParameters(there.host, there.port))) as connection:
        plain = connection.channel()
        plain.exchange_declare(foreign, "fanout", durable=True, arguments={"alternate-exchange": f"{topic}.unclaimed"})
        plain.queue_declare(f"{foreign}.unclaimed")
        words = {"x-queue-type": "quorum", "x-delivery-limit": 20, "x-overflow": "reject-publish"}
        words |= {"x-dead-letter-exchange": f"{topic}.dead", "x-dead-letter-strategy": "at-least-once"}
        plain.queue_declare(f"{topic}.old", durable=True, arguments=words)
        plain.queue_bind(f"{topic}.old", topic)
    address = rabbitmq_server.address
    queues.append(topic, numbered(0, 1))
    assert [one.group for one in depths(address, [topic])] == ["unclaimed", "dead"]
    queues.member("old", [topic]).close()
    queues.member("g", [foreign]).close()
    assert [one.group for one in depths(address, [topic])] == ["old", "unclaimed", "dead"]
    assert depths(address, [foreign]) == [Depth(foreign, "unclaimed", 0)]


def test_status_tells_what_waits_and_whether_it_could_ask(
    project: Project, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = f"{project.settings.routes[0].prefix}.public.things"
    assert status(project).queues == (), "nothing was told yet, so nobody is asked"
    with Pipeline(project) as pipeline, closing(open_bus(project.settings)) as bus:
        pipeline.connect(database)
        pipeline.start()
        bus.ensure(Topic(name=topic))
        bus.member("mail", [topic]).close()
        insert(database, pipeline, 1, 7)
        step_until(pipeline, lambda: pipeline.trouble is None and route_stands(project)[0].state == "level")
    lines = prometheus(status(project)).splitlines()
    assert f'bitvelocity_consumer_lag_records{{group="mail",topic="{topic}",partition="0"}} 7' in lines
    assert f'bitvelocity_consumer_lag_records{{group="unclaimed",topic="{topic}",partition="0"}} 0' in lines
    assert f'bitvelocity_queue_dead_records{{topic="{topic}"}} 0' in lines
    assert 'bitvelocity_route_queues_answer{route="feed",bus="rabbitmq-queues"} 1' in lines
    assert not [line for line in lines if line.startswith("bitvelocity_consumer_lag_seconds{group=\"mail\"")]
    shown = CliRunner().invoke(command, ["--project", str(project.root)])
    assert f"  queue   {topic}.mail" in shown.output, shown.output
    assert "7 waiting" in shown.output
    (told,) = json.loads(CliRunner().invoke(command, ["--project", str(project.root), "--json"]).output)["queues"]
    waiting = [{"topic": topic, "group": group, "records": records} for group, records in (("mail", 7), ("unclaimed", 0))]
    dead = [{"topic": topic, "records": 0}]
    assert told == {"route": "feed", "bus": "rabbitmq-queues", "waiting": waiting, "dead": dead, "trouble": None}

    monkeypatch.setattr(queued, "LOOK_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (mute,) = status(moved(project, f"amqp://me:secret@127.0.0.1:{silent.getsockname()[1]}")).queues
    assert (mute.depths, "does not answer within" in mute.trouble, "secret" in mute.trouble) == ((), True, False), mute
    away = moved(project, "amqp://me:secret@127.0.0.1:9")
    (gone,) = status(away).queues
    assert (gone.depths, bool(gone.trouble), "secret" in str(gone.as_dict())) == ((), True, False)
    assert 'bitvelocity_route_queues_answer{route="feed",bus="rabbitmq-queues"} 0' in prometheus(status(away)).splitlines()
    shown = CliRunner().invoke(command, ["--project", str(project.root)])
    assert (shown.exit_code, "What waits in its queues is not known: " in shown.output) == (0, True), shown.output
