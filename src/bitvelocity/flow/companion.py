"""Work in a thread of its own for as long as a block lasts; whoever waits for it meanwhile hears of what ended it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Check = Callable[[], None]
"""Raises what ended the work, if anything did."""


@contextmanager
def beside(name: str, work: Callable[[threading.Event], object]) -> Iterator[Check]:
    """Run it until the block ends, which sets its event; a failure at the very end is raised by a check after the block."""
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            work(stop)
        except BaseException as error:  # raised by the check, in the thread of who waits
            failures.append(error)

    def check() -> None:
        if failures:
            raise failures[0]

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield check
    finally:
        stop.set()
        thread.join()
