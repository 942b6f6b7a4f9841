"""The cyclic collector, out of the way where a client makes very many small objects that hold no cycles."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Pause:
    """While anybody is within it, no cycles are looked for, in any thread. A collector that is off stays off."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._within, self._was_on = 0, False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if not self._within:
                self._was_on = gc.isenabled()
                gc.disable()
            self._within += 1
        try:
            yield
        finally:
            with self._lock:
                self._within -= 1
                if not self._within and self._was_on:
                    gc.enable()


collection_paused = Pause()
"""Around loops that make tuples by the hundred thousand: a fifth of the CPU of reading records with headers was spent
on looking at them again and again."""

__all__ = ["collection_paused"]
