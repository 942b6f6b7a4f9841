"""Work that may wait for somebody far away, in a thread of its own: who asks waits a little only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any


class Aside:
    """One thread, one piece of work at a time. It dies with the process, also in mid-work."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._asked: SimpleQueue[tuple[Future[None], Callable[[], object]] | None] = SimpleQueue()
        self._last: Future[None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """The last work is still under way."""
        return self._last is not None and not self._last.done()

    def begin(self, work: Callable[[], object]) -> Future[None]:
        """Run it after what is under way, and wait for nothing."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        self._last = future = Future[None]()
        self._asked.put((future, work))
        return future

    def do(self, work: Callable[[], object], patience: float) -> bool:
        """Run it, and raise what it raises. False: it was not done in time, and goes on."""
        future = self.begin(work)
        try:
            future.result(patience)
        except TimeoutError:
            if not future.done():
                return False
            future.result()  # it ended just now; or the error is its own
        return True

    def close(self, last: Callable[[], object], patience: float) -> None:
        """Do this last, and end."""
        if self._thread is not None:
            self._asked.put((Future(), last))
            self._asked.put(None)
            self._thread.join(patience)
            self._thread = None

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            _fulfil(*asked)


def _fulfil(future: Future[Any], work: Callable[[], object]) -> None:
    try:
        work()
    except BaseException as error:  # raised where the work was asked for
        future.set_exception(error)
    else:
        future.set_result(None)


__all__ = ["Aside"]
