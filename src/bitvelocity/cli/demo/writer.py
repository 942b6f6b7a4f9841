"""The shop's application: the replay in a process of its own, so that it competes with nobody for the interpreter."""

from __future__ import annotations

import multiprocessing
import queue
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any

from ...errors import BitVelocityError


@dataclass(frozen=True, slots=True)
class Written:
    """What the finished replay says of itself."""

    source: str
    corrected: str | None
    revenue: str
    orders: int
    lines: int


class Shop:
    """Writes orders into the database from `start` until done; `events` are its progress."""

    def __init__(self, dsn: str, lines: int | None, *, synthetic: bool) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: Any = context.Queue()
        self._process: BaseProcess = context.Process(
            target=_write, args=(self._queue, dsn, lines, synthetic), daemon=True
        )

    def start(self) -> None:
        self._process.start()

    def stop(self) -> None:
        """End it now; the database stays consistent, since each step is a transaction."""
        if self._process.is_alive():
            self._process.terminate()
        self._process.join()

    def events(self) -> Iterator[Any]:
        """Progress as it comes (None four times a second while there is none), then one `Written`."""
        while True:
            try:
                event = self._queue.get(timeout=0.25)
            except queue.Empty:
                if not self._process.is_alive():
                    raise BitVelocityError(
                        "The replay ended before it was done.",
                        safe="What it wrote is in the lake.",
                        remedy="Run the demo again: it goes on where it stopped.",
                    ) from None
                yield None
                continue
            if isinstance(event, dict):
                raise BitVelocityError(**event)
            yield event
            if isinstance(event, Written):
                self._process.join()
                return


def _write(events: Any, dsn: str, lines: int | None, synthetic: bool) -> None:  # noqa: FBT001 - a process's arguments
    from ...templates.commerce.replay import Replay

    try:
        replay = Replay(dsn, lines=lines, synthetic=synthetic)
        events.put(replay.source)
        for progress in replay.run():
            events.put(progress)
        expected = replay.expected()
        events.put(
            Written(
                source=replay.source,
                corrected=replay.corrected,
                revenue=str(expected.total_amount),
                orders=expected.rows["orders"],
                lines=expected.rows["order_items"],
            )
        )
    except BitVelocityError as error:
        events.put({key: getattr(error, key) for key in ("what", "entity", "safe", "remedy")})
    except KeyboardInterrupt:
        pass
