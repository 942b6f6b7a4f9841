"""How a member of any transport waits for records: it looks, and looks again whenever there may be some."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from .bus import Fetched


def first_found(
    look: Callable[[], Sequence[Fetched]], wait: Callable[[float], object], timeout: float
) -> Sequence[Fetched]:
    """What the first look finds that finds anything; nothing when the time is over. `wait` is given what is left of it."""
    deadline = time.monotonic() + timeout
    while True:
        fetched = look()
        left = deadline - time.monotonic()
        if fetched or left <= 0:
            return fetched
        wait(left)
