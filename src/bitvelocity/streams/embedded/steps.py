"""The moments at which a writer may be killed, by name: tests strike there."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Step(Enum):
    """What has just been done."""

    CUT = "cut"
    WRITTEN = "written"
    COMMITTED = "committed"
    LEASED = "leased"
    OFFSETS = "offsets"


At = Callable[[Step], None]


def nothing(step: Step) -> None:
    """Go on."""
