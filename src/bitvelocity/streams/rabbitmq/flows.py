"""What goes over a connection to one stream, or comes from it: records that are confirmed, chunks that are asked for."""

from __future__ import annotations

import queue
import struct
import threading
from typing import Protocol

from ...errors import BusError, BusLostError
from .frames import Chunk, Command, frame

PATIENCE = 15.0
"""Seconds for an answer; a server that is silent for longer is taken for lost."""


class Line(Protocol):
    """What both ask of the connection that opened them."""

    @property
    def lost(self) -> BusLostError | None: ...

    @property
    def frame_max(self) -> int: ...

    def send(self, data: bytes | memoryview) -> None: ...

    def delete_publisher(self, number: int) -> None: ...

    def unsubscribe(self, number: int) -> None: ...


class Producer:
    """Publishes frames to one stream, and counts what the server has confirmed."""

    def __init__(self, connection: Line, number: int) -> None:
        self.connection = connection
        self.number = number
        self._changed = threading.Condition()
        self._open = 0
        self._error: BusError | None = None

    def send(self, data: bytes, records: int, *, window: int) -> None:
        """One frame, once fewer than `window` records are unconfirmed."""
        self._until(window)
        with self._changed:
            self._open += records
        self.connection.send(data)

    def wait(self) -> None:
        """Return when all is confirmed."""
        self._until(1)

    def confirmed(self, count: int) -> None:
        with self._changed:
            self._open -= count
            self._changed.notify_all()

    def failed(self, error: BusError) -> None:
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def close(self) -> None:
        self.connection.delete_publisher(self.number)

    def _until(self, window: int) -> None:
        with self._changed:
            while self._open >= window and self._error is None:
                if not self._changed.wait(4 * PATIENCE):
                    self._error = was_lost(f"no confirmation within {4 * PATIENCE:.0f} s")
            if self._error is not None:
                raise self._error


class Subscription:
    """Chunks as they arrive; each that is taken allows the server one more, if `credit` is told."""

    def __init__(self, connection: Line, number: int, news: threading.Event | None) -> None:
        self.connection = connection
        self.number = number
        self._news = news
        self._chunks: queue.SimpleQueue[Chunk | None] = queue.SimpleQueue()

    def arrived(self, found: Chunk | None) -> None:
        self._chunks.put(found)
        if self._news is not None:
            self._news.set()

    def take(self, timeout: float) -> Chunk | None:
        """The next chunk; None if none comes in time."""
        try:
            found = self._chunks.get(timeout=timeout) if timeout > 0 else self._chunks.get_nowait()
        except queue.Empty:
            return None
        if found is None:
            self._chunks.put(None)  # for whoever asks again
            raise self.connection.lost or was_lost("it was closed")
        return found

    def credit(self, chunks: int = 1) -> None:
        self.connection.send(frame(Command.CREDIT, bytes([self.number]), struct.pack("!H", chunks)))

    def close(self) -> None:
        self.connection.unsubscribe(self.number)


def was_lost(why: str) -> BusLostError:
    """The error of whatever was under way on a connection."""
    return BusLostError(
        f"The connection to RabbitMQ's streams was lost: {why}.",
        safe="What was confirmed is kept; what was under way may have happened or not.",
        remedy="It comes back by itself with the server. Does it run, with the stream plugin (rabbitmq-plugins enable rabbitmq_stream)?",
    )
