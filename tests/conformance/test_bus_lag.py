"""How far a group is behind, asked of every engine."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.conformance.buses import new_topic, polled, rows, total
from tests.conformance.test_bus import needs

from bitvelocity.streams import Bus, Lag, Partition, lags
from bitvelocity.streams.lag import samples


def test_lag_in_records_and_in_seconds(bus: Bus) -> None:
    """-1 where nothing was committed, 0 where all is read, else the age of the next unread record."""
    needs(bus, replay=True)
    topic = new_topic(bus, 2)
    count = len(bus.spans(topic))
    now = datetime.fromtimestamp(100, UTC)
    assert lags(bus, "g", [topic], now=now) == [Lag("g", Partition(topic, number), -1, -1) for number in range(count)]
    bus.append(topic, rows([b"%d" % n for n in range(10)], [None], at=1_000_000))
    member = bus.member("g", [topic])
    got = polled([member], lambda got: total(got) >= 10, commit=False)
    third = got[0].records["offset"][2].as_py()
    assert third is not None
    member.commit({Partition(topic, 0): third})
    behind = lags(bus, "g", [topic], now=now)
    assert behind[0] == Lag("g", Partition(topic, 0), 8, 97.0)
    assert [lag.records for lag in behind[1:]] == [-1] * (count - 1)
    member.commit({Partition(topic, 0): got[-1].next})
    assert lags(bus, "g", [topic], now=now)[0] == Lag("g", Partition(topic, 0), 0, 0.0)
    told = [(name, labels["partition"], value) for name, _, _, labels, value in samples(behind)]
    assert told[0] == ("consumer_lag_records", "0", 8.0)
    assert told[count] == ("consumer_lag_seconds", "0", 97.0)
    member.close()
