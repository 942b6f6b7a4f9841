"""A TCP proxy before a server, whose connections can be reset, closed on one side, or fall silent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from struct import pack
from types import TracebackType
from typing import Self


class Proxy:
    """Forwards to `port` of 127.0.0.1, from `with` to its end."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._streams: list[tuple[socket.socket, socket.socket]] = []
        self._mute: list[tuple[socket.socket, socket.socket]] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.reset()

    def reset(self) -> None:
        """Cut all connections with a RST."""
        for near, far in self._drop():
            for end in (near, far):
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RD)  # wakes the thread that reads it: until then it would not be closed
                end.close()

    def half_close(self) -> None:
        """The client is told that no more will come; the server is told nothing."""
        for near, _ in list(self._pairs):
            with suppress(OSError):
                near.shutdown(socket.SHUT_WR)

    def fall_silent(self) -> None:
        """Streams stand, and nothing comes through those there are; all other connections work."""
        self._mute += [pair for pair in self._pairs if pair in self._streams]

    def _drop(self) -> list[tuple[socket.socket, socket.socket]]:
        pairs, self._pairs = self._pairs, []
        return pairs

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                near.close()
                continue
            pair = (near, far)
            self._pairs.append(pair)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(pair, source, target), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if b"START_REPLICATION" in data:
                    self._streams.append(pair)
                if pair in self._mute:
                    threading.Event().wait()  # for ever: it is a daemon
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
