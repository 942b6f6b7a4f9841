"""What publishers of all transports refuse, in the same words."""

from __future__ import annotations

from ..errors import BusError, FencedError


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
