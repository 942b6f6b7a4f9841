"""What publishers and members of all transports refuse, in the same words."""

from __future__ import annotations

from ..errors import BusError, FencedError
from .bus import Partition


def another_publisher(name: str, safe: str) -> FencedError:
    """A younger publisher of the name writes now."""
    return FencedError(
        f"Another publisher of the name {name!r} has been opened.",
        entity=name,
        safe=safe,
        remedy="Let one of the two go on: the one that was opened last.",
    )


def spoilt(name: str) -> BusError:
    """What an earlier call wrote is not known here."""
    return BusError(
        "An earlier call of this publisher failed, or it was closed.",
        entity=name,
        remedy="Close it and open another, which finds out what was written.",
    )


def has_left(group: str) -> BusError:
    """A member was closed, and is asked for records."""
    return BusError("The member has left its group.", entity=group, remedy="Open another.")


def not_ours(partition: Partition) -> BusError:
    """A member has not, or no longer, this partition."""
    return BusError(f"Partition {partition.number} is not ours.", entity=partition.topic)


def closed() -> BusError:
    """Of a bus that somebody has closed, perhaps another thread."""
    return BusError("The bus has been closed.", safe="Nothing was done.", remedy="Open another.")
