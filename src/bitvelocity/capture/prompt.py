"""A new slot on a standby waits until the primary tells which transactions run: it is asked to tell."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bitvelocity.errors import CaptureError

from .connection import Connection, connect, our_errors
from .failures import Place
from .slot import in_recovery

EVERY_SECONDS = 0.5


@contextmanager
def prompting(primary: str, standby: Connection, place: Place) -> Iterator[None]:
    """While a slot is made on a standby, have the primary log its running transactions twice a second.

    Without the primary's DSN (and always on a primary) nothing is done: the standby waits until the primary logs them
    by itself, which it does every quarter of a minute while it is written to, and never while it is idle.
    """
    if not primary or not in_recovery(standby):
        yield
        return
    done = threading.Event()
    failures: list[CaptureError] = []

    def tell() -> None:
        try:
            with our_errors(place), connect(primary, place) as connection:
                while not done.is_set():
                    connection.execute("select pg_log_standby_snapshot()")
                    done.wait(EVERY_SECONDS)
        except CaptureError as error:
            failures.append(error)
            standby.cancel_safe()  # what waits for the primary would wait in vain

    teller = threading.Thread(target=tell, name="bitvelocity-prompt", daemon=True)
    teller.start()
    try:
        yield
    except BaseException:
        if failures:
            raise failures[0] from None
        raise
    finally:
        done.set()
        teller.join()
