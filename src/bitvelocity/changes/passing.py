"""Steps that can be watched: whoever wants to know where a process stands (or to end it there) is told of each."""

from __future__ import annotations

from collections.abc import Callable

Passing = Callable[[str], None]
"""Called with the name of a step when it has been done. It is called from whichever thread does the step."""


def pass_by(step: str) -> None:
    """Nobody watches."""


def within(at: Passing, place: str) -> Passing:
    """`at` for the steps of one place: "staged" of `bronze` is told as "bronze staged". Costs nothing unwatched."""
    return at if at is pass_by else lambda step: at(f"{place} {step}")
