"""Where groups of readers stand, carried over to a copy of their topics."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing

from ...errors import BusLostError
from ..bus import Bus, Partition

_PATIENCE_S = 60.0


def carry_over(target: Bus, group: str, places: Mapping[Partition, int]) -> Mapping[Partition, int]:
    """Commit these next offsets for a group, where it is not further already; those that were committed.

    It takes part in the group for a moment: no member of it may be at work.
    """
    topics = sorted({partition.topic for partition in places})
    known = {Partition(topic, number): at for topic in topics for number, at in target.committed(group, topic).items()}
    new = {partition: at for partition, at in places.items() if known.get(partition, -1) < at}
    if not new:
        return {}
    with closing(target.member(group, topics, start={**known, **places}.get)) as member:
        deadline = time.monotonic() + _PATIENCE_S
        while not new.keys() <= member.assigned.keys():
            if time.monotonic() > deadline:
                raise BusLostError(
                    "The group does not give its partitions away: somebody reads in it.", entity=group,
                    safe="All topics are copied.", remedy="Stop its readers, and run it again.",
                )  # fmt: skip
            member.poll(0.2, limit=1)
        member.commit(new)
    return new
