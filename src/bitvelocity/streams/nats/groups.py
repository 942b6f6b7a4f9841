"""The document of a group: who takes part, who has which partition since when, and what was committed.

All of it is one key, so that one compare-and-set both checks that a partition is still ours and moves its offset: whoever
lost a partition cannot commit for it, however late it wakes up. No clock is compared with another: a member has died when
its `beat` has not changed for the lease's time on the clock of the one who looks.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import FencedError
from ..bus import Partition
from ..groups import shared_out

Document = dict[str, Any]


@dataclass(slots=True)
class Watch:
    """When each member's beat was last seen to change, by our clock."""

    lease: float
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    def dead(self, members: Mapping[str, Any], me: str) -> list[str]:
        now = time.monotonic()
        for name, member in members.items():
            if self.seen.get(name, (None, 0.0))[0] != member["beat"]:
                self.seen[name] = (member["beat"], now)
        return [name for name in members if name != me and now - self.seen[name][1] > self.lease]


def settle(
    document: Document, me: str, topics: Mapping[str, int], watch: Watch, *, beat: bool
) -> dict[Partition, int]:
    """Give back what others should have, take what is free and ours; each partition that we have, with its generation."""
    members: dict[str, Any] = document.setdefault("members", {})
    held: dict[str, list[Any]] = document.setdefault("held", {})
    mine = members.setdefault(me, {"topics": sorted(topics), "beat": 0})
    for name in watch.dead(members, me):
        _drop(document, name)
    mine["beat"] += int(beat)
    for topic, count in topics.items():
        for number in range(count):
            held.setdefault(_key(Partition(topic, number)), [None, 0])
    owners = {_partition(key): owner for key, (owner, _) in held.items()}
    wanted = shared_out({name: member["topics"] for name, member in members.items()}, owners)
    for partition, owner in owners.items():
        entry = held[_key(partition)]
        if owner == me and wanted.get(partition) != me:
            entry[0] = None
        elif owner is None and wanted.get(partition) == me:
            entry[:] = [me, entry[1] + 1]
    return {_partition(key): generation for key, (owner, generation) in held.items() if owner == me}


def leave(document: Document, me: str) -> None:
    _drop(document, me)


def commit(
    document: Document, me: str, offsets: Mapping[Partition, int], ours: Mapping[Partition, int]
) -> None:
    """Raises `FencedError` when one of the partitions is not ours in the generation that we know."""
    held = document.get("held", {})
    for partition in offsets:
        if partition not in ours or held.get(_key(partition)) != [me, ours[partition]]:
            raise FencedError(
                f"Partition {partition.number} is read by another member of the group now.", entity=partition.topic,
                safe="Nothing of this call was committed; the other member has the same records.",
                remedy="Drop what was fetched of it, and poll.",
            )  # fmt: skip
    document.setdefault("offsets", {}).update(
        {_key(partition): offset for partition, offset in offsets.items()}
    )


def committed(document: Document, topic: str) -> dict[int, int]:
    offsets = {_partition(key): offset for key, offset in document.get("offsets", {}).items()}
    return {partition.number: offset for partition, offset in offsets.items() if partition.topic == topic}


def _drop(document: Document, name: str) -> None:
    document.get("members", {}).pop(name, None)
    for entry in document.get("held", {}).values():
        if entry[0] == name:
            entry[0] = None


def _key(partition: Partition) -> str:
    return f"{partition.topic}/{partition.number}"


def _partition(key: str) -> Partition:
    topic, _, number = key.rpartition("/")
    return Partition(topic, int(number))
