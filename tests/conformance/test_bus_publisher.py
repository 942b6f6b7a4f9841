"""What every engine of the bus must do that publishes exactly once."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from tests.conformance.buses import (
    FENCED,
    Running,
    again,
    assert_once,
    assert_ordered,
    column,
    new_topic,
    numbered,
    numbers,
    placed,
    whole,
)
from tests.conformance.test_bus import needs

from bitvelocity.errors import BusError, FencedError
from bitvelocity.streams import PLACE_HEADER, Bus, Place, parse_place


def test_each_record_carries_its_place(bus: Bus) -> None:
    needs(bus, dedup=True)
    topic = new_topic(bus, 2)
    publisher = bus.publisher("p")
    assert publisher.places(topic) == {}
    published = publisher.publish({topic: placed(1, 21)})
    assert (published.written, published.dropped) == (20, 0)
    got = whole(bus, topic, 20)
    places = [[parse_place(value) for name, value in row if name == PLACE_HEADER] for row in column(got, "headers")]
    assert places == [[Place(number, 0, 0)] for number in numbers(got)]
    highest: dict[int, Place] = {}
    for partition, (place,) in zip(column(got, "partition"), places, strict=True):
        highest[partition] = max(place, highest.get(partition, place))
    assert publisher.places(topic) == highest
    publisher.close()


def test_repeats_are_dropped(bus_engine: Running, bus: Bus) -> None:
    needs(bus, dedup=True)
    topic = new_topic(bus, 2)
    publisher = bus.publisher("p")
    publisher.publish({topic: placed(1, 31)})
    assert publisher.publish({topic: placed(1, 31)}).dropped == 30
    partly = publisher.publish({topic: placed(21, 41)})
    assert (partly.written, partly.dropped) == (10, 10)
    publisher.close()
    heir = bus_engine.open().publisher("p")
    assert max(heir.places(topic).values()) == Place(40, 0, 0)
    again_and_more = heir.publish({topic: placed(1, 51)})
    assert (again_and_more.written, again_and_more.dropped) == (10, 40)
    heir.close()
    got = whole(bus, topic, 50)
    assert_once(got, range(1, 51))
    assert_ordered(got)


def test_steps_of_one_change_are_places_of_their_own(bus: Bus) -> None:
    needs(bus, dedup=True)
    topic = new_topic(bus)
    table = placed(1, 4)
    for name, values in (("lsn", [7, 7, 7]), ("ordinal", [0, 0, 1]), ("step", [0, 1, 0])):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    publisher = bus.publisher("p")
    assert publisher.publish({topic: table.slice(0, 1)}).written == 1
    assert publisher.publish({topic: table}).dropped == 1
    assert publisher.places(topic) == {0: Place(7, 1, 0)}
    assert_once(whole(bus, topic, 3), [1, 2, 3])
    publisher.close()


def test_several_topics_in_one_call(bus: Bus) -> None:
    needs(bus, dedup=True)
    one, other = new_topic(bus, 2), new_topic(bus)
    publisher = bus.publisher("p")
    published = publisher.publish({one: placed(1, 11), other: placed(11, 16)})
    assert published.written == 15
    assert {partition.topic for partition in published.ends} == {one, other}
    assert_once(whole(bus, one, 10), range(1, 11))
    assert_once(whole(bus, other, 5), range(11, 16))
    with pytest.raises(BusError):
        publisher.publish({one: placed(20, 21), "no-such-topic": placed(20, 21)})
    publisher.close()
    if bus.abilities.transactions:
        assert_once(whole(bus, one, 10), range(1, 11))


def test_a_predecessor_is_fenced(bus_engine: Running, bus: Bus) -> None:
    needs(bus, dedup=True)
    topic = new_topic(bus, 2)
    old = bus.publisher("p")
    old.publish({topic: placed(1, 11)})
    young = bus_engine.open().publisher("p")
    with pytest.raises(FencedError):
        old.publish({topic: placed(11, 21)})
    young.publish({topic: placed(1, 21)})
    with pytest.raises((FencedError, BusError)):
        old.publish({topic: placed(21, 31)})
    bus.publisher("another").close()
    young.publish({topic: placed(21, 31)})
    assert_once(whole(bus, topic, 30), range(1, 31))
    young.close()


def test_a_publisher_that_is_killed_is_followed(bus_engine: Running, bus: Bus) -> None:
    """Kill -9 in the middle of whatever it did; its follower begins anew from the first place."""
    needs(bus, dedup=True)
    topics = [new_topic(bus, 2), new_topic(bus)]
    for wanted in (2, 5):
        victim = bus_engine.child("publish", ",".join(topics))
        acknowledged = 0
        while acknowledged < wanted:
            acknowledged += json.loads(victim.stdout.readline()) > 0
        victim.kill()
        victim.ended()
    heir = bus_engine.child("publish", ",".join(topics), "400")
    assert heir.ended() == 0
    for topic in topics:
        got = whole(bus, topic, 400)
        beyond = [number for number in numbers(got) if number > 400]  # of a victim that was quick
        assert_once(got, [*range(1, 401), *range(401, max(beyond, default=400) + 1)])
        assert_ordered(got)


def test_two_publishers_of_one_name_race(bus_engine: Running, bus: Bus) -> None:
    """A zombie goes on while its successor works: it is fenced, and nothing is doubled."""
    needs(bus, dedup=True)
    topic = new_topic(bus, 2)
    zombie = bus_engine.child("publish", topic)
    zombie.stdout.readline()
    again(lambda: bus.publisher("the-one")).publish({topic: placed(1, 2)})
    assert zombie.ended() == FENCED
    end = max(numbers(whole(bus, topic, 1)))
    assert_once(whole(bus, topic, end), range(1, end + 1))


def test_publishing_goes_on_over_a_restart(bus_engine: Running, bus: Bus) -> None:
    """The server is stopped, and then killed, in mid-flight."""
    needs(bus, dedup=True)
    topic = new_topic(bus, 2)
    worker = bus_engine.child("publish", topic, "1200", "0.002")
    stops: list[Any] = [bus_engine.restart, bus_engine.kill]
    for stop in stops:
        while not json.loads(worker.stdout.readline()):
            pass
        stop()
    assert worker.ended() == 0
    got = again(lambda: whole(bus, topic, 1200))
    assert_once(got, range(1, 1201))
    assert_ordered(got)


def test_a_plain_writer_that_is_killed(bus_engine: Running, bus: Bus) -> None:
    """All that was acknowledged is there, in order; of the call under way perhaps a part."""
    topic = new_topic(bus, 2)
    victim = bus_engine.child("append", topic)
    for _ in range(5):
        acknowledged = json.loads(victim.stdout.readline())
    victim.kill()
    for line in victim.stdout:
        acknowledged = json.loads(line)
    got = whole(bus, topic, acknowledged)
    found = sorted(numbers(got))
    assert found[:acknowledged] == [*range(acknowledged)]
    assert set(found[acknowledged:]) <= set(range(acknowledged, acknowledged + 20))
    if bus.abilities.order != "none":
        assert_ordered(got)


def test_what_was_acknowledged_outlives_the_server(bus_engine: Running, bus: Bus) -> None:
    topic = new_topic(bus, 2)
    bus.append(topic, numbered(0, 50))
    bus_engine.kill()
    got = again(lambda: whole(bus, topic, 50))
    assert_once(got, range(50))
