"""Work in one other thread: parquet is written without Python's lock, so that two tables can be written at once."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

AHEAD = 1
"""Pieces of work that may be unfinished when `do` returns: each keeps its rows in memory."""


class Beside:
    """Does what it is given, in order. An error of the work comes where it is waited for."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: deque[Future[None]] = deque()

    def do(self, work: Callable[[], None], *, small: bool) -> None:
        """Do it there; here, if it is too small to be worth a hand-over."""
        if small:
            self.wait()
            work()
            return
        self._running.append(self._pool.submit(work))
        while len(self._running) > AHEAD:
            self._running.popleft().result()

    def wait(self) -> None:
        """Until all is done. The first error is raised, when nothing runs any more."""
        done, self._running = self._running, deque()
        with contextlib.ExitStack() as errors:
            for future in reversed(done):
                errors.callback(future.result)

    def forget(self) -> None:
        """Wait until nothing runs, whatever became of it."""
        with contextlib.suppress(Exception):
            self.wait()

    def close(self) -> None:
        self.forget()
        self._pool.shutdown(wait=True)
