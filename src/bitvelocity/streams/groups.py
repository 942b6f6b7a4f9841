"""Who of a group reads which partition: a pure answer, the same for whoever asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from .bus import Partition


def shared_out(
    members: Mapping[str, Collection[str]], held: Mapping[Partition, str | None]
) -> dict[Partition, str]:
    """For each partition the member that should read it: as even as can be, with as few moves as that needs.

    `members`: each with the topics that it reads. `held`: every partition, with who has it now. A partition whose topic
    nobody reads is left out.
    """
    wanted: dict[Partition, str] = {}
    load = Counter(dict.fromkeys(members, 0))
    for partition in sorted(held):
        owner = held[partition]
        if owner is not None and partition.topic in members.get(owner, ()):
            wanted[partition] = owner
            load[owner] += 1
    for partition in sorted(set(held) - set(wanted)):
        if readers := [name for name, topics in members.items() if partition.topic in topics]:
            wanted[partition] = min(readers, key=lambda name: (load[name], name))
            load[wanted[partition]] += 1
    while move := _better(members, wanted, load):
        partition, reader = move
        load[wanted[partition]] -= 1
        load[reader] += 1
        wanted[partition] = reader
    return wanted


def _better(
    members: Mapping[str, Collection[str]], wanted: Mapping[Partition, str], load: Mapping[str, int]
) -> tuple[Partition, str] | None:
    """A move from one who has at least two more to one who has fewer."""
    for reader in sorted(members, key=lambda name: (load[name], name)):
        for partition in sorted(wanted, reverse=True):
            if partition.topic in members[reader] and load[wanted[partition]] - load[reader] > 1:
                return partition, reader
    return None
