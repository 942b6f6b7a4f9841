"""A route in the story of kills.py: each change that bronze has is on its topics, once where the transport drops repeats."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from bitvelocity.flow import open_bus, open_project, open_reader
from bitvelocity.flow.outbound import route_stands
from bitvelocity.serving import ask
from bitvelocity.streams import Bus, Partition, abilities_of

PREFIX = "beside"


def section(bus: str) -> str:
    """The route for bitvelocity.toml: all changes of all entities."""
    order = "key" if abilities_of(bus).dedup else "none"
    return (
        f'\n[[routes]]\nname = "{PREFIX}"\nbus = "{bus}"\nprefix = "{PREFIX}"\nwire = "json"\nformat = "bitvelocity"\n'
        f'operations = ["c", "u", "d", "t", "r"]\norder = "{order}"\n'
    )


def is_level(root: Path) -> bool:
    """The route has told all that readers of the lake see."""
    return all(stand.state == "level" for stand in route_stands(open_project(root)))


def verdict(root: Path, bus: str) -> tuple[bool, str]:
    """Whether the topics have what bronze has; and in words."""
    project = open_project(root)
    with closing(open_bus(project.settings, bus)) as opened:
        topics = sorted(name for name in opened.topics() if name.startswith(f"{PREFIX}."))
        ids = Counter(one for records in _records(opened, topics) for one in _ids(records))
    told = {_place(one) for one in ids}
    expected: set[tuple[int, int]] = set()
    with open_reader(project) as reader:
        for spec in project.specs:
            found = ask(reader, f'select _lsn, _ordinal from bronze."{spec.name}"').as_dicts()
            expected |= {(int(row["_lsn"]), int(row["_ordinal"])) for row in found}
    doubled = sum(times - 1 for times in ids.values())
    missing, strange = len(expected - told), len(told - expected)
    if missing or strange:
        print(f"missing: {sorted(expected - told)[:5]}, strange: {sorted(told - expected)[:5]}", file=sys.stderr)
    right = not missing and not strange and not (doubled and abilities_of(bus).dedup)
    return right, f"{bus}: {len(told):,} changes, {missing:,} missing, {doubled:,} records doubled"


def _records(bus: Bus, topics: list[str]) -> Iterator[pa.Table]:
    if not bus.abilities.replay:
        with closing(bus.member("judge", topics)) as member:
            while fetched := member.poll(3.0):
                yield from (one.records for one in fetched)
                member.commit({one.partition: one.next for one in fetched})
        return
    for topic in topics:
        for number, span in bus.spans(topic).items():
            offset = span.first
            while offset < span.end:
                records = bus.read(Partition(topic, number), offset, timeout=5.0)
                yield records
                offset = int(records["offset"][-1].as_py() or 0) + 1


def _ids(records: pa.Table) -> Iterator[str]:
    """The ids of the events; a tombstone has none."""
    for headers in records["headers"].to_pylist():
        found = dict(headers or ()).get("ce_id")
        if found is not None:
            yield found.decode()


def _place(event: str) -> tuple[int, int]:
    lsn, _, place = event.split("/")
    return int(lsn), int(place.partition(".")[0])
